//! Raft's other half: writing, replicating, committing, snapshots.
//!
//! A record counts as acknowledged only when durable, the leader's own included.

use super::log::{Log, Payload, Record};
use super::{Effect, Matched, Message, Raft, Role, Snapshot, Store};
use crate::rng::Rng;
use haft_engine::clock::Moment;
use haft_engine::command::VoterSets;
use haft_engine::ids::{EntryId, NodeId};
use haft_engine::plant::{self, Bug};
use std::rc::Rc;

/// Most records in one append message.
const BATCH: u64 = 64;

impl Raft {
    /// Appends to the own log; not durable, not replicated yet.
    pub(super) fn write(&mut self, payload: Payload) -> u64 {
        let term = self.term;
        self.write_record(Record { term, payload })
    }

    fn write_record(&mut self, record: Record) -> u64 {
        let membership = match &record.payload {
            Payload::Membership(sets) => Some(sets.clone()),
            Payload::Blank | Payload::Entry(_) => None,
        };
        let index = self.log.append(record);
        self.effects.push(Effect::Appended(index));
        if let Some(sets) = membership {
            self.make_effective(sets);
        }
        self.effects.push(Effect::Flush(index));
        index
    }

    fn make_effective(&mut self, sets: VoterSets) {
        if sets != self.effective {
            self.effective = sets.clone();
            self.effects.push(Effect::Effective(sets));
        }
    }

    /// Sends every peer what it lacks, or a heartbeat.
    pub(super) fn replicate(&mut self, now: Moment) {
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        leading.heartbeat_at = now + self.timing.raft_heartbeat;
        for (id, peer) in &mut leading.peers {
            if *id == self.own {
                continue;
            }
            let prev_index = peer.next - 1;
            let message = match self.log.term_at(prev_index) {
                Some(prev_term) => {
                    let records = self.log.slice(peer.next, BATCH);
                    peer.next += records.len() as u64;
                    Message::Append {
                        term: self.term,
                        prev_index,
                        prev_term,
                        records,
                        commit: self.commit,
                    }
                }
                None => {
                    peer.next = self.snapshot.index + 1;
                    Message::Install {
                        term: self.term,
                        snapshot: Rc::clone(&self.snapshot),
                    }
                }
            };
            self.effects.push(Effect::Send(*id, message));
        }
    }

    pub(super) fn on_leader_tick(&mut self, now: Moment, rng: &mut Rng) {
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        if now < leading.heartbeat_at {
            return;
        }
        let lease = self.timing.election_max;
        let mut fresh: std::collections::BTreeSet<NodeId> = leading
            .peers
            .iter()
            .filter(|(_, peer)| now.since(peer.heard) <= lease)
            .map(|(id, _)| *id)
            .collect();
        fresh.insert(self.own);
        if !self.effective.majority(&fresh) {
            self.leader = None;
            self.step_down();
            self.restart_election_timer(now, rng);
            return;
        }
        let stuck = leading.transfer.is_some_and(|(_, until)| now >= until);
        if stuck && !plant::is(Bug::KeepHandover) {
            self.effects.push(Effect::TransferStuck);
            return;
        }
        // Whatever was sent and not acknowledged since the last heartbeat is sent again.
        for peer in leading.peers.values_mut() {
            peer.next = peer.next.min(peer.matched + 1).max(1);
        }
        self.replicate(now);
    }

    pub(super) fn refuse_append(&mut self, to: NodeId, from_index: u64) {
        let reply = Message::AppendReply {
            term: self.term,
            reply: Matched::TryFrom(from_index),
        };
        self.effects.push(Effect::Send(to, reply));
    }

    pub(super) fn on_append(&mut self, prev: (u64, u64), records: Vec<Record>, commit: u64) {
        let leader = self.leader.expect("follow() has set it");
        if self.store == Store::Appending && !records.is_empty() {
            // It would wait behind that; the leader sends it again.
            return;
        }
        let (prev_index, prev_term) = prev;
        let covered = prev_index < self.snapshot.index;
        if !covered && self.log.term_at(prev_index) != Some(prev_term) {
            // What is committed here equals every leader's log, so that is a safe place to go on from.
            self.refuse_append(leader, self.commit + 1);
            return;
        }
        let until = prev_index + records.len() as u64;
        let mut records = (prev_index + 1..).zip(records);
        while let Some((index, record)) = records.next() {
            if index <= self.snapshot.index || self.log.term_at(index) == Some(record.term) {
                continue;
            }
            if index <= self.log.last() {
                self.drop_from(index);
                let rest = std::iter::once(record).chain(records.map(|(_, record)| record));
                self.append_later(leader, index, rest.collect(), commit);
                return;
            }
            let written = self.write_record(record);
            assert_eq!(written, index, "a follower's log has no holes");
        }
        self.verified = self.verified.max(until);
        self.learn_commit(commit.min(self.verified));
        self.acknowledge();
    }

