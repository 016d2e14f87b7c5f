//! A coordinator's log on its simulated disk: which records are written and which are durable.
//!
//! Does not know terms' meaning, votes or peers. A crash forgets what was not durable.

use haft_engine::command::{Entry, VoterSets};
use std::collections::VecDeque;
use std::rc::Rc;

/// What one record carries.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// A new leader's first record.
    Blank,
    /// Commands of ours.
    Entry(Rc<Entry>),
    /// Voters, effective as soon as written.
    Membership(VoterSets),
}

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Term of the leader that wrote it.
    pub(crate) term: u64,
    /// What it carries.
    pub(crate) payload: Payload,
}

/// Records `first..=last`, of which those up to `durable` survive a crash.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    first: u64,
    before_term: u64,
    records: VecDeque<Record>,
    durable: u64,
}

impl Log {
    /// An empty log that continues after a snapshot at `index` of `term`.
    pub(crate) fn after(index: u64, term: u64) -> Log {
        Log {
            first: index + 1,
            before_term: term,
            records: VecDeque::new(),
            durable: index,
        }
    }

    /// Index of the oldest record kept (or of the next one, if none is).
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Index of the newest record; that of the snapshot if there is none.
    pub(crate) fn last(&self) -> u64 {
        self.first + self.records.len() as u64 - 1
    }

    /// Term of the newest record.
    pub(crate) fn last_term(&self) -> u64 {
        self.records.back().map_or(self.before_term, |r| r.term)
    }

    /// Newest index that survives a crash.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Term at `index`, if it is kept or directly before the log.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        if index + 1 == self.first {
            return Some(self.before_term);
        }
        self.get(index).map(|record| record.term)
    }

    /// The record at `index`, if kept.
    pub(crate) fn get(&self, index: u64) -> Option<&Record> {
        let offset = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.records.get(offset)
    }

    /// Records from `from`, at most `limit`.
    pub(crate) fn slice(&self, from: u64, limit: u64) -> Vec<Record> {
        let until = (from + limit).min(self.last() + 1);
        (from..until).filter_map(|i| self.get(i).cloned()).collect()
    }

    /// Writes one record; it is not durable yet.
    pub(crate) fn append(&mut self, record: Record) -> u64 {
        self.records.push_back(record);
        self.last()
    }

    /// Drops records from `from` on, durably.
    pub(crate) fn truncate(&mut self, from: u64) {
        let keep = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.records.truncate(keep);
        self.durable = self.durable.min(self.last());
    }

    /// Forgets records up to `index`, which a durable snapshot covers.
    pub(crate) fn purge(&mut self, index: u64) {
        while self.first <= index {
            let Some(gone) = self.records.pop_front() else {
                return;
            };
            self.before_term = gone.term;
            self.first += 1;
        }
        self.durable = self.durable.max(index);
    }

    /// Records up to `index` are on the platter.
    pub(crate) fn flushed(&mut self, index: u64) {
        self.durable = self.durable.max(index.min(self.last()));
    }

    /// What a crash leaves: everything up to `survived`, which the disk says was durable (or luck kept).
    pub(crate) fn crash(&mut self, survived: u64) {
        self.truncate(survived.max(self.durable) + 1);
        self.durable = self.last();
    }

    /// The newest membership written, if it is still in the log.
    pub(crate) fn newest_membership(&self) -> Option<&VoterSets> {
        self.records.iter().rev().find_map(|r| match &r.payload {
            Payload::Membership(sets) => Some(sets),
            Payload::Blank | Payload::Entry(_) => None,
        })
    }
}
