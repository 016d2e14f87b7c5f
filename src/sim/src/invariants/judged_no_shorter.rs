//! J >= H, per incarnation and at every moment (R2a): no agent counts a beat that has not run out by a longer ttl
//! than the log would judge it by, while the timing is raised and lowered under it.
//!
//! It fails long before a session that lives is ended, and that long before two owners meet.
//! Seen to fail with: BelieveLoweringAtOnce, SayRetimedEarly, AcknowledgeAnyTtl.

use super::Violation;
use crate::clock::TrueTime;
use crate::machine::Machine;
use haft_engine::state::ClusterState;

/// Name in reports.
pub(crate) const NAME: &str = "judged-no-shorter";

/// Looks at the agent of `machine`; `state` is what the newest entry has made of the log.
pub(crate) fn check<E>(
    now: TrueTime,
    state: &ClusterState,
    machine: &Machine<E>,
) -> Option<Violation> {
    let local = machine.clock.local(now);
    let (incarnation, counted) = machine.agent.running.as_ref()?.counts_by(local)?;
    if state.live_incarnation(machine.node) != Some(incarnation) {
        return None;
    }
    let judged = state.nodes.get(&machine.node)?.judged().ttl;
    (counted > judged).then(|| Violation {
        invariant: NAME,
        at: now,
        seen: format!(
            "incarnation {incarnation} of {} counts by a ttl of {counted:?} and is judged by {judged:?}",
            machine.name
        ),
    })
}
