//! One disk as the watcher sees it: what was asked of it, what it said, how long that holds.
//!
//! It asks one thing at a time: while an answer is owed nothing else is asked, so that a hung disk
//! collects no questions. What a message means is decided by the watcher, not here.

use std::time::Duration;

use super::{Ask, BootTime, Command, Ending};
use crate::disk::{Header, Mailbox, Message, SlotNumber, Word};
use crate::majority::DiskIndex;
use crate::volume::{Clearing, Sighting};

/// A disk's share of the machine.
#[derive(Debug)]
pub(super) struct DiskWatch {
    disk: DiskIndex,
    phase: Phase,
    /// When the question that is out was asked.
    asked: Option<(Ask, BootTime)>,
    /// When the next one may be asked.
    due: BootTime,
    /// When the newest successful read began.
    fresh: Option<BootTime>,
    trouble: Option<String>,
    /// Number for the next question.
    next: u64,
    /// Whether the first question was answered, in whatever way.
    met: bool,
}

/// Where a disk stands.
#[derive(Clone, Debug)]
enum Phase {
    /// The own slot is not known yet.
    Attaching,
    /// What lay in the mailbox at the start must go before the watch begins.
    Zeroing(Place, Mailbox),
    /// Read in turn; a message that is to be cleared waits here.
    Watching(Place, Option<Mailbox>),
    /// Of no more use.
    Ended,
}

/// The own slot on a disk.
#[derive(Clone, Copy, Debug)]
struct Place {
    header: Header,
    slot: SlotNumber,
}

impl DiskWatch {
    pub(super) const fn new(disk: DiskIndex) -> Self {
        Self {
            disk,
            phase: Phase::Attaching,
            asked: None,
            due: BootTime(Duration::ZERO),
            fresh: None,
            trouble: None,
            next: 0,
            met: false,
        }
    }

    /// Whether the disk was asked and has answered, or failed to.
    pub(super) const fn was_met(&self) -> bool {
        self.met
    }

    /// Whether this question is the one that is out.
    pub(super) fn owes(&self, ask: Ask) -> bool {
        self.asked.is_some_and(|(out, _)| out == ask)
    }

    /// When to ask next; `None` while an answer is owed, and at the end.
    pub(super) fn due_at(&self) -> Option<BootTime> {
        match (&self.phase, self.asked) {
            (Phase::Ended, _) | (_, Some(_)) => None,
            (Phase::Attaching | Phase::Zeroing(..) | Phase::Watching(..), None) => Some(self.due),
        }
    }

    /// When the newest read began that found the slot in order.
    pub(super) const fn last_fresh(&self) -> Option<BootTime> {
        self.fresh
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    /// The header as first seen.
    pub(super) const fn header(&self) -> Option<Header> {
        match &self.phase {
            Phase::Attaching | Phase::Ended => None,
            Phase::Zeroing(place, _) | Phase::Watching(place, _) => Some(place.header),
        }
    }

    /// The next question, if it is time for one.
    pub(super) fn ask(&mut self, now: BootTime, pause: Duration) -> Option<Command> {
        if self.due_at().is_none_or(|due| due > now) {
            return None;
        }
        let (disk, ask) = (self.disk, Ask(self.next));
        self.next += 1;
        let command = match &mut self.phase {
            Phase::Attaching => Command::Attach { disk, ask },
            Phase::Zeroing(place, seen) => Command::Clear {
                disk,
                ask,
                slot: place.slot,
                seen: seen.clone(),
            },
            Phase::Watching(place, to_clear) => match to_clear.take() {
                Some(seen) => Command::Clear {
                    disk,
                    ask,
                    slot: place.slot,
                    seen,
                },
                None => Command::Read {
                    disk,
                    ask,
                    slot: place.slot,
                },
            },
            Phase::Ended => return None,
        };
        self.asked = Some((ask, now));
        self.due = now.after(pause);
        Some(command)
    }

    /// The question failed: it is asked again in its turn. The disk vouches for nothing new.
    pub(super) fn failed(&mut self, why: String) {
        self.asked = None;
        self.met = true;
        self.trouble = Some(why);
    }

    pub(super) fn end(&mut self, why: &Ending) {
        self.asked = None;
        self.met = true;
        self.fresh = None;
        self.trouble = Some(format!("{why:?}"));
        self.phase = Phase::Ended;
    }

    /// The own slot was found. It vouches from the moment its mailbox is known to be empty.
    pub(super) fn attached(&mut self, seen: &Sighting) {
        let place = Place {
            header: seen.header,
            slot: seen.number,
        };
        self.trouble = None;
        self.met = true;
        if seen.mailbox == Mailbox::EMPTY {
            self.fresh = self.asked.map(|(_, when)| when);
            self.phase = Phase::Watching(place, None);
        } else {
            self.phase = Phase::Zeroing(place, seen.mailbox.clone());
            // At once: nothing vouches for the node before.
            self.due = BootTime(Duration::ZERO);
        }
        self.asked = None;
    }

    /// A read found everything in its place.
    pub(super) fn sighted(&mut self, seen: &Sighting) {
        let Phase::Watching(_, to_clear) = &mut self.phase else {
            return;
        };
        *to_clear = match seen.mailbox.word {
            Word::Known(Message::Test) | Word::Unknown(_) => Some(seen.mailbox.clone()),
            Word::Known(Message::Clear | Message::Exit | Message::Pill(_)) => None,
        };
        if to_clear.is_some() {
            self.due = BootTime(Duration::ZERO);
        }
        self.fresh = self.asked.take().map(|(_, when)| when);
        self.trouble = None;
    }

    /// A clearing ended. Whatever came of it, the next read shows what lies there now.
    pub(super) fn on_cleared(&mut self, outcome: Result<Clearing, String>) {
        self.asked = None;
        match (&self.phase, outcome) {
            (Phase::Ended | Phase::Attaching, _) => {}
            (Phase::Zeroing(place, _), Ok(Clearing::Cleared | Clearing::Changed)) => {
                // Changed: a message for this life came just now. The first read obeys it.
                self.phase = Phase::Watching(*place, None);
                self.due = BootTime(Duration::ZERO);
            }
            (Phase::Watching(..), Ok(Clearing::Cleared | Clearing::Changed)) => {}
            (Phase::Zeroing(..) | Phase::Watching(..), Err(why)) => self.trouble = Some(why),
        }
    }
}
