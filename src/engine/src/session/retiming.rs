//! How an agent follows the cluster's timing (R2a): raised, the log is ahead of it; lowered, it is ahead of the log.
//!
//! ```text
//! raised:  beats try the longer ttl -> a majority takes it -> guard, lifetimes, watchdog -> "I count by it"
//! lowered: guard, lifetimes, watchdog go by it, beats name it -> the present end is capped -> "I count by it"
//! ```
//! The word is said until the log holds it. Between holder and keeper, and as pure as they are; sends nothing.

use crate::clock::Moment;
use crate::ids::Generation;
use crate::keeper::{Input, Keeper};
use crate::plant::{self, Bug};
use crate::session::holder::Holder;
use crate::timing::ClusterTiming;

/// Where one life stands.
#[derive(Clone, Debug)]
pub struct Retiming {
    /// The newest version told.
    told: ClusterTiming,
    word: Word,
    /// When it was last said.
    said: Option<Moment>,
}

/// What the log has to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    /// It holds that this life counts by what was told.
    Known,
    /// Not yet so.
    Awaited,
    /// To be said until the log holds it.
    Owed,
}

impl Retiming {
    /// A life admitted under this version.
    pub fn new(admitted: ClusterTiming) -> Retiming {
        Retiming {
            told: admitted,
            word: Word::Known,
            said: None,
        }
    }

    /// What the newest assignment says: a version that the log does not hold for this life yet, or none.
    /// Versions only rise; an older one is a late word.
    pub fn on_told(&mut self, holder: &mut Holder, told: Option<ClusterTiming>) {
        match told {
            None if self.word == Word::Owed => self.word = Word::Known,
            Some(told) if told.generation > self.told.generation => {
                self.told = told;
                self.word = Word::Awaited;
                self.said = None;
                holder.retime(told.timing);
            }
            // An older word came late and was taken for the log's; the log does not hold it yet.
            Some(told) if told.generation == self.told.generation && self.word == Word::Known => {
                self.word = Word::Owed;
                self.said = None;
            }
            None | Some(_) => {}
        }
    }

    /// What the keeper is to be told next; called until it is nothing, and only while no operation of the keeper's
    /// is in flight, so that each was decided and carried out under one timing.
    pub fn follow(&mut self, now: Moment, holder: &mut Holder, keeper: &Keeper) -> Option<Input> {
        if self.word == Word::Known {
            return None;
        }
        if plant::is(Bug::SayRetimedEarly) && *holder.timing() == self.told.timing {
            self.word = Word::Owed;
        }
        if keeper.timing() != holder.timing() {
            return Some(Input::Retime(*holder.timing()));
        }
        if !keeper.is_retimed(now) {
            return None;
        }
        if let Some(end) = holder.cap(keeper.reach(now)) {
            return Some(Input::LeaseCapped(end));
        }
        if holder.is_settled(now) && *holder.timing() == self.told.timing {
            self.word = Word::Owed;
        }
        None
    }

    /// The version to say that this life counts by, if it is to be said now; again after a ttl.
    pub fn say(&mut self, now: Moment) -> Option<Generation> {
        let due = self
            .said
            .is_none_or(|said| now >= said + self.told.timing.ttl);
        if self.word != Word::Owed || !due {
            return None;
        }
        self.said = Some(now);
        Some(self.told.generation)
    }

    /// The stream is new: what was said may be lost.
    pub fn say_again(&mut self) {
        self.said = None;
    }
}

#[cfg(test)]
mod tests;
