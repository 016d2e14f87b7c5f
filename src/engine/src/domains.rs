//! Whether a node could lose its own power or network and every way to be fenced in one failure (hazards R22).
//!
//! Advice from what the administrator has declared; decides nothing.

use crate::ids::{DeviceName, NodeName};
use crate::levels::levels_of;
use crate::spec::Domains;
use crate::state::{ClusterState, Node};
use std::fmt;

/// What is shared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DomainKind {
    /// The supply of power.
    Power,
    /// The network.
    Network,
}

impl DomainKind {
    fn of(self, domains: &Domains) -> Option<&String> {
        match self {
            DomainKind::Power => domains.power.as_ref(),
            DomainKind::Network => domains.network.as_ref(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            DomainKind::Power => "power",
            DomainKind::Network => "network",
        }
    }
}

/// Every level that covers a node needs a device of the node's own domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shared {
    /// The node.
    pub node: NodeName,
    /// Its power or its network.
    pub kind: DomainKind,
    /// The domain's name.
    pub domain: String,
    /// The devices that share it, at least one of each level.
    pub devices: Vec<DeviceName>,
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.devices.iter().map(|name| name.0.as_str()).collect();
        write!(
            f,
            "{} and every way to fence it depend on {} domain {} ({}): if that fails, it cannot be fenced",
            self.node,
            self.kind.word(),
            self.domain,
            names.join(", ")
        )
    }
}

/// What `node` shares with every level of its devices; all devices of a level must succeed, so one that
/// shares is enough to lose the level.
pub fn shared_by(state: &ClusterState, node: &Node) -> Vec<Shared> {
    [DomainKind::Power, DomainKind::Network]
        .into_iter()
        .filter_map(|kind| shared(state, node, kind))
        .collect()
}

fn shared(state: &ClusterState, node: &Node, kind: DomainKind) -> Option<Shared> {
    let domain = kind.of(&node.spec.domains)?;
    let shares = |name: &&DeviceName| {
        let device = state.devices.get(*name);
        device.is_some_and(|device| kind.of(&device.spec.domains) == Some(domain))
    };
    let levels: Vec<Vec<DeviceName>> = levels_of(state, &node.name)
        .iter()
        .filter(|level| level.isolates(&state.devices))
        .map(|level| level.devices.iter().filter(shares).cloned().collect())
        .collect();
    let hopeless = !levels.is_empty() && levels.iter().all(|sharing| !sharing.is_empty());
    hopeless.then(|| Shared {
        node: node.name.clone(),
        kind,
        domain: domain.clone(),
        devices: levels.into_iter().flatten().collect(),
    })
}

/// Everything that is shared in the cluster.
pub fn all_shared(state: &ClusterState) -> Vec<Shared> {
    state
        .nodes
        .values()
        .flat_map(|node| shared_by(state, node))
        .collect()
}
