//! haftd's start and end: identity, store, consensus, sockets, tasks.
//!
//! Nothing listens before the store has been checked against the identity. On SIGTERM leadership is handed
//! over first, so that a planned stop costs no election. Decides nothing about ownership.

mod begin;
mod error;

pub use error::DaemonError;

use crate::beats::{BeatCounters, BeatSocket};
use crate::clock::boot_now;
use crate::consensus::{Compaction, Consensus, OpenLinks, Options, PeerTls, Timings};
use crate::context::Context;
use crate::peers::Peers;
use crate::pki::{Authority, SharedAuthority};
use crate::replica::{Machine, Replica};
use crate::seals::{SealObserver, SharedResponder};
use crate::services::{self, ServerTls};
use crate::{leading, members};
use haft_api::client::Credentials;
use haft_config::identity::{Identity, ReadIdentityError};
use haft_config::{Config, NodeConfig};
use haft_engine::ids::NodeId;
use haft_engine::leader::Input;
use haft_engine::session::responder::{Responder, Restart};
use haft_fence_protocol::caller::AgentDirs;
use haft_store::{LogStore, OpenOptions, PeerId, RocksStore, StoreIdentity};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A sync that hangs longer than this is a lost disk (R8).
const DISK_ABORT_AFTER: Duration = Duration::from_secs(30);
/// How often a node without identity looks for one.
const IDENTITY_POLL: Duration = Duration::from_millis(200);

/// Runs until a signal or a fatal error.
pub fn run(config: Config, node: Option<&str>) -> Result<(), DaemonError> {
    let local = config
        .local(node)
        .map_err(|error| DaemonError::Node(error.to_string()))?
        .clone();
    plant();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(plant)
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    runtime.block_on(serve(config, local))
}

/// With the feature `planted-bugs` only: plants the bug that HAFT_PLANT names, for the demo's broken runs.
fn plant() {
    #[cfg(feature = "planted-bugs")]
    if std::env::var_os("HAFT_PLANT").is_some_and(|bug| bug == "evidence") {
        haft_engine::plant::set(Some(haft_engine::plant::Bug::SkipEvidenceCheck));
    }
}

async fn serve(config: Config, local: NodeConfig) -> Result<(), DaemonError> {
    let identity = identity(&config.data_dir).await?;
    if identity.node != local.name {
        return Err(DaemonError::OtherNode {
            identity: identity.node,
            config: local.name,
        });
    }
    let own = identity.node_id;
    let sockets = Sockets::bind(&config, &local)?;
    let replica = Replica::default();
    let raft_dir = config.data_dir.join("raft");
    let responder = responder(&config, own, &raft_dir);
    let store: Arc<dyn LogStore> = Arc::new(open_store(&raft_dir, &identity, &responder)?);
    let consensus = start(
        &config,
        &identity,
        sockets.peer,
        store,
        &replica,
        &responder,
    )
    .await?;
    let (inputs, receiver) = mpsc::channel(leading::INPUTS_MAX);
    let context = Arc::new(context(
        config, &identity, consensus, replica, responder, inputs,
    )?);
    beat_thread(&context, sockets.beat)?;
    let tls = ServerTls {
        ca_pem: identity.ca_pem.clone(),
        certificate_pem: identity.certificate_pem.clone(),
        key_pem: identity.key_pem.clone(),
    };
    tasks(&context, &identity, receiver);
    let api = tokio::spawn(services::serve(Arc::clone(&context), sockets.api, tls));
    tracing::info!(node = %identity.node, id = %own, cluster = %identity.cluster, "serving");
    until_end(&context, api).await
}

fn tasks(context: &Arc<Context>, identity: &Identity, inputs: mpsc::Receiver<Input>) {
    tokio::spawn(leading::run(Arc::clone(context), inputs));
    tokio::spawn(members::run(Arc::clone(context)));
    tokio::spawn(begin::run(Arc::clone(context), identity.clone()));
    if context.authority.get().is_none() {
        tokio::spawn(services::fetch_authority(
            Arc::clone(context),
            identity.ca_pem.clone(),
            identity.ca_key_path(),
        ));
    }
}

async fn until_end(
    context: &Context,
    api: tokio::task::JoinHandle<Result<(), Box<dyn std::error::Error + Send + Sync>>>,
) -> Result<(), DaemonError> {
    let mut term = signal(SignalKind::terminate()).map_err(DaemonError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Runtime)?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        reason = context.consensus.stopped() => return Err(DaemonError::Stopped(format!("{reason:?}"))),
        ended = api => {
            let why = match ended {
                Ok(Ok(())) => "it ended".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            return Err(DaemonError::Api(why));
        }
    }
    tracing::info!("ending");
    begin::hand_over(context).await;
    context.consensus.shutdown().await;
    Ok(())
}

async fn identity(data_dir: &Path) -> Result<Identity, DaemonError> {
    let mut said = false;
    loop {
        match Identity::read(data_dir) {
            Ok(identity) => return Ok(identity),
            Err(error @ ReadIdentityError::Absent { .. }) => {
                if !said {
                    tracing::info!(%error, fix = error.fix(), "waiting for an identity");
                    said = true;
                }
                tokio::time::sleep(IDENTITY_POLL).await;
            }
            Err(error) => return Err(DaemonError::Identity(error)),
        }
    }
}

