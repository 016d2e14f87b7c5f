//! A compact model of Raft, so that the engine meets real elections, stale leaders, truncations,
//! joint membership and snapshots without openraft's timers in the way.
//!
//! A machine: events and the time in, [`Effect`]s out. It keeps Raft's rules (votes and acknowledged
//! records are durable before they are spoken of, one vote a term, commit only in the own term, joint
//! majorities) and adds what haftd adds: pre-vote, quorum check, transfer and silence after a restart
//! (R8a). Absent: batching, flow control, lease reads.
//!
//! [`replicate`] holds appending and committing; elections are here.

use crate::clock::TrueTime;
use crate::rng::Rng;
use haft_engine::clock::{Moment, Timing};
use haft_engine::command::{Entry, VoterSets};
use haft_engine::ids::{EntryId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

pub(crate) mod log;
mod message;
mod replicate;

use log::{Log, Payload};
pub(crate) use message::{Ballot, Matched, Message, Snapshot};

/// What the driver must do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send to a peer.
    Send(NodeId, Message),
    /// A record was written (not durable): the append lock's moment.
    Appended(u64),
    /// Records from here on are gone.
    Truncated {
        /// The last record that stays.
        kept: EntryId,
        /// The newest membership that stays.
        in_force: VoterSets,
    },
    /// Another membership is effective.
    Effective(VoterSets),
    /// The records up to here should be made durable; answer with `on_flushed`.
    Flush(u64),
    /// Everything up to here may be applied.
    Committed,
    /// This snapshot replaces state and log.
    Installed(Rc<Snapshot>),
    /// Leads from now on; its blank record is at this index.
    BecameLeader { blank: u64 },
    /// Leads no more.
    SteppedDown,
    /// Records were truncated for what this message brings, which is appended in a step of its own, as in the store.
    AppendLater(NodeId, Message),
    /// A transfer did not end: the process has to.
    TransferStuck,
}

/// What has become of the order to stand for election.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// It is on its way.
    Sent,
    /// It never leaves.
    Lost,
}

/// What survives a crash.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    term: u64,
    voted_for: Option<NodeId>,
    log: Log,
    snapshot: Rc<Snapshot>,
}

impl Disk {
    /// A disk whose log was written and snapshotted while the cluster was formed.
    pub(crate) fn formed(snapshot: Rc<Snapshot>) -> Disk {
        Disk {
            term: snapshot.term,
            voted_for: None,
            log: Log::after(snapshot.index, snapshot.term),
            snapshot,
        }
    }

    /// The crash itself: some of what was written but not durable may have survived by luck.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let durable = self.log.durable();
        let lucky = rng.range(durable, self.log.last() + 1);
        self.log.crash(lucky);
    }
}

/// What a member is doing.
#[derive(Debug)]
enum Role {
    Follower,
    Candidate {
        ballot: Ballot,
        votes: BTreeSet<NodeId>,
    },
    Leader(Leading),
}

/// A leader's knowledge of its peers.
#[derive(Debug)]
struct Leading {
    blank: u64,
    peers: BTreeMap<NodeId, Peer>,
    transfer: Option<(NodeId, Moment)>,
    heartbeat_at: Moment,
}

/// One peer as its leader sees it.
#[derive(Clone, Copy, Debug)]
struct Peer {
    next: u64,
    matched: u64,
    /// Its last answer; before the first, when leading began.
    heard: Moment,
    answered: bool,
}

/// One member.
#[derive(Debug)]
pub(crate) struct Raft {
    own: NodeId,
    timing: Timing,
    /// Everybody to whom a leader replicates, voter or not.
    known: BTreeSet<NodeId>,
    term: u64,
    voted_for: Option<NodeId>,
    log: Log,
    snapshot: Rc<Snapshot>,
    role: Role,
    leader: Option<NodeId>,
    commit: u64,
    /// Up to here the log equals that of this term's leader.
    verified: u64,
    effective: VoterSets,
    heard: Option<Moment>,
    election_at: Moment,
    silent_until: Moment,
    store: Store,
    effects: Vec<Effect>,
}

