//! The node's side of a session: sends beats, counts the majorities that acknowledged them, knows when
//! its lease ends. Counts from the send time, on the node's suspend-counting clock (R2).
//!
//! An answer counts only for the beat that it names, and only if its coordinator's effective membership
//! is the very one that this beat was sent under, by term *and* index: two leaders' uncommitted membership
//! entries may share an index. Its sets are the entry's, so an answer that is too small for them counts
//! as well. Which membership to name next is a question of liveness
//! only, and follows what the coordinators say of themselves.
//!
//! Each beat names the ttl that it is counted by (R2a). A longer timing is first tried with every second beat, since
//! a coordinator whose state lags refuses it; a shorter one is named at once, and the present end is capped when
//! the keeper has nothing left that outlasts it ([`Holder::cap`]).
//!
//! Does not send, and does not act on the end of the lease: the keeper does.

use crate::clock::{Moment, Timing};
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
    /// A longer timing that no majority has acknowledged a beat under yet.
    raising: Option<Timing>,
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
    end: Option<End>,
    life: Life,
}

/// Where the lease ends, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct End {
    at: Moment,
    /// The ttl by which the beat that it counts from is counted.
    ttl: Duration,
    /// When the newest beat that a majority has acknowledged was sent, and by which ttl it is counted.
    newest: (Moment, Duration),
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
    /// The ttl that it names.
    ttl: Duration,
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
            raising: None,
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
        let ttl = match self.raising {
            Some(longer) if self.sequence.is_multiple_of(2) => longer.ttl,
            Some(_) | None => self.timing.ttl,
        };
        self.forget_useless(now);
        self.outstanding.push_back(Outstanding {
            beat: SentBeat {
                sequence: self.sequence,
                sent: now,
            },
            ttl,
            membership: self.membership.clone(),
            acknowledged: BTreeSet::new(),
        });
        Some(Beat {
            node: self.node,
            incarnation: self.incarnation,
            sequence: self.sequence,
            membership: self.membership.at,
            ttl,
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
            | AnswerKind::OtherTtl
            | AnswerKind::NotReady => {
                self.note_membership(now, answer);
                Learned::Nothing
            }
        }
    }

    /// The moment at which the lease ends, `sent + ttl·(1−ρ)`; `None` before the first majority.
    /// Goes back by [`Holder::cap`] alone.
    pub fn end(&self) -> Option<Moment> {
        self.end.map(|end| end.at)
    }

    /// The timing that beats go by, and that the keeper may go by.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The cluster's timing is another one. A shorter ttl is named from the next beat on; a longer one is tried,
    /// and gone by once a majority has acknowledged a beat that names it.
    pub fn retime(&mut self, timing: Timing) {
        if timing.ttl > self.timing.ttl {
            self.raising = Some(timing);
            return;
        }
        self.raising = None;
        let before = std::mem::replace(&mut self.timing, timing);
        self.due = self.due.min(self.due.before(before.beat) + timing.beat);
    }

    /// Whether nothing is counted by a longer ttl than that of [`Holder::timing`], nor is a longer one tried.
    pub fn is_settled(&self, now: Moment) -> bool {
        self.raising.is_none() && self.counts_by(now) <= self.timing.ttl
    }

    /// The longest ttl by which a beat that has not run out is counted (H of rule R2a); zero without a lease.
    pub fn counts_by(&self, now: Moment) -> Duration {
        match self.end {
            Some(end) if now < end.at => end.ttl,
            Some(_) | None => Duration::ZERO,
        }
    }

    /// Caps the end at what the timing in force gives, if nothing that the keeper has written acts beyond that
    /// (`reach` is the last moment at which anything may). Returns the new end.
    pub fn cap(&mut self, reach: Moment) -> Option<Moment> {
        let end = self.end.as_mut().filter(|end| end.ttl > self.timing.ttl)?;
        let (sent, ttl) = end.newest;
        let capped = sent + self.timing.shortened(ttl.min(self.timing.ttl));
        if capped < reach {
            return None;
        }
        end.at = end.at.min(capped);
        end.ttl = self.timing.ttl;
        Some(end.at)
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

    /// The longest ttl that a beat may name or be counted by.
    fn longest(&self) -> Duration {
        let raising = self.raising.map_or(Duration::ZERO, |longer| longer.ttl);
        self.timing.ttl.max(raising)
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
        let (named, said) = (&waiting.membership, &answer.membership);
        let contradicts = !said.sets.is_empty() && said.sets != named.sets;
        if named.at != said.at || contradicts {
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
        let (named, sent) = (waiting.ttl, waiting.beat.sent);
        self.outstanding.drain(..=at);
        if let Some(longer) = self.raising.filter(|longer| named >= longer.ttl) {
            self.timing = longer;
            self.raising = None;
        }
        // A beat that named a longer ttl than by now may be counted by.
        let ttl = named.min(self.longest());
        let end = counted_from + self.timing.shortened(ttl);
        let newest = self
            .end
            .map_or((sent, ttl), |known| known.newest.max((sent, ttl)));
        if let Some(known) = &mut self.end
            && known.at >= end
        {
            known.newest = newest;
            return Learned::Nothing;
        }
        self.end = Some(End {
            at: end,
            ttl,
            newest,
        });
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
            .max_by_key(|sets| sets.at);
        let present_is_possible = self.membership.majority(&self.not_contradicting());
        let newest = self.reported.values().max_by_key(|sets| sets.at);
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
        let life: Duration = self.timing.shortened(self.longest());
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
