//! The node's side of a session: sends beats, counts the majorities that acknowledged them, knows when
//! its lease ends. Counts from the send time, on the node's suspend-counting clock (R2).
//!
//! An answer counts only for the beat that it names, and only if its coordinator's effective membership
//! is the very one that this beat was sent under: index *and* sets, because two leaders' uncommitted
//! membership entries may share an index. Which membership to name next is a question of liveness
//! only, and follows what the coordinators say of themselves.
//!
//! Does not send, and does not act on the end of the lease: the keeper does.

use crate::clock::{Moment, Timing, shortened};
use crate::command::{Attestation, VoterSets};
use crate::ids::{Incarnation, NodeId};
use crate::plant;
use crate::session::{Answer, AnswerKind, Beat, SentBeat};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Most beats that wait for answers; a session that has more of them in flight within one ttl has a
/// beat interval that no preset comes near.
const OUTSTANDING_MAX: usize = 64;

/// Most coordinators whose membership is remembered: two disjoint sets of seven, with room to spare.
const REPORTED_MAX: usize = 32;

/// A node's own view of its session.
#[derive(Clone, Debug)]
pub struct Holder {
    node: NodeId,
    incarnation: Incarnation,
    timing: Timing,
    /// Named by the next beat.
    membership: VoterSets,
    /// What each coordinator last said of its own effective membership.
    reported: BTreeMap<NodeId, VoterSets>,
    outstanding: VecDeque<Outstanding>,
    sequence: u64,
    /// When the next regular beat is due.
    due: Moment,
    /// One beat out of turn, allowed once per regular beat, when another membership is adopted.
    extra: Extra,
    end: Option<Moment>,
    life: Life,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extra {
    Available,
    Due(Moment),
    Spent,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    On,
    Over,
}

/// A beat that waits for its majority.
#[derive(Clone, Debug)]
struct Outstanding {
    beat: SentBeat,
    membership: VoterSets,
    acknowledged: BTreeSet<NodeId>,
}

/// What the node learned from an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// Nothing new.
    Nothing,
    /// The lease now ends at this moment.
    Extended(Moment),
    /// This incarnation is over: release everything and join anew. One coordinator's word is enough,
    /// because `Ended` is read from applied, hence committed, entries; a majority adds nothing to it.
    Over,
}

impl Holder {
    /// A session admitted as `incarnation` under `membership`.
    pub fn new(
        node: NodeId,
        incarnation: Incarnation,
        membership: VoterSets,
        timing: Timing,
    ) -> Holder {
        Holder {
            node,
            incarnation,
            timing,
            membership,
            reported: BTreeMap::new(),
            outstanding: VecDeque::new(),
            sequence: 0,
            due: Moment(0),
            extra: Extra::Available,
            end: None,
            life: Life::On,
        }
    }

    /// The next beat, if one is due at `now`. The driver sends it to `recipients()` at once: `now` is
    /// the send time from which the lease counts, so it must have been read before the first send.
    pub fn on_tick(&mut self, now: Moment, guards: Attestation) -> Option<Beat> {
        if self.life == Life::Over || now < self.next_wake() {
            return None;
        }
        if now >= self.due {
            let next = self.due + self.timing.beat;
            // Late by a beat or more: no burst to catch up.
            self.due = if next <= now {
                now + self.timing.beat
            } else {
                next
            };
            self.extra = Extra::Available;
        } else {
            self.extra = Extra::Spent;
        }
        self.sequence += 1;
        self.forget_useless(now);
        self.outstanding.push_back(Outstanding {
            beat: SentBeat {
                sequence: self.sequence,
                sent: now,
            },
            membership: self.membership.clone(),
            acknowledged: BTreeSet::new(),
        });
        Some(Beat {
            node: self.node,
            incarnation: self.incarnation,
            sequence: self.sequence,
            membership: self.membership.index,
            guards,
        })
    }

    /// An authentic answer.
    pub fn on_answer(&mut self, now: Moment, answer: &Answer) -> Learned {
        if answer.incarnation != self.incarnation || self.life == Life::Over {
            return Learned::Nothing;
        }
        match answer.kind {
            AnswerKind::Ended => {
                self.life = Life::Over;
                self.outstanding.clear();
                Learned::Over
            }
            AnswerKind::Acknowledged => {
                self.note_membership(now, answer);
                self.count(now, answer)
            }
            AnswerKind::Sealed
            | AnswerKind::NotAdmitted
            | AnswerKind::OtherMembership
            | AnswerKind::NotReady => {
                self.note_membership(now, answer);
                Learned::Nothing
            }
        }
    }

