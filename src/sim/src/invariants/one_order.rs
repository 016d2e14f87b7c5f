//! Off and on never meet: no order is opened against a node while another is open, and none to power it on while
//! something that stonith guards waits for proof that it is off (R5: power-on follows the verdict).
//!
//! Judged by the log alone, because a machine that comes up while its `off` is still being executed does harm only
//! by luck: the executor's reads say on, and an `off` that comes late hits the next life.
//! Seen to fail with: PowerOnBesideOff.

use super::Violation;
use crate::clock::TrueTime;
use haft_engine::command::FenceAction;
use haft_engine::ids::OrderId;
use haft_engine::spec::Isolation;
use haft_engine::state::{ClusterState, FenceOrder, Ownership};
use std::collections::BTreeSet;

/// Name in reports.
pub(crate) const NAME: &str = "one-order";

/// Orders that are open.
pub(crate) fn open(state: &ClusterState) -> BTreeSet<OrderId> {
    let orders = state.orders.values();
    orders
        .filter(|order| order.phase.is_open())
        .map(|order| order.id)
        .collect()
}

/// Looks at the orders that an entry has opened.
pub(crate) fn check(
    now: TrueTime,
    state: &ClusterState,
    before: &BTreeSet<OrderId>,
) -> Option<Violation> {
    let open: Vec<&FenceOrder> = state
        .orders
        .values()
        .filter(|order| order.phase.is_open())
        .collect();
    for order in open.iter().filter(|order| !before.contains(&order.id)) {
        let (id, node) = (order.id, order.node);
        let other = open.iter().find(|one| one.node == node && one.id != id);
        let what = if let Some(other) = other {
            format!("beside open order {} ({:?})", other.id, other.action)
        } else if order.action == FenceAction::On && waits_for_proof(state, order) {
            "while its resources wait for proof of off".to_owned()
        } else {
            continue;
        };
        return Some(Violation {
            invariant: NAME,
            at: now,
            seen: format!(
                "order {id} ({:?}) against node {node} was opened {what}",
                order.action
            ),
        });
    }
    None
}

fn waits_for_proof(state: &ClusterState, order: &FenceOrder) -> bool {
    state.resources.values().any(|resource| {
        matches!(&resource.ownership, Ownership::Orphaned(holding)
            if holding.node == order.node && holding.isolation == Isolation::Stonith)
    })
}
