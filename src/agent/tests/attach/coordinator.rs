//! A coordinator that follows a script: certificates, a SessionService on loopback, and what it heard.

use haft_api::client::{Credentials, TLS_NAME};
use haft_api::pb::v1;
use haft_api::pb::v1::attach_request::Message as Up;
use haft_api::pb::v1::attach_response::Message as Down;
use haft_api::pb::v1::session_service_server::{SessionService, SessionServiceServer};
use haft_api::status::not_leader;
use haft_engine::ids::{Incarnation, Token};
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// A CA of a cluster.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn mint() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for `path` in this cluster.
    pub(crate) fn credentials(&self, path: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = format!("haft://{}/{path}", "0".repeat(32));
        params.subject_alt_names = vec![
            SanType::DnsName(Ia5String::try_from(TLS_NAME).unwrap()),
            SanType::URI(Ia5String::try_from(uri).unwrap()),
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credentials {
            ca_pem: self.pem.clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// What a coordinator heard, apart from hellos.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// A release over the stream, by the token's index.
    Released(u64),
    /// A release to be relayed.
    Relayed(u64),
    /// A report of the machine with that many tunnels.
    Tunnels(usize),
}

type Answer = Result<v1::AttachResponse, Status>;

/// What the script has decided so far.
#[derive(Default)]
struct Script {
    /// `Some`: not the leader; perhaps it knows who is.
    follows: Option<Option<String>>,
    deaf_to_pings: bool,
    /// The open stream, if any.
    down: Option<mpsc::Sender<Answer>>,
}

#[derive(Clone)]
struct Service {
    script: Arc<Mutex<Script>>,
    hellos: mpsc::UnboundedSender<v1::Hello>,
    words: mpsc::UnboundedSender<Word>,
}

#[tonic::async_trait]
impl SessionService for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        if let Some(leader) = &self.script.lock().unwrap().follows {
            return Err(not_leader(leader.as_deref()));
        }
        let mut up = request.into_inner();
        let (down, answers) = mpsc::channel(64);
        let service = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(request)) = up.next().await {
                service.heard(request, &down);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        if let Some(v1::report_request::Report::Released(released)) = request.into_inner().report {
            self.words
                .send(Word::Relayed(released.token_index))
                .unwrap();
        }
        Ok(Response::new(v1::ReportResponse {}))
    }

    async fn state_age(
        &self,
        _: Request<v1::StateAgeRequest>,
    ) -> Result<Response<v1::StateAgeResponse>, Status> {
        Err(Status::unimplemented("not an agent's question"))
    }

    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeResponse>, Status> {
        Err(Status::unimplemented("not an agent's question"))
    }

    async fn testify(
        &self,
        _: Request<v1::TestifyRequest>,
    ) -> Result<Response<v1::TestifyResponse>, Status> {
        Err(Status::unimplemented("not an agent's question"))
    }

    async fn share_ca_key(
        &self,
        _: Request<v1::ShareCaKeyRequest>,
    ) -> Result<Response<v1::ShareCaKeyResponse>, Status> {
        Err(Status::unimplemented("not an agent's question"))
    }
}

impl Service {
    fn heard(&self, request: v1::AttachRequest, down: &mpsc::Sender<Answer>) {
        let mut script = self.script.lock().unwrap();
        match request.message.unwrap() {
            Up::Hello(hello) => {
                script.down = Some(down.clone());
                script.deaf_to_pings = false;
                // The test may have ended.
                let _ = self.hellos.send(hello);
            }
            Up::Armed(_) | Up::Begun(_) => {}
            Up::Released(released) => {
                let _ = self.words.send(Word::Released(released.token_index));
            }
            Up::Ping(ping) => {
                if !script.deaf_to_pings {
                    let _ = down.try_send(down_message(Down::Pong(ping)));
                }
            }
            Up::Active(_) | Up::Failed(_) | Up::Settled(_) | Up::Retimed(_) | Up::Rival(_) => {}
            Up::Machine(machine) => {
                let _ = self.words.send(Word::Tunnels(machine.tunnels.len()));
            }
        }
    }
}

fn down_message(message: Down) -> Answer {
    Ok(v1::AttachResponse {
        message: Some(message),
    })
}

/// One scripted coordinator on 127.0.0.`id`.
pub(crate) struct Coordinator {
    pub(crate) name: String,
    pub(crate) host: Ipv4Addr,
    id: u8,
    script: Arc<Mutex<Script>>,
    hellos: mpsc::UnboundedReceiver<v1::Hello>,
    words: mpsc::UnboundedReceiver<Word>,
}

