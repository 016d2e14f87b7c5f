//! Quarantine: a node that is fenced again and again within an hour is granted nothing until somebody has looked.
//!
//! It never takes too many (hazards R28): a resource that loses its owner would then wait for a person although there
//! are machines that can run it. At most a quarter of the nodes are in it, and fewer than one below a majority of the
//! voters, but one always may be: in a cluster of three, one machine that reboots for ever is what this is for. And
//! never the last that could run some resource (R5a). A node that is spared is told of, and counted on.

use super::At;
use super::fence::warn_node;
use crate::ids::NodeId;
use crate::leader::placement::eligible;
use crate::plant::{self, Bug};
use crate::state::{ClusterState, QUARANTINE_FENCES, QUARANTINE_WINDOW_MS};

/// Counts a proven fence of `id`, and quarantines it after too many if others can do its work.
pub(super) fn count_fence(state: &mut ClusterState, at: At, id: NodeId) {
    let Some(node) = state.nodes.get_mut(&id) else {
        return;
    };
    let oldest = at.stamp_unix_ms.saturating_sub(QUARANTINE_WINDOW_MS);
    node.fenced_at_ms.retain(|stamp| *stamp >= oldest);
    // Bounded by the threshold: more stamps than that change nothing.
    if node.fenced_at_ms.len() >= QUARANTINE_FENCES {
        node.fenced_at_ms.remove(0);
    }
    node.fenced_at_ms.push(at.stamp_unix_ms);
    if node.fenced_at_ms.len() < QUARANTINE_FENCES || node.quarantined {
        return;
    }
    if !can_be_spared(state, id) && !plant::is(Bug::QuarantineAll) {
        let message = format!(
            "fenced {QUARANTINE_FENCES} times within an hour; not quarantined: too few others are left"
        );
        warn_node(state, at, id, "QuarantineSpared", message);
        return;
    }
    if let Some(node) = state.nodes.get_mut(&id) {
        node.quarantined = true;
    }
    let message = format!("fenced {QUARANTINE_FENCES} times within an hour; granted nothing");
    warn_node(state, at, id, "NodeQuarantined", message);
}

/// Whether the cluster can do without this node for good.
fn can_be_spared(state: &ClusterState, id: NodeId) -> bool {
    let quarantined = state.nodes.values().filter(|node| node.quarantined).count();
    quarantined < most(state) && !is_last_for_any(state, id)
}

/// How many nodes may be in quarantine together.
fn most(state: &ClusterState) -> usize {
    let quarter = state.nodes.len() / 4;
    let voters = state.membership.all().len();
    let quorum = voters / 2 + 1;
    // Fewer than `quorum - 1`.
    quarter.min(quorum.saturating_sub(2)).max(1)
}

/// Whether some resource could run nowhere else now.
fn is_last_for_any(state: &ClusterState, id: NodeId) -> bool {
    state.resources.values().any(|resource| {
        let mut others = state.nodes.values().filter(|node| node.id != id);
        !others.any(|node| eligible(state, resource, node).is_ok())
    })
}
