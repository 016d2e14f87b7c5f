//! The coordinator's side of sessions: acknowledges beats, seals what is closing, states ages.
//!
//! Lives under the lock that the log store's append takes, so that no beat is acknowledged after a
//! `Closing` is appended. Does not decide that anybody is lost, and keeps nothing on disk: seals are
//! rebuilt from the retained log and the applied state, receipts are forgotten by a restart, which
//! is why an age never reaches back before the coordinator's own start.
//!
//! Memory is bounded: receipts exist only for the newest incarnation of each node that is applied here.

use crate::clock::{Moment, Timing};
use crate::command::{Attestation, Command, Entry, StatedAge, VoterSets};
use crate::ids::{EntryId, Epoch, Incarnation, LogIndex, NodeId};
use crate::plant;
use crate::session::{Answer, AnswerKind, Beat, Received};
use crate::state::{ClusterState, Session};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use ttls::{Age, Ttls};

mod ttls;

/// One coordinator's receipts and seals.
#[derive(Clone, Debug)]
pub struct Responder {
    own: NodeId,
    restart: Restart,
    /// Start of this process: no age reaches back further.
    started: Moment,
    /// Until then silent (R8a).
    ready: Moment,
    /// Since when beats have been listened for without a gap.
    listening: Moment,
    /// Latest appended, perhaps joint.
    membership: VoterSets,
    /// When `membership` took effect here.
    membership_since: Moment,
    /// The cluster's epoch, as applied.
    epoch: Epoch,
    /// The last entry of the log.
    last: EntryId,
    applied: LogIndex,
    /// Newest incarnation of each node in the applied state.
    lives: BTreeMap<NodeId, Life>,
    /// `Closing` entries appended and not yet applied: they seal, and they may yet be truncated.
    seals: BTreeSet<(EntryId, NodeId, Incarnation)>,
    /// `Closing` entries applied and unanswered. They are committed, so their index names one entry.
    closings: BTreeMap<NodeId, (Incarnation, LogIndex)>,
    receipts: BTreeMap<(NodeId, Incarnation), Receipts>,
    ttls: Ttls,
}

/// A node's newest incarnation, as applied here.
#[derive(Clone, Copy, Debug)]
struct Life {
    incarnation: Incarnation,
    standing: Standing,
    known_since: Moment,
    /// The longest that a beat of it may be counted by (R2a).
    ttl: Duration,
    /// Until then nothing of it is acknowledged and no age of it stated: an earlier life of this process may have
    /// done so (R8a).
    silent_until: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Live,
    Ended,
}

/// What has been received of one incarnation since this coordinator started.
#[derive(Clone, Copy, Debug)]
struct Receipts {
    heard: Moment,
    acknowledged: Option<Moment>,
    guards: Attestation,
    replay: ReplayWindow,
}

/// Which of the newest 64 sequences have been seen.
#[derive(Clone, Copy, Debug, Default)]
struct ReplayWindow {
    highest: u64,
    seen: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Novelty {
    New,
    Repeated,
}

impl ReplayWindow {
    fn novelty(self, sequence: u64) -> Novelty {
        let seen = match self.highest.checked_sub(sequence) {
            None => false,
            Some(back @ 0..64) => self.seen >> back & 1 == 1,
            Some(_) => true,
        };
        if seen || sequence == 0 {
            Novelty::Repeated
        } else {
            Novelty::New
        }
    }

    fn record(&mut self, sequence: u64) {
        match self.highest.checked_sub(sequence) {
            None => {
                let ahead = sequence - self.highest;
                self.seen = if ahead < 64 { self.seen << ahead } else { 0 };
                self.seen |= 1;
                self.highest = sequence;
            }
            Some(back @ 0..64) => self.seen |= 1 << back,
            Some(_) => {}
        }
    }
}

/// How an incarnation stands in this coordinator's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Admitted,
    Ended,
    No,
}

/// Why no age is stated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAge {
    /// The `Closing` asked about is not applied here, or is not the one in force.
    ClosingNotHeld,
    /// Silent after a restart, or not a voter.
    NotReady,
    /// The `Closing` is applied here and not on this disk yet; said by the driver, who knows the disk.
    NotDurable,
}

