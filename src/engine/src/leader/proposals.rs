//! What the leader has proposed and not yet seen applied, by number; and how large one entry may be.
//!
//! The driver answers every proposal by its number ([`Fate`]); what others propose concerns nobody here. An answer
//! may come before or after the entry shows in the state, or never: a proposal of which nothing is heard for an
//! election time is given up and planned anew, which does no harm, since `apply` refuses what has been done.
//! Encodes nothing: the driver lends the measure of its own encoding.

use crate::clock::Moment;
use crate::command::{Command, Entry};
use crate::ids::LogIndex;
use std::collections::BTreeMap;
use std::time::Duration;

/// Names one proposal. A machine counts from the moment at which it began, so that an answer to what an earlier machine
/// of this process proposed is not taken for one to its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProposalNumber(pub u64);

/// An entry to be proposed under the term in which the machine leads, in the order of the numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// What its answer names.
    pub number: ProposalNumber,
    /// What is proposed.
    pub entry: Entry,
}

/// What has become of a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is committed at this index.
    Committed(LogIndex),
    /// The log takes no entry of that size: it will never commit.
    TooLarge,
    /// Not known; it may or may not commit later.
    Unknown,
}

/// How much goes into one entry.
#[derive(Clone, Copy, Debug)]
pub struct EntryLimit {
    /// Bytes that the commands of one entry may have together.
    pub bytes: usize,
    /// Bytes that one command takes in an entry, as the driver encodes it.
    pub measure: fn(&Command) -> usize,
}

/// Below this no log can be taken seriously that calls an entry too large: a closing, a release and a verdict
/// with the longest text fit.
const BYTES_MIN: usize = 4 << 10;

/// Commands in one entry of a machine whose driver lends no measure (tests).
const UNMEASURED_MAX: usize = 1_000;

impl Default for EntryLimit {
    fn default() -> EntryLimit {
        EntryLimit {
            bytes: UNMEASURED_MAX,
            measure: |_| 1,
        }
    }
}

impl EntryLimit {
    /// Of all commands of an entry.
    pub(super) fn size_of(&self, entry: &Entry) -> usize {
        entry.commands.iter().map(self.measure).sum()
    }

    /// An entry of this size was refused as too large; whether the limit could be lowered, so that no entry like it is
    /// planned again. A single command that is too large by itself is then not proposed at all.
    fn lower(&mut self, refused: &Entry) -> Lowered {
        let size = self.size_of(refused);
        let lower = match refused.commands.len() {
            0 | 1 => size.saturating_sub(1),
            _ => size / 2,
        };
        if lower < BYTES_MIN.min(self.bytes) {
            return Lowered::No;
        }
        self.bytes = lower.min(self.bytes);
        Lowered::Yes
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lowered {
    Yes,
    No,
}

/// Whether the machine goes on proposing at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// It does.
    GoOn,
    /// Nothing is known of a proposal: a coordinator that leads no more would propose in a tight loop.
    Pause,
}

/// Most proposals in flight; beyond that the machine waits for one to apply.
const IN_FLIGHT_MAX: usize = 32;

/// A proposal that this machine has not yet seen applied.
#[derive(Clone, Debug)]
struct Flight {
    entry: Entry,
    proposed: Moment,
    /// Where it is committed, once that is known.
    at: Option<LogIndex>,
}

/// The proposals in flight.
#[derive(Clone, Debug)]
pub(super) struct Flights {
    last: ProposalNumber,
    open: BTreeMap<ProposalNumber, Flight>,
    limit: EntryLimit,
}

impl Flights {
    /// Of a machine that begins now.
    pub(super) fn new(now: Moment) -> Flights {
        Flights {
            last: ProposalNumber(now.0),
            open: BTreeMap::new(),
            limit: EntryLimit::default(),
        }
    }

    pub(super) fn set_limit(&mut self, limit: EntryLimit) {
        self.limit = limit;
    }

    pub(super) fn limit(&self) -> EntryLimit {
        self.limit
    }

    /// In the order in which they were proposed.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.open.values().map(|flight| &flight.entry)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many entries may be proposed now.
    pub(super) fn room(&self) -> usize {
        IN_FLIGHT_MAX.saturating_sub(self.open.len())
    }

    /// Numbers an entry that is now proposed.
    pub(super) fn launch(&mut self, now: Moment, entry: Entry) -> Proposal {
        self.last = ProposalNumber(self.last.0 + 1);
        let flight = Flight {
            entry: entry.clone(),
            proposed: now,
            at: None,
        };
        self.open.insert(self.last, flight);
        Proposal {
            number: self.last,
            entry,
        }
    }

    /// The driver's answer to one proposal.
    pub(super) fn on_fate(&mut self, number: ProposalNumber, fate: Fate) -> Next {
        match fate {
            Fate::Committed(at) => {
                if let Some(flight) = self.open.get_mut(&number) {
                    flight.at = Some(at);
                }
                Next::GoOn
            }
            // It may commit yet; a second proposal of the same is then refused and does no harm.
            Fate::Unknown => {
                self.open.remove(&number);
                Next::Pause
            }
            Fate::TooLarge => match self.open.remove(&number) {
                Some(flight) if self.limit.lower(&flight.entry) == Lowered::Yes => Next::GoOn,
                Some(_) | None => Next::Pause,
            },
        }
    }

    /// Forgets what the state shows, and what has not been heard of for `patience`.
    pub(super) fn forget(&mut self, now: Moment, applied: LogIndex, patience: Duration) {
        self.open.retain(|_, flight| {
            let shown = flight.at.is_some_and(|at| at <= applied);
            !shown && now.since(flight.proposed) < patience
        });
    }
}
