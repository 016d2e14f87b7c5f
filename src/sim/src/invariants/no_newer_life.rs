//! Nobody tells a device to switch off a machine of which a newer life than the ordered one has been admitted: a try
//! that may still call is waited for, also one that another has taken the place of, whichever leader asks (R5, R15).
//!
//! Judged where the question leaves, by what is committed in truth, which its sender may not know; `order_stands`
//! judges by what it knows. Exempt: a sender whose clocks have stood still, since it counts its deadline by them.
//! Seen to fail with: ForgetSuperseded.

use super::Violation;
use crate::bmc::Ask;
use crate::clock::{SECOND, TrueTime};
use crate::coordinator::fence::ATTEMPTS_PER_ORDER;
use crate::machine::Machine;
use crate::wire::Question;
use haft_engine::state::ClusterState;

/// Name in reports.
pub(crate) const NAME: &str = "no-newer-life";

/// Longer than any try.
const TRY_MAX: TrueTime = 600 * SECOND;

/// Looks at a question that leaves `sender`; `known` is its own state, `truth` what has been committed.
pub(crate) fn check<E>(
    now: TrueTime,
    truth: &ClusterState,
    known: &ClusterState,
    sender: &Machine<E>,
    question: &Question,
) -> Option<Violation> {
    match question.ask {
        Ask::Off | Ask::Pill => {}
        Ask::On | Ask::Status | Ask::Slot => return None,
    }
    let id = question.task / ATTEMPTS_PER_ORDER;
    let order = known.orders.values().find(|order| order.id.0 == id)?;
    let newest = truth.nodes.get(&question.target)?.newest();
    if newest <= order.incarnation || sender.stood_still_within(now, TRY_MAX) {
        return None;
    }
    Some(Violation {
        invariant: NAME,
        at: now,
        seen: format!(
            "{} tells {:?} to switch node {} off by order {id} against life {}, and {newest} has been admitted",
            sender.name, question.tool, question.target, order.incarnation
        ),
    })
}
