//! Starting consensus: greet the peers, keep silent for one lease, then take part.
//!
//! A restarted voter has forgotten that it promised its leader a lease. If it voted at once, a new
//! leader could be elected while the old one still believes in its lease. So a node whose store is
//! not empty opens its peer port and its Raft only after one lease. It uses the time to present itself
//! to its peers, which know whether its directory is the one they met.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use haft_store::{
    LogStore, MembershipAt, Payload, PeerId, ReadError as StoreReadError, StoreIdentity,
};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::config::{BadTimings, Compaction, Timings, raft_config};
use super::gate::{Gate, RefusedBy};
use super::handle::{Consensus, Shared};
use super::links::{Links, Purpose};
use super::log::LogAdapter;
use super::machine::{MachineAdapter, StateMachine};
use super::members::Memberships;
use super::network::Network;
use super::pool::Pool;
use super::server::PeerServer;
use super::tls::{PeerTls, TlsError};
use super::transfer::HandingOver;
use super::types::Raft;
use super::watchdog::{Leadership, REFUSED, Sight, Signals, StopReason, watch_over};
use super::wire::pb::Refusal;

/// What consensus needs to start.
pub struct Options {
    /// The peer port, already bound.
    pub listener: TcpListener,
    /// Certificates.
    pub tls: PeerTls,
    /// Raft's timings, the same on every node.
    pub timings: Timings,
    /// When to compact.
    pub compaction: Compaction,
    /// A sync that hangs longer aborts the process.
    pub disk_abort_after: Duration,
    /// The network, or a test's idea of it.
    pub links: Arc<dyn Links>,
}

/// Why consensus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The timings cannot work.
    #[error("the timings cannot work")]
    Timings(#[from] BadTimings),
    /// TLS cannot be set up.
    #[error("tls on the peer port cannot be set up")]
    Tls(#[from] TlsError),
    /// The certificate is another node's.
    #[error("the certificate names node {certified} of cluster {cluster}, this is node {} of cluster {}", own.name, own.cluster)]
    ForeignCertificate {
        /// The name in the certificate.
        certified: String,
        /// The cluster in the certificate.
        cluster: String,
        /// This node.
        own: StoreIdentity,
    },
    /// The port cannot be used.
    #[error("the peer port cannot be used")]
    Port(#[source] std::io::Error),
    /// TLS was refused by the library.
    #[error("the peer port cannot be served")]
    Serve(#[source] tonic::transport::Error),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] StoreReadError),
    /// A peer proves that this directory must not take part.
    #[error("node {by} refuses this node: {reason}")]
    Refused {
        /// The peer.
        by: PeerId,
        /// What it said.
        reason: String,
    },
    /// openraft does not start.
    #[error("raft does not start: {reason}")]
    Raft {
        /// What it said.
        reason: String,
    },
}

impl StartError {
    /// What an administrator can do, as an instruction.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Timings(_) => "correct the timings in the configuration",
            Self::Tls(_) | Self::Serve(_) => {
                "check the files under identity/ in the data directory"
            }
            Self::ForeignCertificate { .. } => {
                "restore this node's own certificate, or join it anew"
            }
            Self::Port(_) => "free the peer port, or configure another address",
            Self::Store(_) | Self::Raft { .. } => {
                "keep this coordinator stopped and its data directory as it is; the others go on \
                 without it, and a voter cannot be joined anew yet"
            }
            Self::Refused { .. } => REFUSED,
        }
    }
}

impl Consensus {
    /// Starts consensus on a store. Returns when this node takes part, which on a store that is not
    /// empty is one lease after the call.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        options: Options,
        store: Arc<dyn LogStore>,
        machine: Box<dyn StateMachine>,
    ) -> Result<Self, StartError> {
        let silent_until = Instant::now() + options.timings.lease();
        let Options {
            listener,
            tls,
            timings,
            compaction,
            disk_abort_after,
            links,
        } = options;
        check_certificate(&tls, store.identity())?;
        let config = Arc::new(raft_config(timings, compaction)?);
        let gate = Arc::new(Gate::new(Arc::clone(&store)));
        let pool = Arc::new(Pool::new(Arc::clone(&gate), tls.clone(), timings));
        let network = Network {
            pool: Arc::clone(&pool),
            gate: Arc::clone(&gate),
            links,
            timings,
        };
        let failed = |error: &dyn std::fmt::Display| StartError::Raft {
            reason: error.to_string(),
        };
        // The store says whether anybody lived on it; a log that begins with this start may have held a vote.
        let returned =
            !store.is_first_start() || store.vote().is_some() || store.bounds().last.is_some();
        let known = stored_membership(store.as_ref())?;
        let adapter = MachineAdapter::new(Arc::clone(&store), machine).map_err(|e| failed(&e))?;
        let log = LogAdapter::new(Arc::clone(&store));
        let durable = log.durable();
        let raft = Raft::build(store.identity().node.0, config, network, log, adapter)
            .await
            .map_err(|error| failed(&error))?;
        if returned {
            present_to_peers(&pool, &gate, &known, silent_until).await?;
            sleep_until(silent_until).await;
        }
        raft.run();
        let stopped = watch::Sender::new(None);
        let serving = serve(
            listener,
            &tls,
            timings,
            raft.clone(),
            &gate,
            stopped.clone(),
        )?;
        let sight = Arc::new(Sight {
            raft: raft.clone(),
            store,
            durable,
            gate,
            timings,
            disk_abort_after,
            handing_over: HandingOver::default(),
        });
        Ok(Self {
            shared: assemble(raft, sight, pool, stopped, serving),
        })
    }
}

