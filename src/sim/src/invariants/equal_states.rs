//! Equal logs give equal states: every coordinator that has applied up to an index has the same state,
//! the same entry stood at each index, and each entry did the same everywhere.
//!
//! No planted bug breaks this one; the tests below show that each difference is seen.

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

#[cfg(test)]
mod tests {
    use super::{check_entry, check_state};
    use haft_engine::apply::Outcome;
    use haft_engine::command::Entry;
    use haft_engine::ids::{Epoch, LogIndex};
    use haft_engine::state::ClusterState;

    #[test]
    fn another_entry_or_outcome_at_an_index_is_seen() {
        let entry = Entry::default();
        let other = Entry {
            stamp_unix_ms: 1,
            ..Entry::default()
        };
        let done = [Outcome::Done];
        assert!(check_entry(0, 1, (&entry, &done), (&entry, &done)).is_none());
        assert!(check_entry(0, 1, (&entry, &done), (&other, &done)).is_some());
        assert!(check_entry(0, 1, (&entry, &done), (&entry, &[])).is_some());
    }

    #[test]
    fn states_are_compared_at_equal_indexes_only() {
        let at = |index, epoch| ClusterState {
            applied: LogIndex(index),
            epoch: Epoch(epoch),
            ..ClusterState::default()
        };
        assert!(check_state(0, 0, &at(5, 1), &at(5, 1)).is_none());
        assert!(check_state(0, 0, &at(5, 1), &at(6, 2)).is_none());
        assert!(check_state(0, 0, &at(5, 1), &at(5, 2)).is_some());
    }
}
