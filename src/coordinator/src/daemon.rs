//! haftd's start and end: identity, store, consensus, sockets, tasks.
//!
//! Nothing listens before the store has been checked against the identity. On SIGTERM leadership is handed
//! over first, so that a planned stop costs no election. Decides nothing about ownership.

mod begin;
mod error;
mod tasks;

pub use error::DaemonError;

use crate::beats::{BeatCounters, BeatPorts, BeatSocket};
use crate::clock::boot_now;
use crate::consensus::{Compaction, Consensus, OpenLinks, Options, PeerTls, Timings};
use crate::context::Context;
use crate::peers::Peers;
use crate::pki::{Authority, SharedAuthority};
use crate::pulse::Pulse;
use crate::replica::{Machine, Replica};
use crate::seals::{SealObserver, SharedResponder};
use crate::services::{self, ServerTls};
use crate::witness::{self, Challenger};
use crate::{leading, members};
use haft_api::client::Credentials;
use haft_config::identity::{Identity, ReadIdentityError};
use haft_config::{Config, NodeConfig};
use haft_engine::leader::Input;
use haft_engine::session::responder::{Responder, Restart};
use haft_fence_protocol::caller::AgentDirs;
use haft_store::{LogStore, OpenOptions, PeerId, RocksStore, StoreIdentity};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tasks::Tasks;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A sync that hangs longer than this is a lost disk (R8).
const DISK_ABORT_AFTER: Duration = Duration::from_secs(30);
/// What still runs at the end is not waited for longer.
const END_WITHIN: Duration = Duration::from_secs(2);
/// How often a node without identity looks for one.
const IDENTITY_POLL: Duration = Duration::from_millis(200);

/// Runs until a signal or a fatal error.
pub fn run(config: Config, local: NodeConfig) -> Result<(), DaemonError> {
    plant_bug();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(plant_bug)
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    let ended = runtime.block_on(serve(config, local));
    // Not by dropping it: that would wait for whatever hangs in a thread of its own.
    runtime.shutdown_timeout(END_WITHIN);
    ended
}

/// With the feature `planted-bugs` only: plants the bug that HAFT_PLANT names, for the demo's broken runs.
fn plant_bug() {
    #[cfg(feature = "planted-bugs")]
    if let Some(bug) = std::env::var_os("HAFT_PLANT") {
        use haft_engine::plant::Bug;
        let bug = match bug.to_str() {
            Some("evidence") => Some(Bug::SkipEvidenceCheck),
            Some("restart") => Some(Bug::NoRestartSilence),
            Some("answer") => Some(Bug::AnswerBlocking),
            Some(_) | None => None,
        };
        haft_engine::plant::set(bug);
    }
}

async fn serve(config: Config, local: NodeConfig) -> Result<(), DaemonError> {
    let identity = identity(&config.data_dir).await?;
    if identity.node != local.name {
        return Err(DaemonError::OtherNode {
            data_dir: config.data_dir,
            identity: identity.node,
            config: local.name,
        });
    }
    let own = identity.node_id;
    let sockets = Sockets::bind(&config, &local)?;
    let replica = Replica::default();
    let raft_dir = config.data_dir.join("raft");
    // Silent until the store itself says that there is nothing to be silent about (R8a).
    let responder = Responder::new(own, config.timing, boot_now(), Restart::Returned);
    let responder = SharedResponder::new(responder);
    let store: Arc<dyn LogStore> = Arc::new(open_store(&raft_dir, &identity, &responder)?);
    end_silence_if_fresh(store.as_ref(), &responder);
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
    let boot = witness::own_boot().map_err(DaemonError::Runtime)?;
    let port = config.ports.beat;
    let (challenger, late) = Challenger::new(&sockets.beat, own, boot, replica.beat_keys(), port)
        .map_err(DaemonError::Runtime)?;
    let driven = Driven {
        consensus,
        replica,
        responder,
        inputs,
        challenger: Arc::new(challenger),
    };
    let context = Arc::new(context(config, &identity, driven)?);
    beat_thread(&context, sockets.beat)?;
    let pulse = context.pulse.watch(context.timing.election_max);
    pulse.map_err(DaemonError::Runtime)?;
    let tls = ServerTls {
        ca_pem: identity.ca_pem.clone(),
        certificate_pem: identity.certificate_pem.clone(),
        key_pem: identity.key_pem.clone(),
    };
    let mut tasks = tasks(&context, &identity, receiver);
    let late = witness::late_witnesses(Arc::clone(&context), late);
    tasks.keep("witnesses", late);
    let api = services::serve(Arc::clone(&context), sockets.api, tls);
    tasks.keep_or_say("API", async move {
        api.await.map_err(|error| error.to_string())
    });
    tracing::info!(node = %identity.node, id = %own, cluster = %identity.cluster, "serving");
    until_end(&context, tasks).await
}

