//! The daemon's life: reads the config, waits for an identity, starts the lease thread and the stream's
//! task, ends both on SIGTERM or SIGINT after everything has been released.
//!
//! No policy: what is held and when is decided in haft-engine and carried out by the lease thread.

mod disks;

use crate::attach::{Attach, AttachTask};
use crate::census::{self, CensusError};
use crate::chain;
use crate::executor::Enforcement;
use crate::kernel::capability::{self, CapabilityError};
use crate::kernel::clock::{ReadBootIdError, boot_id};
use crate::kernel::place::place;
use crate::lease::{Lease, StartLeaseError};
use crate::notify;
use crate::order::{Notice, Order, OrderInbox, Orders, orders};
use crate::sbd::SbdError;
use crate::shared_watchdog::SharedWatchdog;
use haft_api::client::Credentials;
use haft_config::identity::{Identity, ReadIdentityError};
use haft_config::{Config, NodeLookupError, Problems};
use haft_engine::gate::GateKind;
use haft_engine::ids::{BootId, NodeName};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How often a missing identity is looked for.
const IDENTITY_EVERY: Duration = Duration::from_millis(100);
/// How long the lease thread may take to end, and the least that releases get to reach the leader. They get two
/// ttls where that is longer: there may be no leader just then, and an owner that ends without having been heard
/// is lost, and fenced.
const GRACE: Duration = Duration::from_secs(3);
/// How long a dying predecessor's lock is waited for, and how often it is tried.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const LOCK_EVERY: Duration = Duration::from_millis(10);
/// Held for the life of the process, in the data directory.
const LOCK: &str = "haft-agent.lock";
/// Reports that may wait for the stream's task.
const NOTICES_MAX: usize = 1_024;

/// How to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The one config file.
    pub config: PathBuf,
    /// The node's name; the hostname if absent.
    pub node: Option<String>,
}

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The config file; every problem with place and fix.
    #[error("{0}")]
    Config(Problems),
    /// This machine is not in it.
    #[error("this machine is not a node of {}", file.display())]
    Node {
        /// The config.
        file: PathBuf,
        /// Why.
        source: NodeLookupError,
    },
    /// No coordinator to attach to.
    #[error("{} names no coordinator", file.display())]
    NoCoordinator {
        /// The config.
        file: PathBuf,
    },
    /// The identity on disk.
    #[error("the identity cannot be used")]
    Identity(#[source] ReadIdentityError),
    /// The identity is another node's.
    #[error("the identity in {} is that of node {found}, not {wanted}", data_dir.display())]
    OtherNode {
        /// Where it is.
        data_dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who this is.
        wanted: String,
    },
    /// A TLS file that the config names.
    #[error("cannot read {}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent of this node is alive.
    #[error("another haft-agent holds {}", path.display())]
    AlreadyRuns {
        /// The lock.
        path: PathBuf,
    },
    /// Whether another one is alive cannot be told.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No boot id.
    #[error("cannot tell one boot from the next")]
    Boot(#[from] ReadBootIdError),
    /// The lease thread.
    #[error("cannot hold anything on this machine")]
    Lease(#[from] StartLeaseError),
    /// Descriptors, threads, signals.
    #[error("cannot set up the process")]
    System(#[from] io::Error),
    /// The shared disks and the watchdog beside them.
    #[error(transparent)]
    Sbd(#[from] SbdError),
    /// A capability is missing.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// What this machine has.
    #[error("cannot see what this machine has")]
    Census(#[from] CensusError),
    /// The lease thread ended by itself.
    #[error("the lease thread has ended")]
    LeaseEnded,
}

/// Runs until it is told to stop.
///
/// # Errors
/// When the config, the identity or the machine do not allow it.
pub async fn run(options: Options) -> Result<(), RunError> {
    let (config, node) = configured(&options)?;
    // Before anything is waited for, and long before a watchdog may be armed.
    capability::require()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let identity = tokio::select! {
        identity = wait_for_identity(&config.data_dir) => identity?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if identity.node != node {
        return Err(RunError::OtherNode {
            data_dir: config.data_dir.clone(),
            found: identity.node.0,
            wanted: node.0,
        });
    }
    let _only = lock(&config.data_dir).await?;
    let boot = BootId(boot_id()?.0);
    let (sender, inbox) = orders()?;
    let (notices, noticed) = mpsc::channel(NOTICES_MAX);
    let cluster = identity.cluster;
    // Before anything may arm the watchdog: a start that fails after that resets the machine.
    let (credentials, sight) = (credentials(&config, identity)?, census::start()?);
    let (watchdog, mut disks) = disks::begin(&config, &node)?;
    let (thread, ready) = start_lease(enforcement(&config), watchdog, inbox, notices)?;
    let gate = ready.await.map_err(|_| RunError::LeaseEnded)??;
    tokio::select! {
        watched = disks.watched() => watched?,
        _ = terminate.recv() => return stand_down(&sender, thread).await,
        _ = interrupt.recv() => return stand_down(&sender, thread).await,
    }
    tracing::info!(%node, %cluster, "haft-agent runs");
    notify::notify("READY=1");
    let attach = Attach {
        node,
        boot,
        place: place(gate),
        config,
        credentials,
        sight,
    };
    let (end_at, ending) = watch::channel(None);
    let grace = GRACE.max(attach.config.timing.ttl * 2);
    let asked = ending.clone();
    let task = AttachTask::new(attach, sender.clone(), noticed, ending).run();
    let verdict = Arc::new(OnceLock::new());
    let told = Arc::clone(&verdict);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            ended = disks.ended() => {
                // Set once, here.
                let _ = told.set(ended);
            }
        }
        tracing::info!("asked to end: releasing everything");
        notify::notify("STOPPING=1");
        // At once, whatever the stream's task is waiting for.
        let told = sender.send(Order::Shutdown);
        let _ = end_at.send(Some(Instant::now() + grace));
        told.map_err(|_| RunError::LeaseEnded)?;
        std::future::pending().await
    };
    tokio::select! {
        () = task => {}
        ended = stop => return ended,
    }
    join(thread).await?;
    judge(&asked, &verdict)
}

/// How it ended, once nothing is held any more.
fn judge(
    asked: &watch::Receiver<Option<Instant>>,
    verdict: &OnceLock<Result<(), SbdError>>,
) -> Result<(), RunError> {
    match (asked.borrow().is_some(), verdict.get()) {
        // Whatever made it end, a node without it holds nothing and says nothing.
        (false, _) => Err(RunError::LeaseEnded),
        (true, Some(Err(error))) => Err(error.clone().into()),
        (true, Some(Ok(())) | None) => Ok(()),
    }
}

/// The config, and this machine's name in it; a machine on which nothing could be held is refused.
pub(crate) fn configured(options: &Options) -> Result<(Config, NodeName), RunError> {
    let config = Config::load(&options.config).map_err(RunError::Config)?;
    let node = config
        .local(options.node.as_deref())
        .map_err(|source| RunError::Node {
            file: options.config.clone(),
            source,
        })?
        .name
        .clone();
    if config.coordinators().next().is_none() {
        let file = options.config.clone();
        return Err(RunError::NoCoordinator { file });
    }
    Ok((config, node))
}

/// Ends before anything was held. The watchdog may have been armed just now.
async fn stand_down(sender: &Orders, thread: JoinHandle<()>) -> Result<(), RunError> {
    sender
        .send(Order::Shutdown)
        .map_err(|_| RunError::LeaseEnded)?;
    join(thread).await
}

/// The thread ends once everything is released; one that cannot release is ended with the process, and the
/// kernel's guard with it.
async fn join(thread: JoinHandle<()>) -> Result<(), RunError> {
    let ended = tokio::task::spawn_blocking(move || thread.join());
    match tokio::time::timeout(GRACE, ended).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(_) | Err(_) => Err(RunError::LeaseEnded),
    }
}

/// The identity's own certificate, or the files that the config names instead.
fn credentials(config: &Config, identity: Identity) -> Result<Credentials, RunError> {
    let Some(files) = &config.tls else {
        return Ok(Credentials {
            ca_pem: identity.ca_pem,
            certificate_pem: identity.certificate_pem,
            key_pem: identity.key_pem,
        });
    };
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| RunError::Tls {
            path: path.to_owned(),
            source,
        })
    };
    Ok(Credentials {
        ca_pem: read(&files.ca)?,
        certificate_pem: read(&files.certificate)?,
        key_pem: read(&files.key)?,
    })
}

/// A second agent on the same machine would remove what the first holds. One that was killed a moment ago
/// may still be on its way out, so this waits a little.
pub(crate) async fn lock(data_dir: &Path) -> Result<File, RunError> {
    let path = data_dir.join(LOCK);
    let unusable = |source| RunError::Lock {
        path: path.clone(),
        source,
    };
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(unusable)?;
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                tokio::time::sleep(LOCK_EVERY).await;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(RunError::AlreadyRuns { path }),
            Err(error) => return Err(unusable(error.into())),
        }
    }
}