fn responder(config: &Config, own: NodeId, raft_dir: &Path) -> SharedResponder {
    let restart = if raft_dir.join("CURRENT").exists() {
        Restart::Returned
    } else {
        Restart::Fresh
    };
    SharedResponder::new(Responder::new(own, config.timing, boot_now(), restart))
}

fn open_store(
    dir: &Path,
    identity: &Identity,
    responder: &SharedResponder,
) -> Result<RocksStore, DaemonError> {
    let mut options = OpenOptions::new(dir.to_owned(), store_identity(identity));
    options.observer = Box::new(SealObserver(responder.clone()));
    RocksStore::open(options).map_err(DaemonError::Store)
}

fn store_identity(identity: &Identity) -> StoreIdentity {
    StoreIdentity {
        cluster: haft_store::ClusterId(identity.cluster.0),
        node: PeerId(identity.node_id.0),
        name: identity.node.0.clone(),
    }
}

async fn start(
    config: &Config,
    identity: &Identity,
    listener: TcpListener,
    store: Arc<dyn LogStore>,
    replica: &Replica,
    responder: &SharedResponder,
) -> Result<Consensus, DaemonError> {
    let tls = PeerTls::from_files(
        &identity.ca_path(),
        &identity.certificate_path(),
        &identity.key_path(),
    );
    let options = Options {
        listener,
        tls: tls.map_err(|error| DaemonError::Consensus(error.to_string()))?,
        timings: Timings {
            heartbeat: config.timing.raft_heartbeat,
            election_min: config.timing.election_min,
            election_max: config.timing.election_max,
        },
        compaction: Compaction::default(),
        disk_abort_after: DISK_ABORT_AFTER,
        links: Arc::new(OpenLinks),
    };
    let machine = Box::new(Machine::new(replica.clone(), responder.clone()));
    let started = Consensus::start(options, store, machine).await;
    started.map_err(|error| DaemonError::Consensus(error.to_string()))
}

fn context(
    config: Config,
    identity: &Identity,
    consensus: Consensus,
    replica: Replica,
    responder: SharedResponder,
    inputs: mpsc::Sender<Input>,
) -> Result<Context, DaemonError> {
    let authority = SharedAuthority::default();
    if let Some(key_pem) = &identity.ca_key_pem {
        let held = Authority {
            ca_pem: identity.ca_pem.clone(),
            key_pem: key_pem.clone(),
        };
        held.check()
            .map_err(|error| DaemonError::Authority(error.to_string()))?;
        authority.set(held);
    }
    let credentials = Credentials {
        ca_pem: identity.ca_pem.clone(),
        certificate_pem: identity.certificate_pem.clone(),
        key_pem: identity.key_pem.clone(),
    };
    Ok(Context {
        own: identity.node_id,
        cluster_hex: identity.cluster.to_string(),
        timing: config.timing,
        agents: AgentDirs::new(config.agent_dirs.clone()),
        config,
        consensus,
        replica,
        responder,
        inputs,
        peers: Peers::new(credentials),
        sights: crate::sights::Sights::default(),
        devices: crate::fencing::DeviceLocks::default(),
        beats: Arc::new(BeatCounters::default()),
        authority,
    })
}

fn beat_thread(context: &Arc<Context>, socket: UdpSocket) -> Result<(), DaemonError> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|error| DaemonError::Random(error.to_string()))?;
    let beats = BeatSocket {
        socket,
        own: context.own,
        replica: context.replica.clone(),
        responder: context.responder.clone(),
        // 0 is "not known yet" in a beat.
        nonce: u64::from_be_bytes(nonce).max(1),
        beat: context.timing.beat,
        counters: Arc::clone(&context.beats),
    };
    let thread = std::thread::Builder::new()
        .name("beats".to_owned())
        .spawn(move || {
            plant();
            if let Err(error) = beats.serve() {
                // Without beats every session would end; a restart is the better failure.
                tracing::error!(%error, "the beat socket failed");
                std::process::abort();
            }
        });
    thread.map(drop).map_err(DaemonError::Runtime)
}

/// Bound before anything is changed, so that a taken port is said at once.
struct Sockets {
    api: TcpListener,
    peer: TcpListener,
    beat: UdpSocket,
}

impl Sockets {
    fn bind(config: &Config, local: &NodeConfig) -> Result<Self, DaemonError> {
        // One address: that one. Several are redundant links, so every interface.
        let host = match local.addresses.as_slice() {
            [one] => *one,
            [first, ..] if first.is_ipv4() => std::net::Ipv4Addr::UNSPECIFIED.into(),
            [..] => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let tcp = |port| {
            let address = SocketAddr::new(host, port);
            services::bind(address).map_err(|source| DaemonError::Bind { address, source })
        };
        let address = SocketAddr::new(host, config.ports.beat);
        Ok(Self {
            api: tcp(config.ports.api)?,
            peer: tcp(config.ports.peer)?,
            beat: UdpSocket::bind(address)
                .map_err(|source| DaemonError::Bind { address, source })?,
        })
    }
}

/// A moment from now, for waits with a deadline.
fn within(span: Duration) -> Instant {
    Instant::now() + span
}
