//! A coordinator as haftctl sees one: the API on a real socket, answers from a script.
//!
//! Decides nothing: what it answers is set by the test, what it was asked is kept for the test.

mod services;

use haft_api::pb::v1;
use haft_api::pb::v1::cluster_service_server::ClusterServiceServer;
use haft_api::pb::v1::event_service_server::EventServiceServer;
use haft_api::pb::v1::fence_device_service_server::FenceDeviceServiceServer;
use haft_api::pb::v1::fence_topology_service_server::FenceTopologyServiceServer;
use haft_api::pb::v1::node_service_server::NodeServiceServer;
use haft_api::pb::v1::virtual_ip_service_server::VirtualIpServiceServer;
use haft_api::status::{self, NO_QUORUM};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Status};

/// How a stand-in answers.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mood {
    /// From the script.
    #[default]
    Leads,
    /// "Ask this one".
    Follows(Option<String>),
    /// No majority.
    NoQuorum,
    /// The next mutation takes effect, and its answer is lost.
    LosesOneAnswer,
    /// Takes the question and never answers.
    Silent,
}

/// What a stand-in knows and was asked.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) mood: Mood,
    pub(crate) vips: Vec<v1::VirtualIp>,
    pub(crate) nodes: Vec<v1::Node>,
    pub(crate) events: VecDeque<v1::Event>,
    /// Request ids of mutations, in the order in which they came.
    pub(crate) mutations: Vec<Vec<u8>>,
    pub(crate) applied: Vec<(String, v1::MutationOptions)>,
    pub(crate) fences: Vec<v1::FenceNodeRequest>,
    pub(crate) confirmations: Vec<v1::ConfirmNodeOffRequest>,
    pub(crate) joins: Vec<v1::JoinRequest>,
    pub(crate) calls: usize,
}

/// A running stand-in. Ends with its runtime.
#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) endpoint: String,
    script: Arc<Mutex<Script>>,
    lab: Arc<Lab>,
}

/// A minted cluster on disk: what `cluster init` wrote.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) cluster: [u8; 16],
    ca_pem: String,
    ca_key_pem: String,
    chain_pem: String,
    key_pem: String,
}

/// What a run of haftctl left behind.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

impl Lab {
    /// Mints a cluster whose coordinators listen on this port of 127.0.0.1.
    pub(crate) async fn mint(port: u16) -> Arc<Lab> {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "cluster: {{ name: demo }}\ndata_dir: {0}/n1\nports: {{ api: {port}, peer: 1 }}\nnodes:\n  - {{ name: n1, addresses: [127.0.0.1], coordinator: true }}\n  - {{ name: n2, addresses: [127.0.0.2] }}\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("haft.yaml"), config).unwrap();
        let arguments = [
            "cluster",
            "init",
            "--config",
            "haft.yaml",
            "--node",
            "n1",
            "--context",
            "context.yaml",
        ];
        let ran = run_in(dir.path(), &arguments, "").await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let identity = haft_config::identity::Identity::read(&dir.path().join("n1")).unwrap();
        Arc::new(Lab {
            cluster: identity.cluster.0,
            ca_pem: identity.ca_pem.clone(),
            ca_key_pem: identity.ca_key_pem.clone().unwrap(),
            chain_pem: identity.certificate_pem.clone(),
            key_pem: identity.key_pem.clone(),
            dir,
        })
    }

    /// Runs haftctl with this cluster's context.
    pub(crate) async fn haftctl(&self, arguments: &[&str]) -> Ran {
        self.haftctl_with(arguments, "").await
    }

