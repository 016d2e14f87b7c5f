//! How far the log is on the disk, as the store's callbacks say.
//!
//! openraft applies an entry that a majority holds also while this node's own copy waits for its sync, so "applied"
//! does not say "durable here". Only counts; the store and openraft decide what is written.

use haft_engine::plant::{self, Bug};
use haft_store::LogPosition;
use std::sync::{Arc, Mutex};

/// The mark of one log; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct DurableMark(Arc<Mutex<Mark>>);

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// Every entry up to this index that is in the log is on the disk.
    upto: Option<u64>,
    /// Truncations so far: a sync that was asked for before one says nothing of what was written after it.
    truncations: u64,
}

impl DurableMark {
    /// Of a log that was found on the disk and ends with `last`.
    pub(super) fn found(last: Option<LogPosition>) -> Self {
        Self(Arc::new(Mutex::new(Mark {
            upto: last.map(|last| last.index),
            truncations: 0,
        })))
    }

    /// Entries up to `last` are written; what is returned runs when they are durable.
    pub(super) fn on_append(&self, last: Option<u64>) -> impl FnOnce() + Send + use<> {
        let mark = self.clone();
        let truncations = self.lock().truncations;
        move || {
            let mut mark = mark.lock();
            if mark.truncations == truncations {
                mark.upto = mark.upto.max(last);
            }
        }
    }

    /// Entries above `kept` have left the log.
    pub(super) fn on_truncate(&self, kept: Option<u64>) {
        let mut mark = self.lock();
        mark.truncations += 1;
        mark.upto = mark.upto.min(kept);
    }

    /// Whether the entry at `index`, if the log has it, is on the disk.
    pub(super) fn covers(&self, index: u64) -> bool {
        self.lock().upto >= Some(index) || plant::is(Bug::StateAgeUnsynced)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Mark> {
        self.0.lock().expect(crate::POISON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_covered_once_its_sync_has_ended_and_not_by_one_from_before_a_truncation() {
        let mark = DurableMark::found(Some(LogPosition { term: 1, index: 4 }));
        assert!(mark.covers(4) && !mark.covers(5));
        let first = mark.on_append(Some(6));
        assert!(!mark.covers(5), "only written");
        mark.on_truncate(Some(3));
        assert!(mark.covers(3) && !mark.covers(4));
        let second = mark.on_append(Some(5));
        first();
        assert!(!mark.covers(5), "the sync was of another entry 5");
        second();
        assert!(mark.covers(5) && !mark.covers(6));
        mark.on_truncate(None);
        assert!(!mark.covers(0));
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn what_is_only_written_and_counts_is_noticed() {
        plant::set(Some(Bug::StateAgeUnsynced));
        let seen = std::panic::catch_unwind(
            an_entry_is_covered_once_its_sync_has_ended_and_not_by_one_from_before_a_truncation,
        );
        plant::set(None);
        assert!(seen.is_err());
    }
}
