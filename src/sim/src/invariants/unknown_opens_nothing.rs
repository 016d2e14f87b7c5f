//! Unknown opens nothing: an entry that brings only `Unknown` or `Refused` verdicts takes no resource
//! from anybody and proves nobody fenced.
//!
//! Judged by the log alone, so that it also fails where luck would have saved the day.
//! Seen to fail with: UnknownAsOff.

use super::Violation;
use crate::clock::TrueTime;
use haft_engine::command::{Command, Entry, Verdict};
use haft_engine::ids::{NodeId, OrderId};
use haft_engine::state::{ClusterState, Ending, Session};

/// Name in reports.
pub(crate) const NAME: &str = "unknown-opens-nothing";

/// The orders of the verdicts in `entry`, if none of its commands could be evidence.
pub(crate) fn unproven(entry: &Entry) -> Vec<OrderId> {
    let mut orders = Vec::new();
    for command in &entry.commands {
        match command {
            Command::FenceVerdict { order, verdict, .. } => match verdict {
                Verdict::Confirmed => return Vec::new(),
                Verdict::Refused | Verdict::Unknown => orders.push(*order),
            },
            Command::Released { .. }
            | Command::Admit { .. }
            | Command::Expired { .. }
            | Command::LifetimeLapsed { .. }
            | Command::WatchdogLapsed { .. }
            | Command::ConfirmOff { .. } => return Vec::new(),
            _ => {}
        }
    }
    orders
}

/// The target of each order, with the number of resources it holds.
pub(crate) fn held_by_targets(state: &ClusterState, orders: &[OrderId]) -> Vec<(NodeId, usize)> {
    orders
        .iter()
        .filter_map(|order| state.orders.get(order))
        .map(|order| (order.node, held(state, order.node)))
        .collect()
}

fn held(state: &ClusterState, node: NodeId) -> usize {
    state
        .resources
        .values()
        .filter_map(|resource| resource.ownership.holding())
        .filter(|holding| holding.node == node)
        .count()
}

/// Looks at the state after the entry.
pub(crate) fn check(
    now: TrueTime,
    state: &ClusterState,
    before: &[(NodeId, usize)],
    fenced_before: &[NodeId],
) -> Option<Violation> {
    let seen = |what: String| {
        Some(Violation {
            invariant: NAME,
            at: now,
            seen: what,
        })
    };
    for (node, count) in before {
        if held(state, *node) < *count {
            return seen(format!("an unproven verdict freed what node {node} held"));
        }
        if fenced(state).contains(node) && !fenced_before.contains(node) {
            return seen(format!("an unproven verdict counts node {node} as fenced"));
        }
    }
    None
}

/// Nodes whose newest life ended by fencing.
pub(crate) fn fenced(state: &ClusterState) -> Vec<NodeId> {
    state
        .nodes
        .values()
        .filter(|node| {
            matches!(
                node.session,
                Session::Ended {
                    ending: Ending::Fenced,
                    ..
                }
            )
        })
        .map(|node| node.id)
        .collect()
}
