//! Why haftd does not start, or stopped, and with which exit code. docs/endings.md has the table.

use crate::consensus::{StartError, StopReason};
use haft_config::NodeLookupError;
use haft_config::identity::ReadIdentityError;
use haft_engine::ids::NodeName;
use haft_store::OpenError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why haftd ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The config does not name this host.
    #[error("this machine is not a node of {}", file.display())]
    Node {
        /// The config.
        file: PathBuf,
        /// Why.
        source: NodeLookupError,
    },
    /// The runtime could not start.
    #[error("the runtime did not start")]
    Runtime(#[source] std::io::Error),
    /// The identity is damaged or open to others.
    #[error("the identity cannot be used")]
    Identity(#[source] ReadIdentityError),
    /// The data directory belongs to another node of the cluster.
    #[error("the identity in {} is that of node {identity}, not {config}", data_dir.display())]
    OtherNode {
        /// Where it is.
        data_dir: PathBuf,
        /// In the data directory.
        identity: NodeName,
        /// In the config.
        config: NodeName,
    },
    /// A port is taken, or the address is not here.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The store is not usable.
    #[error("the store cannot be used")]
    Store(#[source] OpenError),
    /// Consensus did not start.
    #[error("consensus did not start")]
    Consensus(#[source] StartError),
    /// The CA's key does not fit its certificate.
    #[error("the authority's key in {} cannot be used: {why}", data_dir.display())]
    Authority {
        /// Where the identity is.
        data_dir: PathBuf,
        /// Why.
        why: String,
    },
    /// The kernel gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(String),
    /// Consensus stopped for good.
    #[error("consensus stopped: {0}")]
    Stopped(StopReason),
    /// A task that haftd cannot do without.
    #[error("the task {name:?} has ended: {why}")]
    Task {
        /// Which.
        name: &'static str,
        /// Its reason.
        why: String,
    },
}

/// It may work the next time: a supervisor starts haftd again.
const EXIT_FAILED: u8 = 1;
/// A wrong command line or config.
const EXIT_USAGE: u8 = 2;
/// The same start would end the same way, or make things worse: a supervisor leaves it to a human.
const EXIT_REFUSED: u8 = 3;

impl DaemonError {
    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            // Nothing changes until somebody edits the file or the command line.
            DaemonError::Node { .. } => EXIT_USAGE,
            DaemonError::OtherNode { .. }
            | DaemonError::Consensus(
                StartError::Refused { .. } | StartError::ForeignCertificate { .. },
            )
            | DaemonError::Stopped(StopReason::Refused { .. }) => EXIT_REFUSED,
            // A store in use is free again when its holder has ended; a damaged one stays so, and
            // is not made worse by another look.
            DaemonError::Store(_)
            | DaemonError::Consensus(
                StartError::Timings(_)
                | StartError::Tls(_)
                | StartError::Port(_)
                | StartError::Serve(_)
                | StartError::Store(_)
                | StartError::Raft { .. },
            )
            | DaemonError::Stopped(
                StopReason::Shutdown
                | StopReason::TransferStuck
                | StopReason::Mute
                | StopReason::PeerPort { .. }
                | StopReason::Fatal { .. },
            )
            | DaemonError::Runtime(_)
            | DaemonError::Identity(_)
            | DaemonError::Bind { .. }
            | DaemonError::Authority { .. }
            | DaemonError::Random(_)
            | DaemonError::Task { .. } => EXIT_FAILED,
        }
    }

    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            DaemonError::Node { .. } => {
                "name the node with --node, as the config names it; or correct the config".to_owned()
            }
            DaemonError::Identity(error) => error.fix(),
            DaemonError::Store(error) => error.remedy().to_owned(),
            DaemonError::OtherNode { .. } => {
                "give every node a data directory of its own; never copy one".to_owned()
            }
            DaemonError::Bind { .. } => {
                "stop what listens there, or correct the node's address or ports in the config"
                    .to_owned()
            }
            DaemonError::Consensus(error) => error.remedy().to_owned(),
            DaemonError::Stopped(reason) => reason.remedy().to_owned(),
            DaemonError::Task { .. } => {
                "start haftd again, and report what it said before".to_owned()
            }
            DaemonError::Runtime(_) => {
                "free memory, threads and open files, or raise the unit's limits; then start again"
                    .to_owned()
            }
            DaemonError::Authority { .. } => {
                "restore identity/ca.key from this node's own backup; or, where another coordinator has it, move \
                 this one away, and it is fetched from there"
                    .to_owned()
            }
            DaemonError::Random(_) => {
                "let getrandom(2) work here: a seccomp filter or an early boot may forbid it".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests;