    /// The moment at which the lease ends, `sent + ttl·(1−ρ)`; `None` before the first majority.
    /// Never goes back.
    pub fn end(&self) -> Option<Moment> {
        self.end
    }

    /// When `on_tick` wants to be called next.
    pub fn next_wake(&self) -> Moment {
        match (self.life, self.extra) {
            (Life::Over, _) => Moment(u64::MAX),
            (Life::On, Extra::Due(moment)) => self.due.min(moment),
            (Life::On, Extra::Available | Extra::Spent) => self.due,
        }
    }

    /// Coordinators to beat to: every voter of every set known.
    pub fn recipients(&self) -> Vec<NodeId> {
        let mut all = self.membership.all();
        for sets in self.reported.values() {
            all.extend(sets.all());
        }
        all.into_iter().take(REPORTED_MAX).collect()
    }

    /// The membership that the next beat names.
    pub fn membership(&self) -> &VoterSets {
        &self.membership
    }

    fn count(&mut self, now: Moment, answer: &Answer) -> Learned {
        let Some(at) = self
            .outstanding
            .iter()
            .position(|waiting| waiting.beat.sequence == answer.sequence)
        else {
            return Learned::Nothing;
        };
        let waiting = &mut self.outstanding[at];
        if waiting.membership != answer.membership {
            return Learned::Nothing;
        }
        waiting.acknowledged.insert(answer.from);
        if !waiting.membership.majority(&waiting.acknowledged) {
            return Learned::Nothing;
        }
        let counted_from = if plant::is(plant::Bug::CountLeaseFromReceipt) {
            now
        } else {
            waiting.beat.sent
        };
        self.outstanding.drain(..=at);
        let end = counted_from + shortened(self.timing.ttl);
        if self.end.is_some_and(|known| known >= end) {
            return Learned::Nothing;
        }
        self.end = Some(end);
        Learned::Extended(end)
    }

    /// Remembers the membership a coordinator works under, and adopts the one that most probably
    /// gathers a majority: the newest that a majority of its own voters reports, else the newest
    /// reported once the present one can no longer gather any.
    fn note_membership(&mut self, now: Moment, answer: &Answer) {
        let sets = &answer.membership;
        if sets.sets.is_empty() {
            return;
        }
        if !self.reported.contains_key(&answer.from) && self.reported.len() >= REPORTED_MAX {
            return;
        }
        if self.reported.get(&answer.from) == Some(sets) {
            return;
        }
        self.reported.insert(answer.from, sets.clone());
        let Some(choice) = self.choose() else {
            return;
        };
        self.membership = choice;
        let members = self.recipients();
        self.reported.retain(|from, _| members.contains(from));
        if self.extra == Extra::Available {
            self.extra = Extra::Due(now);
        }
    }

    fn choose(&self) -> Option<VoterSets> {
        let agreed = self
            .reported
            .values()
            .filter(|sets| sets.majority(&self.reporting(sets)))
            .max_by_key(|sets| sets.index);
        let present_is_possible = self.membership.majority(&self.not_contradicting());
        let newest = self.reported.values().max_by_key(|sets| sets.index);
        let choice = match (agreed, present_is_possible) {
            (Some(agreed), _) => agreed,
            (None, true) => return None,
            (None, false) => newest?,
        };
        (*choice != self.membership).then(|| choice.clone())
    }

    fn reporting(&self, sets: &VoterSets) -> BTreeSet<NodeId> {
        self.reported
            .iter()
            .filter(|(_, reported)| *reported == sets)
            .map(|(from, _)| *from)
            .collect()
    }

    /// Voters of the present membership that have not said that they work under another.
    fn not_contradicting(&self) -> BTreeSet<NodeId> {
        self.membership
            .all()
            .into_iter()
            .filter(|voter| {
                self.reported
                    .get(voter)
                    .is_none_or(|sets| *sets == self.membership)
            })
            .collect()
    }

    /// Beats whose lease would be over even if the majority came now, and the oldest beyond the bound.
    fn forget_useless(&mut self, now: Moment) {
        let life: Duration = shortened(self.timing.ttl);
        while self
            .outstanding
            .front()
            .is_some_and(|oldest| oldest.beat.sent + life <= now)
            || self.outstanding.len() >= OUTSTANDING_MAX
        {
            self.outstanding.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
