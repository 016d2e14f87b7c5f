//! Tries that another has taken the place of: their executors may act until their deadlines (R5, R15).
//!
//! Knows no time. A leader that has learned of such a try waits its deadline out on its own clock and says so; until
//! then no new life of the target is admitted, whichever leader asks and whatever has become of the order.

use crate::apply::{Outcome, Refusal};
use crate::clock::lengthened;
use crate::command::FenceAction;
use crate::ids::{NodeId, OrderId};
use crate::plant::{self, Bug};
use crate::state::{ClusterState, FenceOrder, OrderPhase, SUPERSEDED_MAX, Superseded};
use std::time::Duration;

/// The try under way, if there is one, is about to be superseded.
pub(super) fn keep(order: &mut FenceOrder) {
    let mut kept = match order.phase {
        OrderPhase::Running {
            attempt,
            executor,
            deadline,
            ..
        } => Superseded {
            attempt,
            executor,
            deadline,
        },
        OrderPhase::Intended
        | OrderPhase::Held(_)
        | OrderPhase::Waiting { .. }
        | OrderPhase::Confirmed
        | OrderPhase::Cancelled(_) => return,
    };
    if plant::is(Bug::ForgetSuperseded) {
        return;
    }
    // Too many to keep apart: the two newest become one try that every leader counts anew, for the longer of the two.
    while order.superseded.len() >= SUPERSEDED_MAX {
        if let Some(last) = order.superseded.pop() {
            kept.deadline = kept.deadline.max(last.deadline);
        }
    }
    order.superseded.push(kept);
}

/// A leader has waited one out.
///
/// # Errors
/// When there is no such try, or the wait was shorter than its deadline.
pub(super) fn over(
    state: &mut ClusterState,
    (id, attempt): (OrderId, u32),
    waited: Duration,
) -> Result<Outcome, Refusal> {
    let order = state.orders.get_mut(&id);
    let found = order.as_ref().and_then(|order| {
        let mut tries = order.superseded.iter();
        tries.find(|kept| kept.attempt == attempt).copied()
    });
    let (Some(order), Some(kept)) = (order, found) else {
        return Err(Refusal::stale(
            "NoSuchTry",
            format!("order {id} has no superseded attempt {attempt}"),
        ));
    };
    if waited < lengthened(kept.deadline) {
        return Err(Refusal::dangerous(
            "WaitTooShort",
            format!("attempt {attempt} of order {id} may still act"),
        ));
    }
    order.superseded.retain(|kept| kept.attempt != attempt);
    Ok(Outcome::Done)
}

/// The order by which this node may be switched off at any moment, if there is one.
pub(in crate::apply) fn off_may_come(state: &ClusterState, node: NodeId) -> Option<&FenceOrder> {
    state.orders.values().find(|order| {
        let running = matches!(order.phase, OrderPhase::Running { .. });
        order.node == node
            && order.action == FenceAction::Off
            && (running || !order.superseded.is_empty())
    })
}
