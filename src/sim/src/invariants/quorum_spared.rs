//! The quorum is spared: no entry begins to switch a machine off while the voters that tries under way may switch off,
//! this one included, leave no majority of all voters (R5: survivors never below quorum).
//!
//! Judged by the log alone: whether the others are up is more than a leader can know, but a try against each of two
//! voters out of three takes the quorum by itself, and then nobody can commit what either has proved.
//! Seen to fail with: CountVictimsApart.

use super::Violation;
use crate::clock::TrueTime;
use haft_engine::command::{Command, Entry, FenceAction};
use haft_engine::ids::NodeId;
use haft_engine::state::ClusterState;
use std::collections::BTreeSet;

/// Name in reports.
pub(crate) const NAME: &str = "quorum-spared";

/// Looks at the tries that an entry has begun; `state` is what it has led to.
pub(crate) fn check(now: TrueTime, state: &ClusterState, entry: &Entry) -> Option<Violation> {
    let victims = state.being_switched_off();
    let begun = entry.commands.iter().find(|command| {
        target(state, command)
            .is_some_and(|node| victims.contains(&node) && state.membership.contains(node))
    })?;
    let rest: BTreeSet<NodeId> = state
        .membership
        .all()
        .into_iter()
        .filter(|voter| !victims.contains(voter))
        .collect();
    (!state.membership.majority(&rest)).then(|| Violation {
        invariant: NAME,
        at: now,
        seen: format!("{begun:?} leaves only {rest:?} beside the victims {victims:?}"),
    })
}

/// Whom the command would begin to switch off.
fn target(state: &ClusterState, command: &Command) -> Option<NodeId> {
    match command {
        Command::FenceAttempt { order, .. } => {
            let order = state.orders.get(order)?;
            (order.action == FenceAction::Off).then_some(order.node)
        }
        Command::FenceIntent {
            node,
            action: FenceAction::Off,
            first: Some(_),
            ..
        } => Some(*node),
        _ => None,
    }
}