impl Coordinator {
    pub(crate) async fn start(authority: &Authority, name: &str, id: u8, port: u16) -> Coordinator {
        let host = Ipv4Addr::new(127, 0, 0, id);
        let credentials = authority.credentials(&format!("node/{name}"));
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(
                credentials.certificate_pem,
                credentials.key_pem,
            ))
            .client_ca_root(Certificate::from_pem(credentials.ca_pem));
        let script = Arc::new(Mutex::new(Script::default()));
        let (hello, hellos) = mpsc::unbounded_channel();
        let (word, words) = mpsc::unbounded_channel();
        let service = Service {
            script: Arc::clone(&script),
            hellos: hello,
            words: word,
        };
        let listener = tokio::net::TcpListener::bind(SocketAddr::from((host, port)))
            .await
            .unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(
            Server::builder()
                .tls_config(tls)
                .unwrap()
                .add_service(SessionServiceServer::new(service))
                .serve_with_incoming(incoming),
        );
        Coordinator {
            name: name.to_owned(),
            host,
            id,
            script,
            hellos,
            words,
        }
    }

    pub(crate) async fn await_hello(&mut self) -> v1::Hello {
        tokio::time::timeout(crate::PATIENCE, self.hellos.recv())
            .await
            .expect("a hello comes")
            .unwrap()
    }

    pub(crate) async fn await_word(&mut self, wanted: &Word) {
        let heard = async {
            while let Some(word) = self.words.recv().await {
                if word == *wanted {
                    return;
                }
            }
        };
        tokio::time::timeout(crate::PATIENCE, heard)
            .await
            .unwrap_or_else(|_| panic!("never heard: {wanted:?}"));
    }

    pub(crate) fn has_heard_nothing(&mut self) -> bool {
        self.hellos.try_recv().is_err() && self.words.try_recv().is_err()
    }

    /// From now on not the leader; `leader` is its hint.
    pub(crate) fn follow(&self, leader: Option<String>) {
        self.script.lock().unwrap().follows = Some(leader);
    }

    pub(crate) fn answer_no_pings(&self) {
        self.script.lock().unwrap().deaf_to_pings = true;
    }

    /// Ends the stream without a word.
    pub(crate) fn cut(&self) {
        let down = self.script.lock().unwrap().down.take().unwrap();
        down.try_send(Err(Status::unavailable("cut by the test")))
            .unwrap();
    }

    pub(crate) fn admit(&self, incarnation: Incarnation) {
        let id = u64::from(self.id);
        self.say(Down::Admitted(v1::Admitted {
            node_id: 9,
            incarnation: incarnation.0,
            membership: Some(v1::Membership {
                index: 5,
                sets: vec![v1::VoterSet { node_ids: vec![id] }],
                voters: vec![v1::Voter {
                    node_id: id,
                    name: self.name.clone(),
                    host: self.host.to_string(),
                }],
                term: 1,
            }),
            keys: vec![v1::BeatKey {
                generation: 1,
                secret: vec![5; 32],
            }],
            timing: Some(haft_api::convert::versioned_into(&crate::in_force())),
            ..v1::Admitted::default()
        }));
    }

    pub(crate) fn assign(&self, revision: u64, tokens: &[Token]) {
        let items = tokens.iter().map(|token| v1::AssignedItem {
            resource: "vip/web".to_owned(),
            epoch: token.epoch.0,
            token_index: token.index.0,
            virtual_ip: Some(v1::VirtualIpSpec {
                address: "192.0.2.7".to_owned(),
                interface: "eth0".to_owned(),
                isolation: v1::Isolation::Lease.into(),
                ..v1::VirtualIpSpec::default()
            }),
            watchdog_ms: 0,
            begun: false,
            want: v1::Want::Hold.into(),
        });
        self.say(Down::Assignment(v1::Assignment {
            revision,
            incarnation: crate::LIFE.0,
            items: items.collect(),
            ..v1::Assignment::default()
        }));
    }

    /// Says that the life is not, or no longer, admitted, and ends the stream.
    pub(crate) fn end(&self, reason: &str) {
        self.say(Down::NotAdmitted(v1::NotAdmitted {
            reason: reason.to_owned(),
            message: String::new(),
            retry_after_ms: 0,
            epoch: 1,
            term: 4,
            index: 90,
        }));
        self.script.lock().unwrap().down = None;
    }

    fn say(&self, message: Down) {
        let script = self.script.lock().unwrap();
        let down = script.down.as_ref().expect("an agent is attached");
        down.try_send(down_message(message)).unwrap();
    }
}