    /// A beat may come between the truncation and the append.
    fn append_later(&mut self, leader: NodeId, index: u64, records: Vec<Record>, commit: u64) {
        let rest = Message::Append {
            term: self.term,
            prev_index: index - 1,
            prev_term: self.log.last_term(),
            records,
            commit,
        };
        self.effects.push(Effect::AppendLater(leader, rest));
        self.store = Store::Appending;
        self.verified = self.verified.max(index - 1);
        self.learn_commit(commit.min(self.verified));
    }

    fn drop_from(&mut self, index: u64) {
        assert!(index > self.commit, "a committed record was overwritten");
        self.log.truncate(index);
        let effective = self
            .log
            .newest_membership()
            .unwrap_or(&self.snapshot.membership)
            .clone();
        self.effects.push(Effect::Truncated {
            kept: EntryId::new(self.log.last_term(), self.log.last()),
            in_force: effective.clone(),
        });
        // No effect of its own: the truncation says it.
        self.effective = effective;
    }

    fn acknowledge(&mut self) {
        if let Some(leader) = self.leader
            && leader != self.own
        {
            let upto = self.verified.min(self.log.durable());
            let reply = Message::AppendReply {
                term: self.term,
                reply: Matched::Upto(upto),
            };
            self.effects.push(Effect::Send(leader, reply));
        }
    }

    /// The disk has made records up to `index` of the log as it was at the request durable.
    pub(crate) fn on_flushed(&mut self, now: Moment, index: u64, term: u64) {
        if self.log.term_at(index) != Some(term) || index <= self.log.durable() {
            return;
        }
        self.log.flushed(index);
        if self.leads() {
            self.advance_commit(now);
        } else {
            self.acknowledge();
        }
    }

    pub(super) fn on_append_reply(&mut self, now: Moment, from: NodeId, reply: Matched) {
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        let Some(peer) = leading.peers.get_mut(&from) else {
            return;
        };
        peer.heard = now;
        peer.answered = true;
        match reply {
            Matched::Upto(index) => {
                peer.matched = peer.matched.max(index);
                peer.next = peer.next.max(index + 1);
                self.advance_commit(now);
            }
            Matched::TryFrom(index) => {
                peer.next = index.max(peer.matched + 1).min(self.log.last() + 1);
            }
        }
    }

    fn advance_commit(&mut self, now: Moment) {
        let Role::Leader(leading) = &self.role else {
            return;
        };
        let blank = leading.blank;
        let mut index = self.log.durable();
        while index > self.commit && index >= blank {
            let holders = leading
                .peers
                .iter()
                .filter(|(id, peer)| **id != self.own && peer.matched >= index)
                .map(|(id, _)| *id)
                .chain([self.own])
                .collect();
            if self.effective.majority(&holders) {
                self.learn_commit(index);
                self.after_commit(now);
                return;
            }
            index -= 1;
        }
    }

    fn learn_commit(&mut self, index: u64) {
        if index > self.commit {
            self.commit = index;
            self.effects.push(Effect::Committed);
        }
    }

    /// A committed joint set is followed by the new one; a leader outside the new one leaves.
    fn after_commit(&mut self, now: Moment) {
        if self.effective.at.index.0 <= self.commit {
            if self.effective.sets.len() == 2 {
                let last = VoterSets {
                    at: EntryId::new(self.term, self.log.last() + 1),
                    sets: vec![self.effective.sets[1].clone()],
                };
                self.write(Payload::Membership(last));
            } else if !self.effective.contains(self.own) {
                self.replicate(now);
                self.leader = None;
                self.step_down();
                return;
            }
        }
        self.replicate(now);
    }

    pub(super) fn on_install(&mut self, snapshot: Rc<Snapshot>) {
        let index = snapshot.index;
        if index > self.commit {
            if self.log.term_at(index) == Some(snapshot.term) {
                self.log.purge(index);
            } else {
                if self.log.last() > self.commit {
                    let term = self.log.term_at(self.commit).unwrap_or_default();
                    self.effects.push(Effect::Truncated {
                        kept: EntryId::new(term, self.commit),
                        in_force: self.effective.clone(),
                    });
                }
                self.log = Log::after(index, snapshot.term);
            }
            self.snapshot = Rc::clone(&snapshot);
            self.commit = index;
            let effective = self
                .log
                .newest_membership()
                .unwrap_or(&snapshot.membership)
                .clone();
            self.effects.push(Effect::Installed(snapshot));
            self.make_effective(effective);
        }
        self.verified = self.verified.max(index);
        self.acknowledge();
    }

    /// Takes `snapshot` of the applied state and purges the log behind it, but for `keep` records.
    pub(crate) fn compact(&mut self, snapshot: Rc<Snapshot>, keep: u64) {
        if self.log.durable() >= snapshot.index {
            self.log.purge(snapshot.index.saturating_sub(keep));
            self.snapshot = snapshot;
        }
    }
}