impl Responder {
    /// A coordinator that started at `now`; `restart` says whether its log was empty. If it was not,
    /// it is silent for one Raft lease (R8a; of this coordinator's own timers), and about each session for at least
    /// that session's lengthened ttl: then whatever an earlier life of it stated or acknowledged concerns beats
    /// whose leases have run out.
    pub fn new(own: NodeId, timing: Timing, now: Moment, restart: Restart) -> Responder {
        let restart = if plant::is(plant::Bug::NoRestartSilence) {
            Restart::Fresh
        } else {
            restart
        };
        let silence = match restart {
            Restart::Fresh => Duration::ZERO,
            Restart::Returned => timing.election_max,
        };
        Responder {
            own,
            restart,
            started: now,
            ready: now + silence,
            listening: now,
            membership: VoterSets::default(),
            membership_since: now,
            epoch: Epoch::default(),
            last: EntryId::default(),
            applied: LogIndex(0),
            lives: BTreeMap::new(),
            seals: BTreeSet::new(),
            closings: BTreeMap::new(),
            receipts: BTreeMap::new(),
            ttls: Ttls::default(),
        }
    }

    /// The store held nothing when this process began: it has acknowledged and stated nothing that could still
    /// count, and need not be silent.
    pub fn on_fresh(&mut self) {
        self.restart = Restart::Fresh;
        self.ready = self.started;
    }

    /// Entry appended (not yet durable or committed), under the append lock; also replayed for every
    /// retained entry at start. `membership` entries come through `on_membership`.
    pub fn on_appended(&mut self, now: Moment, at: EntryId, entry: &Entry) {
        self.last = at;
        if at.index <= self.applied {
            return;
        }
        let age = match self.restart {
            Restart::Returned if now < self.ready => Age::PerhapsInherited,
            Restart::Returned | Restart::Fresh => Age::New,
        };
        self.ttls.on_appended(entry, age);
        for command in &entry.commands {
            if let Command::Closing { node, incarnation } = command {
                let forgets = plant::is(plant::Bug::ForgetSealAcrossRestart)
                    && self.restart == Restart::Returned
                    && now < self.ready;
                if !forgets {
                    self.seals.insert((at, *node, *incarnation));
                }
            }
        }
    }

    /// A leader's first entry, which carries nothing, was appended.
    pub fn on_blank(&mut self, at: EntryId) {
        self.last = at;
    }

    /// Entries above `kept` were truncated: what they sealed is open again, and the membership that the rest of
    /// the log gives is in force.
    pub fn on_truncated(&mut self, now: Moment, kept: EntryId, in_force: VoterSets) {
        self.last = kept;
        self.seals.retain(|(at, _, _)| at.index <= kept.index);
        if !plant::is(plant::Bug::KeepTruncatedMembership) {
            self.enforce(now, in_force);
        }
    }

    /// A membership entry was appended: it is effective from now on.
    pub fn on_membership(&mut self, now: Moment, effective: VoterSets) {
        self.last = effective.at;
        self.enforce(now, effective);
    }

    /// A snapshot that ends with `last` is what the log stands on, `effective` is in force with it, and `state` is what
    /// it holds: in one step, so that no beat finds the seals of before gone and the closings of now not yet there.
    /// Entries above it stay in the log, and what they seal stays sealed, until they are truncated.
    pub fn on_ground(
        &mut self,
        now: Moment,
        last: EntryId,
        effective: VoterSets,
        state: &ClusterState,
    ) {
        if last.index >= self.last.index {
            self.last = last;
        }
        if plant::is(plant::Bug::OpenSealsBySnapshot) {
            self.seals.clear();
        }
        self.enforce(now, effective);
        self.on_applied(now, state);
    }

    fn enforce(&mut self, now: Moment, effective: VoterSets) {
        if self.membership != effective {
            self.membership = effective;
            self.membership_since = now;
        }
    }