async fn wait_for_identity(data_dir: &Path) -> Result<Identity, RunError> {
    let mut told = false;
    loop {
        match Identity::read(data_dir) {
            Ok(identity) => return Ok(identity),
            Err(source @ ReadIdentityError::Absent { .. }) => {
                if !told {
                    tracing::info!(fix = source.fix(), err = chain(&source), "waiting");
                    told = true;
                }
                tokio::time::sleep(IDENTITY_EVERY).await;
            }
            Err(source) => return Err(RunError::Identity(source)),
        }
    }
}

type Ready = oneshot::Receiver<Result<GateKind, StartLeaseError>>;

fn start_lease(
    enforcement: Enforcement,
    watchdog: SharedWatchdog,
    inbox: OrderInbox,
    notices: mpsc::Sender<Notice>,
) -> io::Result<(JoinHandle<()>, Ready)> {
    let (tell, ready) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("haft-lease".to_owned())
        .spawn(move || {
            crate::plant::panic_in("lease");
            let opened = Lease::open(enforcement, watchdog, inbox, notices);
            let lease = match opened {
                Ok(lease) => lease,
                Err(error) => {
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            for (what, asked) in [
                ("realtime priority", haft_realtime::prefer_this_thread()),
                ("memory lock", haft_realtime::lock_memory()),
            ] {
                if let Err(error) = asked {
                    tracing::info!(what, err = chain(&error), "not granted; going on without");
                }
            }
            if tell.send(Ok(lease.gate_kind())).is_ok() {
                lease.run();
            }
        })?;
    Ok((thread, ready))
}

fn enforcement(config: &Config) -> Enforcement {
    #[cfg(feature = "planted-bugs")]
    if std::env::var("HAFT_PLANT").as_deref() == Ok("guard") {
        tracing::error!("planted: no kernel guard, addresses outlive their lease");
        return Enforcement::Open;
    }
    match &config.bpf_fs {
        Some(root) => Enforcement::GuardedIn(root.clone()),
        None => Enforcement::Guarded,
    }
}
