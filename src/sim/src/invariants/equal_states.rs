//! Equal logs give equal states: every coordinator that has applied up to an index has the same state,
//! the same entry stood at each index, and each entry did the same everywhere.

use super::Violation;
use crate::clock::TrueTime;
use crate::net::Place;
use haft_engine::apply::Outcome;
use haft_engine::command::Entry;
use haft_engine::state::ClusterState;

/// Name in reports.
pub(crate) const NAME: &str = "equal-states";

/// What another coordinator applied at `index`, against what was applied first.
pub(crate) fn check_entry(
    now: TrueTime,
    index: u64,
    first: (&Entry, &[Outcome]),
    again: (&Entry, &[Outcome]),
) -> Option<Violation> {
    let what = if first.0 != again.0 {
        "another entry"
    } else if first.1 != again.1 {
        "other outcomes"
    } else {
        return None;
    };
    Some(Violation {
        invariant: NAME,
        at: now,
        seen: format!("two coordinators applied {what} at {index}"),
    })
}

/// The state of the coordinator at `place`, against the judge's own at the same index.
pub(crate) fn check_state(
    now: TrueTime,
    place: Place,
    own: &ClusterState,
    other: &ClusterState,
) -> Option<Violation> {
    (own.applied == other.applied && own != other).then(|| Violation {
        invariant: NAME,
        at: now,
        seen: format!("m{place} has another state at {}", own.applied),
    })
}