    /// The state machine applied entries up to `state.applied` (also after a snapshot was installed).
    pub fn on_applied(&mut self, now: Moment, state: &ClusterState) {
        let applied = state.applied;
        self.applied = applied;
        self.epoch = state.epoch;
        // The state answers for every applied entry: a Closing in force is in it, one that was
        // refused, reopened or followed by the end is not.
        self.seals.retain(|(at, _, _)| at.index > applied);
        self.closings.clear();
        self.lives.retain(|node, _| state.nodes.contains_key(node));
        for (node, row) in &state.nodes {
            let (incarnation, standing) = match row.session {
                Session::Never => continue,
                Session::Open { incarnation } => (incarnation, Standing::Live),
                Session::Closing {
                    incarnation,
                    closing,
                } => {
                    let forgets = plant::is(plant::Bug::ForgetSealAcrossRestart)
                        && self.restart == Restart::Returned;
                    if !forgets {
                        self.closings.insert(*node, (incarnation, closing));
                    }
                    (incarnation, Standing::Live)
                }
                Session::Ended { incarnation, .. } => (incarnation, Standing::Ended),
            };
            let judged = row.judged();
            let silent_until = match self.restart {
                Restart::Fresh => self.started,
                Restart::Returned => self.ttls.silent_until(self.started, judged.silence()),
            };
            let life = self.lives.entry(*node).or_insert(Life {
                incarnation,
                standing,
                known_since: now,
                ttl: judged.ttl,
                silent_until,
            });
            if life.incarnation != incarnation {
                life.known_since = now;
                life.silent_until = silent_until;
            }
            // Raised while it is silent: an earlier life of this process may have known that. Once it speaks,
            // nothing that it did before its start matters any more.
            if now < life.silent_until {
                life.silent_until = life.silent_until.max(silent_until);
            }
            life.incarnation = incarnation;
            life.standing = standing;
            life.ttl = judged.ttl;
        }
        let lives = &self.lives;
        self.receipts.retain(|(node, incarnation), _| {
            lives.get(node).is_none_or(|life| match life.standing {
                Standing::Live => *incarnation >= life.incarnation,
                Standing::Ended => *incarnation > life.incarnation,
            })
        });
    }

    /// An authentic beat. Records the receipt before it answers. A repeated sequence (a replayed
    /// datagram) leaves no trace and is answered `NotReady`.
    pub fn on_beat(&mut self, received: Received, beat: &Beat) -> Answer {
        let now = received.moment();
        let kind = match self.known(beat.node, beat.incarnation) {
            Known::Ended => AnswerKind::Ended,
            Known::No => AnswerKind::NotAdmitted,
            // Leaves no trace: who counts by what the log does not know is as good as silent.
            Known::Admitted if !self.may_count_by(beat) => AnswerKind::OtherTtl,
            Known::Admitted => self.on_known_beat(now, beat),
        };
        Answer {
            from: self.own,
            incarnation: beat.incarnation,
            sequence: beat.sequence,
            membership: self.membership.clone(),
            epoch: self.epoch,
            log: self.last,
            kind,
        }
    }

    fn on_known_beat(&mut self, now: Moment, beat: &Beat) -> AnswerKind {
        let sealed = self.is_sealed(beat.node, beat.incarnation);
        let ready = self.is_ready(now) && now >= self.silent_about(beat.node, beat.incarnation);
        let same_membership = beat.membership == self.membership.at;
        let receipts = self
            .receipts
            .entry((beat.node, beat.incarnation))
            .or_insert(Receipts {
                heard: now,
                acknowledged: None,
                guards: Attestation::Unknown,
                replay: ReplayWindow::default(),
            });
        if receipts.replay.novelty(beat.sequence) == Novelty::Repeated {
            return AnswerKind::NotReady;
        }
        receipts.replay.record(beat.sequence);
        receipts.heard = receipts.heard.max(now);
        // A refused beat tells the truth about the guards, too, and may tell of a broken one.
        if receipts.replay.highest == beat.sequence {
            receipts.guards = beat.guards;
        }
        if !ready {
            return AnswerKind::NotReady;
        }
        if sealed && !plant::is(plant::Bug::AcknowledgeAfterClosing) {
            return AnswerKind::Sealed;
        }
        if !same_membership {
            return AnswerKind::OtherMembership;
        }
        receipts.acknowledged = receipts.acknowledged.max(Some(now));
        AnswerKind::Acknowledged
    }

    /// Whether this authentic beat repeats one already heard; the driver counts such datagrams.
    pub fn is_replay(&self, beat: &Beat) -> bool {
        self.receipts
            .get(&(beat.node, beat.incarnation))
            .is_some_and(|receipts| receipts.replay.novelty(beat.sequence) == Novelty::Repeated)
    }

