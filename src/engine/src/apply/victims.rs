//! The voters that tries under way may switch off together (R5: survivors never below quorum).
//!
//! Knows what the log says, not who is up; the leader, which does, is stricter (`leader::fencing`). This holds whatever
//! it has in flight: two entries that were each planned without the other could take the quorum between them, and then
//! nobody could commit what either has proved.

use super::Refusal;
use crate::command::FenceAction;
use crate::ids::NodeId;
use crate::plant::{self, Bug};
use crate::state::ClusterState;
use std::collections::BTreeSet;

/// A try against `node` may begin.
///
/// # Errors
/// When it is a voter, and without it and those that other tries may switch off no majority of voters is left.
pub(super) fn require_quorum(
    state: &ClusterState,
    node: NodeId,
    action: FenceAction,
) -> Result<(), Refusal> {
    let spares = match action {
        FenceAction::On => true,
        FenceAction::Off => !state.membership.contains(node) || is_spared(state, node),
    };
    if spares || plant::is(Bug::CountVictimsApart) {
        return Ok(());
    }
    Err(Refusal::stale(
        "QuorumNotSpared",
        format!("node {node} and those that are being switched off already leave no quorum"),
    ))
}

fn is_spared(state: &ClusterState, node: NodeId) -> bool {
    let victims = state.being_switched_off();
    let rest: BTreeSet<NodeId> = state
        .membership
        .all()
        .into_iter()
        .filter(|voter| *voter != node && !victims.contains(voter))
        .collect();
    state.membership.majority(&rest)
}
