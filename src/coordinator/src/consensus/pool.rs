//! Connections to peers: one per peer and purpose, dialled when needed and not before their time.
//!
//! A dial runs in a task of its own, so that a call with a short limit does not abort it, and all
//! callers wait for the same one. After a failure the next dial waits, longer each time up to a
//! second: openraft asks again at once when a connection cannot be opened, and without the wait one
//! stopped peer costs a whole processor in dials. HTTP/2 keepalive ends a connection that a partition
//! left half open; without it the peer would stay unreachable after the partition healed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haft_store::{Peer, PeerId};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::config::{MESSAGE_BYTES_MAX, Timings};
use super::gate::{Gate, RefusedBy};
use super::links::Purpose;
use super::tls::PeerTls;
use super::wire::greeting_of;
use super::wire::pb::peer_service_client::PeerServiceClient;
use super::wire::pb::{GreetRequest, Refusal, RefuseRequest};

/// First pause after a failed dial; doubles up to [`DIAL_PAUSE_MAX`].
const DIAL_PAUSE_MIN: Duration = Duration::from_millis(50);
/// A peer that returns is found within a second.
const DIAL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// A dial with its TLS handshake and greeting takes milliseconds; this is for a loaded machine.
const DIAL_LIMIT: Duration = Duration::from_secs(2);

/// Metadata keys of every call.
pub(super) const CLUSTER_KEY: &str = "haft-cluster";
pub(super) const FROM_KEY: &str = "haft-from";
pub(super) const TO_KEY: &str = "haft-to";
pub(super) const BOOT_KEY: &str = "haft-boot";

/// Names caller and callee on every call.
#[derive(Clone)]
pub(super) struct Stamp {
    values: [(&'static str, tonic::metadata::AsciiMetadataValue); 4],
}

impl Stamp {
    fn new(gate: &Gate, to: PeerId) -> Self {
        let ascii = |text: String| {
            text.parse()
                .expect("numbers and hexadecimal digits are valid metadata")
        };
        let boot = gate.own_boot();
        Self {
            values: [
                (CLUSTER_KEY, ascii(gate.cluster().to_string())),
                (FROM_KEY, ascii(gate.own_id().to_string())),
                (TO_KEY, ascii(to.to_string())),
                (BOOT_KEY, ascii(format!("{}.{}", boot.counter, boot.nonce))),
            ],
        }
    }
}

impl Interceptor for Stamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (key, value) in &self.values {
            request.metadata_mut().insert(*key, value.clone());
        }
        Ok(request)
    }
}

pub(super) type Client = PeerServiceClient<InterceptedService<Channel, Stamp>>;

/// Why there is no connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no connection to node {peer}: {reason}")]
pub(super) struct NoConnection {
    pub(super) peer: PeerId,
    pub(super) reason: String,
}

#[derive(Clone)]
enum Line {
    Idle {
        not_before: Instant,
        failures: u32,
        reason: String,
    },
    Dialling,
    Open {
        client: Box<Client>,
        generation: u64,
    },
}

/// One connection to one peer for one purpose.
pub(super) struct Slot {
    peer: PeerId,
    address: Mutex<Peer>,
    line: watch::Sender<Line>,
    pool: Arc<Shared>,
}

struct Shared {
    gate: Arc<Gate>,
    tls: PeerTls,
    timings: Timings,
    dials: AtomicU64,
}

/// All connections of this node.
pub(super) struct Pool {
    shared: Arc<Shared>,
    slots: Mutex<BTreeMap<(PeerId, Purpose), Arc<Slot>>>,
}

impl Pool {
    pub(super) fn new(gate: Arc<Gate>, tls: PeerTls, timings: Timings) -> Self {
        let shared = Arc::new(Shared {
            gate,
            tls,
            timings,
            dials: AtomicU64::new(0),
        });
        Self {
            shared,
            slots: Mutex::default(),
        }
    }

    /// The connection to `peer`; its addresses are those last named.
    pub(super) fn slot(&self, id: PeerId, purpose: Purpose, peer: Peer) -> Arc<Slot> {
        let mut slots = self
            .slots
            .lock()
            .expect("no code that holds this lock panics");
        let slot = slots.entry((id, purpose)).or_insert_with(|| {
            let idle = Line::Idle {
                not_before: Instant::now(),
                failures: 0,
                reason: String::new(),
            };
            Arc::new(Slot {
                peer: id,
                address: Mutex::new(peer.clone()),
                line: watch::Sender::new(idle),
                pool: Arc::clone(&self.shared),
            })
        });
        *slot
            .address
            .lock()
            .expect("no code that holds this lock panics") = peer;
        Arc::clone(slot)
    }

    /// Dials so far, failed ones included.
    pub(super) fn dials(&self) -> u64 {
        self.shared.dials.load(Ordering::Relaxed)
    }
}

impl Slot {
    pub(super) fn peer(&self) -> PeerId {
        self.peer
    }

