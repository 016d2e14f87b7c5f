//! The soonest of many ends, known without looking at them all: a renewal of one address among ten thousand costs what
//! it costs alone.
//!
//! Counts only what it is told.

use haft_engine::clock::Moment;
use std::collections::BTreeMap;

/// How many addresses have each end.
#[derive(Debug, Default)]
pub(super) struct Soonest(BTreeMap<Moment, u32>);

impl Soonest {
    /// One more address, with this end.
    pub(super) fn add(&mut self, end: Moment) {
        *self.0.entry(end).or_default() += 1;
    }

    /// One less, which had this end.
    pub(super) fn remove(&mut self, end: Moment) {
        if let Some(count) = self.0.get_mut(&end) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&end);
            }
        }
    }

    /// `None` without addresses.
    pub(super) fn end(&self) -> Option<Moment> {
        self.0.first_key_value().map(|(end, _)| *end)
    }
}