    pub(crate) async fn haftctl_with(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut all = arguments.to_vec();
        all.extend(["--context", "context.yaml"]);
        run_in(self.dir.path(), &all, stdin).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

async fn run_in(dir: &Path, arguments: &[&str], stdin: &str) -> Ran {
    use tokio::io::AsyncWriteExt;
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_haftctl"))
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // A command that refuses early closes its stdin; that is its right.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .await;
    let output = child.wait_with_output().await.unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl StandIn {
    /// A lab with one stand-in, which its context names.
    pub(crate) async fn alone() -> (StandIn, Arc<Lab>) {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let lab = Lab::mint(incoming.local_addr().unwrap().port()).await;
        (StandIn::serve(&lab, incoming), lab)
    }

    /// Another stand-in of the same cluster.
    pub(crate) fn another(lab: &Arc<Lab>) -> StandIn {
        StandIn::serve(
            lab,
            TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
        )
    }

    fn serve(lab: &Arc<Lab>, incoming: TcpIncoming) -> StandIn {
        let stand_in = StandIn {
            endpoint: incoming.local_addr().unwrap().to_string(),
            script: Arc::default(),
            lab: lab.clone(),
        };
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&lab.chain_pem, &lab.key_pem))
            .client_ca_root(Certificate::from_pem(&lab.ca_pem))
            .client_auth_optional(true);
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(ClusterServiceServer::new(stand_in.clone()))
            .add_service(NodeServiceServer::new(stand_in.clone()))
            .add_service(VirtualIpServiceServer::new(stand_in.clone()))
            .add_service(FenceDeviceServiceServer::new(stand_in.clone()))
            .add_service(FenceTopologyServiceServer::new(stand_in.clone()))
            .add_service(EventServiceServer::new(stand_in.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
        stand_in
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Counts the call and answers by mood, unless it leads.
    async fn by_mood(&self, identified: Identified, local: bool) -> Result<(), Status> {
        if let Identified::No = identified {
            return Err(status::status(
                Code::Unauthenticated,
                "NoCertificate",
                "who are you",
                "present a certificate",
            ));
        }
        let mood = {
            let mut script = self.script();
            script.calls += 1;
            script.mood.clone()
        };
        match mood {
            Mood::Leads | Mood::LosesOneAnswer => Ok(()),
            Mood::Follows(_) | Mood::NoQuorum if local => Ok(()),
            Mood::Follows(leader) => Err(status::not_leader(leader.as_deref())),
            Mood::NoQuorum => Err(status::status(
                Code::Unavailable,
                NO_QUORUM,
                "no majority answers",
                "start the others",
            )),
            Mood::Silent => std::future::pending().await,
        }
    }

    /// Keeps the mutation; its answer may be lost.
    fn mutate(&self, options: Option<v1::MutationOptions>) -> Result<(), Status> {
        let mut script = self.script();
        script
            .mutations
            .push(options.unwrap_or_default().request_id);
        if let Mood::LosesOneAnswer = script.mood {
            script.mood = Mood::Leads;
            return Err(Status::unavailable("connection reset"));
        }
        Ok(())
    }
}

/// Whether the caller presented a certificate.
#[derive(Clone, Copy)]
enum Identified {
    Yes,
    No,
}

/// An address of this state and owner.
pub(crate) fn vip(name: &str, state: &str, owner: &str) -> v1::VirtualIp {
    v1::VirtualIp {
        metadata: Some(v1::ObjectMeta {
            name: name.to_owned(),
            resource_version: "7".to_owned(),
            ..Default::default()
        }),
        spec: Some(v1::VirtualIpSpec {
            address: "10.77.0.100".to_owned(),
            interface: "eth0".to_owned(),
            isolation: v1::Isolation::Lease.into(),
            failback: v1::Failback::Never.into(),
            ..Default::default()
        }),
        status: Some(v1::VirtualIpStatus {
            state: state.to_owned(),
            owner: owner.to_owned(),
            ..Default::default()
        }),
    }
}

/// An event of this index about `vip/web`.
pub(crate) fn event(index: u64) -> v1::Event {
    v1::Event {
        index,
        unix_ms: 1_763_730_000_000 + index,
        severity: v1::Severity::Normal.into(),
        reason: "Granted".to_owned(),
        subject: "vip/web".to_owned(),
        message: format!("event {index}"),
    }
}