    /// States the silence of an incarnation whose `Closing` at `closing` is applied here, hence committed: another
    /// leader's entry at that index is another closing, and may leave the log again. Who asks has applied it, too,
    /// so that the index means the same entry to both. The caller sees to it that it is on this disk.
    pub fn state_age(
        &self,
        now: Moment,
        node: NodeId,
        incarnation: Incarnation,
        closing: LogIndex,
    ) -> Result<StatedAge, NoAge> {
        // Planted: answers at once after a restart, as if it had listened all along.
        let claims_past = plant::is(plant::Bug::StateAgeAcrossRestart);
        let heard_enough = self.is_ready(now) && now >= self.silent_about(node, incarnation);
        let ready = heard_enough || (claims_past && self.membership.contains(self.own));
        if !ready {
            return Err(NoAge::NotReady);
        }
        let uncommitted = plant::is(plant::Bug::StateAgeUncommitted)
            && self.seals.iter().any(|(at, sealed, life)| {
                (at.index, *sealed, *life) == (closing, node, incarnation)
            });
        if self.closings.get(&node) != Some(&(incarnation, closing)) && !uncommitted {
            return Err(NoAge::ClosingNotHeld);
        }
        let receipts = self.receipts.get(&(node, incarnation));
        let receipt = receipts.and_then(|receipts| receipts.acknowledged);
        let since = if claims_past {
            receipt.unwrap_or_default()
        } else {
            self.started
                .max(self.membership_since)
                .max(receipt.unwrap_or_default())
        };
        let heard = receipts.map_or(self.started, |receipts| receipts.heard);
        Ok(StatedAge {
            by: self.own,
            membership: self.membership.at,
            age: now.since(since),
            heard: now.since(heard),
            sequence: receipts.map_or(0, |receipts| receipts.replay.highest),
            guards: receipts.map_or(Attestation::Unknown, |receipts| receipts.guards),
        })
    }

    /// Since the last authentic beat of the node's newest incarnation, since that incarnation became
    /// known here, or since listening began without a gap, whichever is latest.
    pub fn silence(&self, now: Moment, node: NodeId) -> Duration {
        let Some(life) = self.lives.get(&node) else {
            return now.since(self.listening);
        };
        let heard = self
            .receipts
            .get(&(node, life.incarnation))
            .map_or(life.known_since, |receipts| receipts.heard);
        now.since(heard.max(life.known_since).max(self.listening))
    }

    /// The loop was late by a beat: sockets were drained, every silence timer starts anew. Ages do
    /// not: they state what was acknowledged, and nothing was meanwhile.
    pub fn on_late(&mut self, now: Moment) {
        self.listening = self.listening.max(now);
    }

    /// The effective membership here (latest appended, perhaps joint).
    pub fn membership(&self) -> &VoterSets {
        &self.membership
    }

    /// Until when this coordinator neither acknowledges nor states ages (R8a).
    pub fn silent_until(&self) -> Moment {
        self.ready
    }

    /// Until when this coordinator neither acknowledges this life nor states its age (R8a).
    pub fn silent_about(&self, node: NodeId, incarnation: Incarnation) -> Moment {
        let applied = self.lives.get(&node);
        let until = match applied.filter(|life| life.incarnation == incarnation) {
            Some(life) => life.silent_until,
            None => self.started,
        };
        until.max(self.ready)
    }

    /// Whether the beat names the ttl that it is counted by, and none that is longer than the session's as it is
    /// known here (R2a). An agent that has not understood its session's timing so has no lease.
    fn may_count_by(&self, beat: &Beat) -> bool {
        if plant::is(plant::Bug::AcknowledgeAnyTtl) {
            return true;
        }
        let known = self.lives.get(&beat.node);
        let known = known.filter(|life| life.incarnation == beat.incarnation);
        !beat.ttl.is_zero() && known.is_some_and(|life| beat.ttl <= life.ttl)
    }

    fn is_ready(&self, now: Moment) -> bool {
        now >= self.ready && self.membership.contains(self.own)
    }

    fn is_sealed(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let applied = self.closings.get(&node);
        applied.is_some_and(|(life, _)| *life == incarnation)
            || self
                .seals
                .iter()
                .any(|(_, sealed, life)| *sealed == node && *life == incarnation)
    }

    fn known(&self, node: NodeId, incarnation: Incarnation) -> Known {
        // Only what is applied counts: an index names one admission once it is committed, and before that
        // perhaps another leader's.
        let Some(life) = self.lives.get(&node) else {
            return Known::No;
        };
        match (incarnation.cmp(&life.incarnation), life.standing) {
            (Ordering::Less, _) | (Ordering::Equal, Standing::Ended) => Known::Ended,
            (Ordering::Equal, Standing::Live) => Known::Admitted,
            (Ordering::Greater, _) => Known::No,
        }
    }
}

/// How a coordinator started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// Its log was empty.
    Fresh,
    /// It lived before.
    Returned,
}

#[cfg(test)]
mod tests;
