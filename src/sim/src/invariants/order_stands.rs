//! No call without an order: whoever tells a device to switch a machine off has applied, at that moment, an order
//! that asks for exactly this try by itself, and no later life of that machine (R5).
//!
//! Judged where the question leaves, by the sender's own state: the newest entries may not have reached it, which no
//! check of its own could help. What an order that is over still does to a machine, apply cannot undo.
//! Seen to fail with: CallStaleOrder.

use super::Violation;
use crate::bmc::Ask;
use crate::clock::TrueTime;
use crate::coordinator::fence::ATTEMPTS_PER_ORDER;
use crate::wire::Question;
use haft_engine::ids::NodeId;
use haft_engine::state::{ClusterState, OrderPhase};

/// Name in reports.
pub(crate) const NAME: &str = "order-stands";

/// Looks at a question that leaves the coordinator `own`, which has applied `state`.
pub(crate) fn check(
    now: TrueTime,
    state: &ClusterState,
    own: NodeId,
    question: &Question,
) -> Option<Violation> {
    match question.ask {
        Ask::Off | Ask::Pill => {}
        Ask::On | Ask::Status | Ask::Slot => return None,
    }
    let (id, number) = (
        question.task / ATTEMPTS_PER_ORDER,
        question.task % ATTEMPTS_PER_ORDER,
    );
    let order = state.orders.values().find(|order| order.id.0 == id);
    let why = match order {
        None => "is not there".to_owned(),
        Some(order) => match &order.phase {
            OrderPhase::Running {
                attempt, executor, ..
            } if u64::from(*attempt) == number && *executor == own => {
                let life = state.live_incarnation(question.target);
                let newer = life.filter(|life| *life > order.incarnation)?;
                format!("is against another life than {newer}")
            }
            other => format!("is {other:?}"),
        },
    };
    Some(Violation {
        invariant: NAME,
        at: now,
        seen: format!(
            "node {own} tells {:?} to switch node {} off by try {number} of order {id}, which {why}",
            question.tool, question.target
        ),
    })
}
