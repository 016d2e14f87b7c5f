//! Why haftd does not start, or stopped.

use haft_config::identity::ReadIdentityError;
use haft_engine::ids::NodeName;
use haft_store::OpenError;
use std::net::SocketAddr;

/// Why haftd ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The config does not name this host.
    #[error("{0}")]
    Node(String),
    /// The runtime could not start.
    #[error("the runtime did not start")]
    Runtime(#[source] std::io::Error),
    /// The identity is damaged or open to others.
    #[error("the identity cannot be used")]
    Identity(#[source] ReadIdentityError),
    /// The data directory belongs to another node of the cluster.
    #[error("the data directory holds the identity of {identity}, but this is {config}")]
    OtherNode {
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
    #[error("consensus did not start: {0}")]
    Consensus(String),
    /// The CA's key does not fit its certificate.
    #[error("the authority in the identity cannot be used: {0}")]
    Authority(String),
    /// The kernel gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(String),
    /// Consensus stopped for good.
    #[error("consensus stopped: {0}")]
    Stopped(String),
    /// The API server ended.
    #[error("the API server ended: {0}")]
    Api(String),
}

impl DaemonError {
    /// What to do about it.
    pub fn fix(&self) -> Option<String> {
        let fix = match self {
            DaemonError::Node(_) => "name the node with --node, as the config names it".to_owned(),
            DaemonError::Identity(error) => error.fix(),
            DaemonError::Store(error) => error.remedy().to_owned(),
            DaemonError::OtherNode { .. } => {
                "give every node a data directory of its own; never copy one".to_owned()
            }
            DaemonError::Bind { .. } => {
                "stop what listens there, or correct the node's address or ports in the config"
                    .to_owned()
            }
            DaemonError::Stopped(_) => {
                "start haftd again; it catches up from the others".to_owned()
            }
            DaemonError::Runtime(_)
            | DaemonError::Consensus(_)
            | DaemonError::Authority(_)
            | DaemonError::Random(_)
            | DaemonError::Api(_) => return None,
        };
        Some(fix)
    }
}
