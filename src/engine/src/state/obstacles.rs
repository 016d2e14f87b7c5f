//! What stands in the way of addresses on nodes, and who else claims one, as the state holds it.
//!
//! Set and cleared by [`crate::apply`] alone. Says nothing of what follows from it.

use super::ClusterState;
use crate::ids::{NodeId, ResourceId};
use crate::machine::{Claim, Foreign, Obstacle};

/// Another machine that claims a resource's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rival {
    /// The node that heard it.
    pub by: NodeId,
    /// What it heard.
    pub claim: Claim,
    /// Stamp of the entry, for people.
    pub since_unix_ms: u64,
}

impl ClusterState {
    /// What stands in the way of this resource on this node, if anything does.
    pub fn obstacle(&self, resource: &ResourceId, node: NodeId) -> Option<&Obstacle> {
        self.obstacles.get(resource)?.get(&node)
    }

    /// Where somebody else has put this resource's address on this node, if so.
    pub fn foreign(&self, resource: &ResourceId, node: NodeId) -> Option<&Foreign> {
        match self.obstacle(resource, node)? {
            Obstacle::Foreign(found) => Some(found),
            Obstacle::NoInterface
            | Obstacle::NoCarrier
            | Obstacle::Refused(_)
            | Obstacle::Ungated(_) => None,
        }
    }
}