/// What the store does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Store {
    /// It takes records.
    Free,
    /// It has truncated, and has still to append what came with that.
    Appending,
}

impl Raft {
    /// A member that starts from `disk`; silent for one lease if it `returned` (R8a).
    pub(crate) fn start(
        own: NodeId,
        timing: Timing,
        known: BTreeSet<NodeId>,
        disk: Disk,
        now: Moment,
        returned: bool,
        rng: &mut Rng,
    ) -> Raft {
        let effective = disk
            .log
            .newest_membership()
            .unwrap_or(&disk.snapshot.membership)
            .clone();
        let silence = if returned {
            timing.election_max
        } else {
            Duration::ZERO
        };
        let mut raft = Raft {
            own,
            timing,
            known,
            term: disk.term,
            voted_for: disk.voted_for,
            commit: disk.snapshot.index,
            verified: 0,
            log: disk.log,
            snapshot: disk.snapshot,
            role: Role::Follower,
            leader: None,
            effective,
            heard: None,
            election_at: now,
            silent_until: now + silence,
            store: Store::Free,
            effects: Vec::new(),
        };
        raft.restart_election_timer(now, rng);
        raft
    }

    /// What the disk holds; the process is gone.
    pub(crate) fn into_disk(self) -> Disk {
        Disk {
            term: self.term,
            voted_for: self.voted_for,
            log: self.log,
            snapshot: self.snapshot,
        }
    }

    /// The current term.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// Whether it leads.
    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Newest committed index known here.
    pub(crate) fn commit(&self) -> u64 {
        self.commit
    }

    /// The log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// The newest snapshot.
    pub(crate) fn snapshot(&self) -> &Rc<Snapshot> {
        &self.snapshot
    }

    /// The effective membership: the newest one written.
    pub(crate) fn effective(&self) -> &VoterSets {
        &self.effective
    }

    /// Peers that a leader has heard within `span`.
    pub(crate) fn heard_within(&self, now: Moment, span: Duration) -> BTreeSet<NodeId> {
        match &self.role {
            Role::Leader(leading) => leading
                .peers
                .iter()
                .filter(|(_, peer)| peer.answered && now.since(peer.heard) <= span)
                .map(|(id, _)| *id)
                .filter(|id| *id != self.own && self.effective.contains(*id))
                .collect(),
            Role::Follower | Role::Candidate { .. } => BTreeSet::new(),
        }
    }

    /// What happened since the last call.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When `on_tick` wants to be called.
    pub(crate) fn next_wake(&self) -> Moment {
        match &self.role {
            Role::Leader(leading) => leading.heartbeat_at,
            Role::Follower | Role::Candidate { .. } => self.election_at,
        }
    }

    /// Time passes.
    pub(crate) fn on_tick(&mut self, now: Moment, rng: &mut Rng) {
        if self.leads() {
            self.on_leader_tick(now, rng);
        } else if now >= self.election_at {
            self.restart_election_timer(now, rng);
            if self.effective.contains(self.own) && now >= self.silent_until {
                self.leader = None;
                self.stand(now, Ballot::Before, rng);
            }
        }
    }

    /// A peer's message.
    pub(crate) fn on_message(
        &mut self,
        now: Moment,
        from: NodeId,
        message: Message,
        rng: &mut Rng,
    ) {
        match message {
            Message::Vote {
                term,
                last_index,
                last_term,
                ballot,
            } => self.on_vote(now, from, term, (last_term, last_index), ballot, rng),
            Message::VoteReply {
                term,
                ballot,
                granted,
            } => self.on_vote_reply(now, from, term, ballot, granted, rng),
            Message::Append {
                term,
                prev_index,
                prev_term,
                records,
                commit,
            } => {
                if self.follow(now, from, term, rng) {
                    self.on_append((prev_index, prev_term), records, commit);
                } else {
                    self.refuse_append(from, prev_index);
                }
            }
            Message::AppendReply { term, reply } => {
                self.learn_term(term);
                if term == self.term {
                    self.on_append_reply(now, from, reply);
                }
            }
            Message::Install { term, snapshot } => {
                if self.follow(now, from, term, rng) {
                    self.on_install(snapshot);
                }
            }
            Message::TimeoutNow { term } => {
                if term == self.term
                    && self.effective.contains(self.own)
                    && now >= self.silent_until
                {
                    self.stand(now, Ballot::Transfer, rng);
                }
            }
        }
    }