    /// The open connection and its generation, dialling at most once, until `deadline`.
    pub(super) async fn client(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<(Client, u64), NoConnection> {
        let mut line = self.line.subscribe();
        let mut dialled = false;
        loop {
            let seen = line.borrow_and_update().clone();
            match seen {
                Line::Open { client, generation } => return Ok((*client, generation)),
                Line::Idle { reason, .. } if dialled => return Err(self.failed(reason)),
                Line::Idle {
                    not_before,
                    failures,
                    reason,
                } => {
                    if not_before > deadline {
                        tokio::time::sleep_until(deadline).await;
                        return Err(self.failed(reason));
                    }
                    tokio::time::sleep_until(not_before).await;
                    dialled = true;
                    self.start_dial(failures);
                }
                Line::Dialling => {
                    dialled = true;
                    let changed = timeout_at(deadline, line.changed()).await;
                    if !matches!(changed, Ok(Ok(()))) {
                        return Err(self.failed("the dial takes too long".to_owned()));
                    }
                }
            }
        }
    }

    /// The connection of this generation does not work; the next call dials anew.
    pub(super) fn drop_line(&self, broken: u64, reason: &str) {
        self.line.send_if_modified(|line| match line {
            Line::Open { generation, .. } if *generation == broken => {
                *line = Line::Idle {
                    not_before: Instant::now(),
                    failures: 0,
                    reason: reason.to_owned(),
                };
                true
            }
            Line::Open { .. } | Line::Idle { .. } | Line::Dialling => false,
        });
    }

    fn failed(&self, reason: String) -> NoConnection {
        NoConnection {
            peer: self.peer,
            reason,
        }
    }

    fn start_dial(self: &Arc<Self>, failures: u32) {
        let started = self.line.send_if_modified(|line| match line {
            Line::Idle { .. } => {
                *line = Line::Dialling;
                true
            }
            Line::Dialling | Line::Open { .. } => false,
        });
        if started {
            let slot = Arc::clone(self);
            tokio::spawn(async move {
                let result = match timeout(DIAL_LIMIT, slot.dial(failures)).await {
                    Ok(result) => result,
                    Err(_) => Err("the dial took too long".to_owned()),
                };
                slot.finish_dial(failures, result);
            });
        }
    }

    fn finish_dial(&self, failures: u32, result: Result<Client, String>) {
        let generation = self.pool.dials.load(Ordering::Relaxed);
        let next = match result {
            Ok(client) => Line::Open {
                client: Box::new(client),
                generation,
            },
            Err(reason) => {
                let pause =
                    (DIAL_PAUSE_MIN * 2_u32.saturating_pow(failures.min(8))).min(DIAL_PAUSE_MAX);
                let not_before = Instant::now() + pause;
                Line::Idle {
                    not_before,
                    failures: failures.saturating_add(1),
                    reason,
                }
            }
        };
        self.line.send_replace(next);
    }

    /// Dials the next address and greets.
    async fn dial(&self, failures: u32) -> Result<Client, String> {
        self.pool.dials.fetch_add(1, Ordering::Relaxed);
        let peer = self
            .address
            .lock()
            .expect("no code that holds this lock panics")
            .clone();
        let turn = failures as usize % peer.addresses.len().max(1);
        let address = peer.addresses.get(turn).ok_or("the node has no address")?;
        let timings = self.pool.timings;
        let (config, verifier) = self.pool.tls.client(&peer.name);
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .map_err(|error| error.to_string())?
            .tls_config_with_verifier(config, verifier)
            .map_err(|error| error.to_string())?
            .connect_timeout(DIAL_LIMIT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(timings.heartbeat * 2)
            .keep_alive_timeout(timings.election_min)
            .keep_alive_while_idle(true);
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| chain_text(&error))?;
        let gate = &self.pool.gate;
        let mut client = PeerServiceClient::with_interceptor(channel, Stamp::new(gate, self.peer))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        self.greet(&mut client, &peer).await?;
        Ok(client)
    }

    async fn greet(&self, client: &mut Client, peer: &Peer) -> Result<(), String> {
        let gate = &self.pool.gate;
        let own = gate
            .own_greeting()
            .await
            .map_err(|error| error.to_string())?;
        let request = GreetRequest {
            greeting: Some((&own).into()),
            to: self.peer.0,
        };
        let answer = client
            .greet(request)
            .await
            .map_err(|status| status.to_string())?
            .into_inner();
        match answer.refusal() {
            Refusal::Unspecified => {}
            kind @ (Refusal::ForeignCluster
            | Refusal::WrongAddress
            | Refusal::WrongCertificate
            | Refusal::ClonedDirectory
            | Refusal::RolledBack) => {
                let reason = answer.reason;
                gate.on_refused(RefusedBy {
                    peer: self.peer,
                    kind,
                    reason: reason.clone(),
                });
                return Err(reason);
            }
        }
        let theirs = greeting_of(answer.greeting).map_err(|error| error.to_string())?;
        if theirs.node != self.peer {
            return Err(format!(
                "node {} answers at the address of node {}",
                theirs.node, self.peer
            ));
        }
        // The verifier has compared the certificate with this name.
        let certified = super::tls::CertifiedNode {
            cluster: gate.cluster(),
            name: peer.name.clone(),
        };
        let known = Some(peer.name.clone());
        let Err(refusal) = gate.admit(&theirs, gate.own_id(), &certified, known).await else {
            return Ok(());
        };
        tracing::error!(peer = self.peer.0, %refusal, "this node refuses a peer");
        let told = RefuseRequest {
            refusal: refusal.kind().into(),
            reason: refusal.to_string(),
        };
        // If it does not hear, it stays refused here all the same.
        drop(client.refuse(told).await);
        Err(refusal.to_string())
    }
}

/// An error with its causes: a TLS failure says why only in its cause.
fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