fn tasks(context: &Arc<Context>, identity: &Identity, inputs: mpsc::Receiver<Input>) -> Tasks {
    let mut tasks = Tasks::default();
    tasks.keep("leader", leading::run(Arc::clone(context), inputs));
    tasks.keep("members", members::run(Arc::clone(context)));
    tasks.keep("timing", crate::timing::watch(Arc::clone(context)));
    tasks.finish(
        "beginning",
        begin::run(Arc::clone(context), identity.clone()),
    );
    if context.authority.get().is_none() {
        let (context, ca_pem) = (Arc::clone(context), identity.ca_pem.clone());
        let fetched = services::fetch_authority(context, ca_pem, identity.ca_key_path());
        tasks.finish("authority", async move {
            fetched.await;
            Ok(())
        });
    }
    tasks
}

async fn until_end(context: &Context, mut tasks: Tasks) -> Result<(), DaemonError> {
    let mut term = signal(SignalKind::terminate()).map_err(DaemonError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Runtime)?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        reason = context.consensus.stopped() => return Err(DaemonError::Stopped(reason)),
        over = tasks.over() => return Err(over),
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

/// A store that counts its first start has answered no beat and stated no age before.
fn end_silence_if_fresh(store: &dyn LogStore, responder: &SharedResponder) {
    if store.is_first_start() {
        responder.with(Responder::on_fresh);
        return;
    }
    let silent = responder.with(|responder| responder.silent_until().since(boot_now()));
    tracing::info!(
        ?silent,
        "returned: no beat is acknowledged and no age stated before that, nor of a session before its ttl is over"
    );
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
        tls: tls.map_err(|error| DaemonError::Consensus(error.into()))?,
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
    started.map_err(DaemonError::Consensus)
}

/// What the tasks drive.
struct Driven {
    consensus: Consensus,
    replica: Replica,
    responder: SharedResponder,
    inputs: mpsc::Sender<Input>,
    challenger: Arc<Challenger>,
}

fn context(config: Config, identity: &Identity, driven: Driven) -> Result<Context, DaemonError> {
    let authority = SharedAuthority::default();
    if let Some(key_pem) = &identity.ca_key_pem {
        let held = Authority {
            ca_pem: identity.ca_pem.clone(),
            key_pem: key_pem.clone(),
        };
        held.check().map_err(|error| DaemonError::Authority {
            data_dir: config.data_dir.clone(),
            why: error.to_string(),
        })?;
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
        consensus: driven.consensus,
        replica: driven.replica,
        responder: driven.responder,
        inputs: driven.inputs,
        challenger: driven.challenger,
        pulse: Pulse::default(),
        streams: crate::streams::Streams::default(),
        peers: Peers::new(credentials),
        sights: crate::sights::Sights::default(),
        devices: crate::fencing::DeviceLocks::default(),
        files: crate::timing::FileTimings::default(),
        beats: Arc::new(BeatCounters::default()),
        authority,
    })
}

fn beat_thread(context: &Arc<Context>, ports: BeatPorts) -> Result<(), DaemonError> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|error| DaemonError::Random(error.to_string()))?;
    let beats = BeatSocket {
        ports,
        own: context.own,
        keys: context.replica.beat_keys(),
        responder: context.responder.clone(),
        // 0 is "not known yet" in a beat.
        nonce: u64::from_be_bytes(nonce).max(1),
        beat: context.timing.beat,
        counters: Arc::clone(&context.beats),
        challenger: Arc::clone(&context.challenger),
    };
    let thread = std::thread::Builder::new()
        .name("beats".to_owned())
        .spawn(move || {
            plant_bug();
            prefer();
            if let Err(error) = beats.serve() {
                // Without beats every session would end; a restart is the better failure.
                tracing::error!(%error, "the beat socket failed");
                std::process::abort();
            }
        });
    thread.map(drop).map_err(DaemonError::Runtime)
}

/// This thread first, and what the process uses kept in memory: an answer that is late by a page from the disk or
/// by a busy processor is a lost beat.
fn prefer() {
    for (what, asked) in [
        ("realtime priority", haft_realtime::prefer_this_thread()),
        ("memory lock", haft_realtime::lock_memory()),
    ] {
        if let Err(error) = asked {
            tracing::warn!(%error, what, "the system refuses it; beats may be answered late when it is busy");
        }
    }
}

/// Bound before anything is changed, so that a taken port is said at once.
struct Sockets {
    api: TcpListener,
    peer: TcpListener,
    beat: BeatPorts,
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
        let beats: Vec<SocketAddr> = local
            .addresses
            .iter()
            .map(|host| SocketAddr::new(*host, config.ports.beat))
            .collect();
        Ok(Self {
            api: tcp(config.ports.api)?,
            peer: tcp(config.ports.peer)?,
            beat: BeatPorts::bind(&beats)
                .map_err(|(address, source)| DaemonError::Bind { address, source })?,
        })
    }
}

/// A moment from now, for waits with a deadline.
fn within(span: Duration) -> Instant {
    Instant::now() + span
}
