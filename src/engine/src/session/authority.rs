//! Whom an agent obeys (R2c): assignments and admissions come from leaders, and leaders come and go.
//!
//! Each says where it stands: epoch, the leader's term, the entry up to which the leader has applied. The greatest
//! counts. A later term that has applied less is a log that went back: what this node was told stood in entries
//! that are no longer there. One coordinator that was restored by itself can say that, so nothing is taken up and
//! nothing dropped for it, until those who acknowledge the lease say the same, as a majority; or the lease ends.
//! Does not say what stopping is: the keeper does.

use crate::clock::Moment;
use crate::command::VoterSets;
use crate::ids::{EntryId, Epoch, LogIndex, NodeId, Term};
use crate::plant::{self, Bug};
use crate::session::Answer;
use std::collections::BTreeSet;

/// Where a leader stood when it handed something out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// The cluster's epoch.
    pub epoch: Epoch,
    /// The leader's term. It has applied the first entry of it.
    pub term: Term,
    /// The last entry that it has applied.
    pub index: LogIndex,
}

impl Origin {
    /// Where a leader stands that may hand something out: it has applied the first entry of its own term, so that
    /// everything which was committed before is in its state. `None`: it may not.
    pub fn of_leader(epoch: Epoch, leads: Term, applied: EntryId) -> Option<Origin> {
        let may = applied.term == leads || plant::is(Bug::HandOutBehind);
        may.then_some(Origin {
            epoch,
            term: leads,
            index: applied.index,
        })
    }
}

/// What to do with what came from an origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heed {
    /// The newest so far: obey.
    Obey,
    /// Something newer was obeyed before: drop it.
    Older,
    /// The log went back behind what was obeyed: take up nothing, drop nothing, say so.
    WentBack,
    /// Of an earlier epoch: drop it and report it.
    EarlierEpoch,
    /// Of a later epoch: this life belongs to the present one and ends with its lease. Drop it and say so.
    LaterEpoch,
}

/// What the voters that acknowledge the lease say of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Agreement {
    /// Nothing that ends this life.
    Holds,
    /// A majority of them says that the log went back: stop.
    WentBack,
}

/// What one life of an agent has obeyed.
#[derive(Clone, Debug, Default)]
pub struct Authority {
    /// The greatest obeyed; `None` before the first.
    newest: Option<Origin>,
    /// Whether a leader has said that the log went back, and no greater one has contradicted it.
    doubt: Doubt,
    /// Voters whose last acknowledgement came with a log that went back, too.
    behind: BTreeSet<NodeId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Doubt {
    #[default]
    None,
    WentBack,
}

impl Authority {
    /// A leader that stands at `origin` says that this life is over, at `now`; its lease ends at `lease_end`, if it has
    /// one. A lease that has ended protects nothing, and a life that nobody acknowledges must not stand for ever: it
    /// ends by whoever leads.
    pub fn hear_end(&mut self, origin: Origin, now: Moment, lease_end: Option<Moment>) -> Heed {
        match lease_end {
            Some(end) if now < end => self.hear(origin),
            Some(_) | None => Heed::Obey,
        }
    }

    /// Something came from `origin`.
    pub fn hear(&mut self, origin: Origin) -> Heed {
        let heed = match self.newest {
            None => Heed::Obey,
            Some(newest) if origin.epoch < newest.epoch => Heed::EarlierEpoch,
            Some(newest) if origin.epoch > newest.epoch => Heed::LaterEpoch,
            Some(_) if plant::is(Bug::ObeyTheLatest) => Heed::Obey,
            Some(newest) if origin.term < newest.term => Heed::Older,
            Some(newest) if origin.index >= newest.index => Heed::Obey,
            Some(newest) if origin.term == newest.term => Heed::Older,
            Some(_) => Heed::WentBack,
        };
        match heed {
            Heed::Obey => {
                self.newest = Some(origin);
                self.doubt = Doubt::None;
                self.behind.clear();
            }
            Heed::WentBack => self.doubt = Doubt::WentBack,
            Heed::Older | Heed::EarlierEpoch | Heed::LaterEpoch => {}
        }
        heed
    }

    /// Whether this answer speaks for another epoch, or for an earlier one: it counts for nothing.
    pub fn is_foreign(&self, answer: &Answer) -> bool {
        self.newest
            .is_some_and(|newest| answer.epoch != newest.epoch)
    }

    /// A voter has acknowledged a beat, and says where its log ends; `membership` is what the node counts under.
    pub fn on_acknowledged(&mut self, answer: &Answer, membership: &VoterSets) -> Agreement {
        let Some(newest) = self.newest else {
            return Agreement::Holds;
        };
        if answer.log.term > newest.term && answer.log.index < newest.index {
            self.behind.insert(answer.from);
        } else {
            self.behind.remove(&answer.from);
        }
        self.behind.retain(|voter| membership.contains(*voter));
        match self.doubt {
            Doubt::WentBack if membership.majority(&self.behind) => Agreement::WentBack,
            Doubt::WentBack | Doubt::None => Agreement::Holds,
        }
    }

    /// The greatest origin obeyed.
    pub fn newest(&self) -> Option<Origin> {
        self.newest
    }

    /// Where a voter's log would have to end for it to say the same; for texts.
    pub fn told(&self) -> EntryId {
        let newest = self.newest.unwrap_or_default();
        EntryId {
            term: newest.term,
            index: newest.index,
        }
    }
}

#[cfg(test)]
mod tests;