    /// The truncation is written: the rest of the message that it was for is appended.
    pub(crate) fn append_now(&mut self, now: Moment, from: NodeId, rest: Message, rng: &mut Rng) {
        self.store = Store::Free;
        self.on_message(now, from, rest, rng);
    }

    /// openraft's arithmetic: an election after a leader's crash takes `max + U[min, max)`.
    fn restart_election_timer(&mut self, now: Moment, rng: &mut Rng) {
        let low = nanos(self.timing.election_min);
        let high = nanos(self.timing.election_max);
        let wait = Duration::from_nanos(rng.range(low, high));
        let lease = if self.leader.is_some() {
            self.timing.election_max
        } else {
            Duration::ZERO
        };
        self.election_at = now + lease + wait;
    }

    fn learn_term(&mut self, term: u64) {
        if term > self.term {
            self.term = term;
            self.voted_for = None;
            self.verified = 0;
            self.leader = None;
            self.step_down();
        }
    }

    fn step_down(&mut self) {
        let led = self.leads();
        self.role = Role::Follower;
        if led {
            self.effects.push(Effect::SteppedDown);
        }
    }

    /// Accepts `from` as the leader of `term`, unless the term is old.
    fn follow(&mut self, now: Moment, from: NodeId, term: u64, rng: &mut Rng) -> bool {
        self.learn_term(term);
        if term < self.term {
            return false;
        }
        assert!(!self.leads(), "two leaders in term {term}: model error");
        self.role = Role::Follower;
        self.leader = Some(from);
        self.heard = Some(now);
        self.restart_election_timer(now, rng);
        true
    }

    fn stand(&mut self, now: Moment, ballot: Ballot, rng: &mut Rng) {
        if ballot != Ballot::Before {
            self.learn_term(self.term + 1);
            self.voted_for = Some(self.own);
        }
        self.role = Role::Candidate {
            ballot,
            votes: BTreeSet::from([self.own]),
        };
        self.restart_election_timer(now, rng);
        let term = match ballot {
            Ballot::Before => self.term + 1,
            Ballot::Real | Ballot::Transfer => self.term,
        };
        let question = Message::Vote {
            term,
            last_index: self.log.last(),
            last_term: self.log.last_term(),
            ballot,
        };
        for peer in self.effective.all() {
            if peer != self.own {
                self.effects.push(Effect::Send(peer, question.clone()));
            }
        }
        self.count_votes(now, rng);
    }

    fn on_vote(
        &mut self,
        now: Moment,
        from: NodeId,
        term: u64,
        last: (u64, u64),
        ballot: Ballot,
        rng: &mut Rng,
    ) {
        let leader_lives = self.leads()
            || (self.leader.is_some()
                && self
                    .heard
                    .is_some_and(|heard| now.since(heard) < self.timing.election_max));
        let silent = now < self.silent_until;
        let up_to_date = last >= (self.log.last_term(), self.log.last());
        let granted = match ballot {
            Ballot::Before => !silent && !leader_lives && up_to_date && term > self.term,
            Ballot::Real | Ballot::Transfer => {
                if silent || (leader_lives && ballot == Ballot::Real) {
                    false
                } else {
                    self.learn_term(term);
                    let free = self.voted_for.is_none_or(|voted| voted == from);
                    let granted = term == self.term && free && up_to_date && !self.leads();
                    if granted {
                        self.voted_for = Some(from);
                        self.restart_election_timer(now, rng);
                    }
                    granted
                }
            }
        };
        let reply = Message::VoteReply {
            term: if granted { term } else { self.term },
            ballot,
            granted,
        };
        self.effects.push(Effect::Send(from, reply));
    }

