//! What happened in a run, line by line, for whoever replays a seed.
//!
//! Off in sweeps: nothing is formatted then.

use crate::clock::{MS, TrueTime};
use crate::net::Place;
use std::collections::VecDeque;

/// Lines kept; the oldest go first.
const LINES_MAX: usize = 200_000;

/// How much is written down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Detail {
    /// Nothing.
    Off,
    /// Faults, commits, kernel writes.
    Story,
    /// Every message besides.
    Messages,
}

/// The lines.
#[derive(Debug)]
pub(crate) struct Trace {
    detail: Detail,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty trace of this detail.
    pub(crate) fn new(detail: Detail) -> Trace {
        Trace {
            detail,
            lines: VecDeque::new(),
        }
    }

    /// Whether anything is written down.
    pub(crate) fn on(&self) -> bool {
        self.detail >= Detail::Story
    }

    /// Whether messages are.
    pub(crate) fn wants_messages(&self) -> bool {
        self.detail >= Detail::Messages
    }

    /// One line about a machine.
    pub(crate) fn note(&mut self, now: TrueTime, place: Place, line: &str) {
        let micros = now / (MS / 1_000);
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!(
            "{:>6}.{:06} m{place} {line}",
            micros / 1_000_000,
            micros % 1_000_000
        ));
    }

    /// All of it.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