fn assemble(
    raft: Raft,
    sight: Arc<Sight>,
    pool: Arc<Pool>,
    stopped: watch::Sender<Option<StopReason>>,
    serving: JoinHandle<()>,
) -> Arc<Shared> {
    let leadership = watch::Sender::new(Leadership::None);
    let memberships = watch::Sender::new(Memberships::default());
    let (led, members) = (leadership.subscribe(), memberships.subscribe());
    let signals = Signals {
        leadership,
        memberships,
        stopped: stopped.clone(),
    };
    let watching = tokio::spawn(watch_over(Arc::clone(&sight), signals));
    Arc::new(Shared {
        raft,
        sight,
        pool,
        leadership: led,
        memberships: members,
        stopped,
        transfers: Mutex::default(),
        tasks: Mutex::new(vec![serving, watching]),
    })
}

fn check_certificate(tls: &PeerTls, own: &StoreIdentity) -> Result<(), StartError> {
    if tls.own.cluster == own.cluster && tls.own.name == own.name {
        return Ok(());
    }
    Err(StartError::ForeignCertificate {
        certified: tls.own.name.clone(),
        cluster: tls.own.cluster.to_string(),
        own: own.clone(),
    })
}

/// The latest membership in the store, committed or not.
fn stored_membership(store: &dyn LogStore) -> Result<MembershipAt, StoreReadError> {
    let mut latest = store
        .snapshot()?
        .map(|snapshot| snapshot.membership)
        .unwrap_or_default();
    for record in store.read(0, u64::MAX, usize::MAX)? {
        if let Payload::Membership(membership) = record.payload {
            latest = MembershipAt {
                at: Some(record.at),
                membership,
            };
        }
    }
    Ok(latest)
}

/// Greets every peer. Those that do not answer are no obstacle; one that refuses is.
async fn present_to_peers(
    pool: &Pool,
    gate: &Gate,
    known: &MembershipAt,
    until: Instant,
) -> Result<(), StartError> {
    let greetings = known
        .membership
        .peers
        .iter()
        .filter(|(id, _)| **id != gate.own_id())
        .map(|(id, peer)| {
            let slot = pool.slot(*id, Purpose::Heartbeat, peer.clone());
            async move { slot.client(until).await.is_ok() }
        });
    let answered = futures::future::join_all(greetings).await;
    tracing::info!(
        peers = answered.len(),
        answered = answered.iter().filter(|answered| **answered).count(),
        "presented this node to its peers"
    );
    let refusal = gate.refused_by().borrow().clone();
    match refusal {
        Some(RefusedBy {
            peer,
            kind: Refusal::ClonedDirectory | Refusal::RolledBack | Refusal::ForeignCluster,
            reason,
        }) => Err(StartError::Refused { by: peer, reason }),
        // A wrong address or certificate of one peer is not this directory's fault.
        Some(RefusedBy { .. }) | None => Ok(()),
    }
}

fn serve(
    listener: TcpListener,
    tls: &PeerTls,
    timings: Timings,
    raft: Raft,
    gate: &Arc<Gate>,
    stopped: watch::Sender<Option<StopReason>>,
) -> Result<JoinHandle<()>, StartError> {
    listener.set_nonblocking(true).map_err(StartError::Port)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::Port)?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let router = Server::builder()
        .tls_config(tls.server())
        .map_err(StartError::Serve)?
        .http2_keepalive_interval(Some(timings.heartbeat * 2))
        .http2_keepalive_timeout(Some(timings.election_min))
        .add_service(PeerServer::service(raft, Arc::clone(gate)));
    Ok(tokio::spawn(async move {
        let mut stopping = stopped.subscribe();
        let asked = async move {
            // An error means that everybody who could stop us is gone.
            drop(stopping.wait_for(Option::is_some).await);
        };
        let ended = router.serve_with_incoming_shutdown(incoming, asked).await;
        // A node that hears nobody would stand for election for ever: it ends.
        let reason = match ended {
            Ok(()) => "it has ended".to_owned(),
            Err(error) => error.to_string(),
        };
        stopped.send_if_modified(|stopped| {
            let first = stopped.is_none();
            if first {
                tracing::error!(reason, "the peer port failed");
                *stopped = Some(StopReason::PeerPort { reason });
            }
            first
        });
    }))
}