    fn on_vote_reply(
        &mut self,
        now: Moment,
        from: NodeId,
        term: u64,
        ballot: Ballot,
        granted: bool,
        rng: &mut Rng,
    ) {
        if !granted {
            self.learn_term(term);
            return;
        }
        let expected = match ballot {
            Ballot::Before => self.term + 1,
            Ballot::Real | Ballot::Transfer => self.term,
        };
        if let Role::Candidate {
            ballot: standing,
            votes,
        } = &mut self.role
            && *standing == ballot
            && term == expected
        {
            votes.insert(from);
            self.count_votes(now, rng);
        }
    }

    fn count_votes(&mut self, now: Moment, rng: &mut Rng) {
        let Role::Candidate { ballot, votes } = &self.role else {
            return;
        };
        if !self.effective.majority(votes) {
            return;
        }
        match ballot {
            Ballot::Before => self.stand(now, Ballot::Real, rng),
            Ballot::Real | Ballot::Transfer => self.lead(now),
        }
    }

    fn lead(&mut self, now: Moment) {
        let next = self.log.last() + 1;
        let peer = Peer {
            next,
            matched: 0,
            heard: now,
            answered: false,
        };
        self.role = Role::Leader(Leading {
            blank: next,
            peers: self.known.iter().map(|id| (*id, peer)).collect(),
            transfer: None,
            heartbeat_at: now,
        });
        self.leader = Some(self.own);
        self.write(Payload::Blank);
        self.effects.push(Effect::BecameLeader { blank: next });
        self.replicate(now);
    }

    /// Proposes under `term`; the index it may commit at, or `None` if it does not lead that term.
    pub(crate) fn propose(&mut self, now: Moment, term: u64, entry: Rc<Entry>) -> Option<u64> {
        let Role::Leader(leading) = &self.role else {
            return None;
        };
        if self.term != term || leading.transfer.is_some() {
            return None;
        }
        let index = self.write(Payload::Entry(entry));
        self.replicate(now);
        Some(index)
    }

    /// Begins a change to `voters`, through a joint set; ignored unless the last change is done.
    pub(crate) fn change_voters(&mut self, now: Moment, voters: BTreeSet<NodeId>) -> bool {
        let Role::Leader(leading) = &self.role else {
            return false;
        };
        let settled = self.effective.sets.len() == 1
            && self.effective.at.index.0 <= self.commit
            && leading.blank <= self.commit
            && leading.transfer.is_none();
        let caught_up = voters.iter().all(|id| {
            *id == self.own
                || leading
                    .peers
                    .get(id)
                    .is_some_and(|peer| peer.matched + 2 >= self.commit)
        });
        if !settled || !caught_up || self.effective.sets[0] == voters {
            return false;
        }
        let joint = VoterSets {
            at: EntryId::new(self.term, self.log.last() + 1),
            sets: vec![self.effective.sets[0].clone(), voters],
        };
        self.write(Payload::Membership(joint));
        self.replicate(now);
        true
    }

    /// Hands leadership to `to` if it is up to date; refuses proposals meanwhile. As openraft does, it cannot call that
    /// off: if nobody else leads in time, the process ends.
    pub(crate) fn transfer(&mut self, now: Moment, to: NodeId, order: Order) -> bool {
        let last = self.log.last();
        let term = self.term;
        let until = now + self.timing.election_max;
        let Role::Leader(leading) = &mut self.role else {
            return false;
        };
        let ready = leading
            .peers
            .get(&to)
            .is_some_and(|peer| peer.matched == last);
        if to == self.own || !ready || !self.effective.contains(to) {
            return false;
        }
        leading.transfer = Some((to, until));
        if order == Order::Sent {
            let message = Message::TimeoutNow { term };
            self.effects.push(Effect::Send(to, message));
        }
        true
    }
}

/// A span in nanoseconds; simulated spans are minutes at most.
pub(crate) fn nanos(span: Duration) -> TrueTime {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
