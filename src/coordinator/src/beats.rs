//! The beat socket: opens datagrams, lets the responder answer, notices when it was late itself.
//!
//! One thread, because a late answer is a lost beat. Every dropped datagram is counted by reason and none
//! is logged (an attacker would own the log). Decides nothing about sessions.

use crate::clock::boot_now;
use crate::replica::Replica;
use crate::seals::SharedResponder;
use crate::witness::Challenger;
use haft_api::beat::{self, BeatKey, Dropped, OpenedBeat};
use haft_api::challenge;
use haft_api::pb::v1;
use haft_engine::clock::Moment;
use haft_engine::ids::{Incarnation, NodeId};
use haft_engine::session::AnswerKind;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Counters of the beat socket, for `cluster status`.
#[derive(Debug, Default)]
pub struct BeatCounters {
    answered: AtomicU64,
    challenged: AtomicU64,
    late: AtomicU64,
    dropped: Mutex<BTreeMap<Dropped, u64>>,
}

impl BeatCounters {
    fn drop_one(&self, why: Dropped) {
        *self
            .dropped
            .lock()
            .expect(crate::POISON)
            .entry(why)
            .or_default() += 1;
    }

    /// The counts as they stand.
    pub fn counts(&self) -> v1::BeatCounts {
        let dropped = self.dropped.lock().expect(crate::POISON);
        v1::BeatCounts {
            answered: self.answered.load(Ordering::Relaxed),
            challenged: self.challenged.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            dropped: dropped
                .iter()
                .map(|(why, count)| (why.word().to_owned(), *count))
                .collect(),
        }
    }
}

/// Everything the thread needs.
pub struct BeatSocket {
    /// Bound to the beat port.
    pub socket: UdpSocket,
    /// Own id.
    pub own: NodeId,
    /// For keys.
    pub replica: Replica,
    /// Answers.
    pub responder: SharedResponder,
    /// Nonce of this start.
    pub nonce: u64,
    /// Beat interval: how late is late.
    pub beat: Duration,
    /// Counts.
    pub counters: Arc<BeatCounters>,
    /// Told where beats come from; answers what is no beat.
    pub challenger: Arc<Challenger>,
}

impl BeatSocket {
    /// Serves until the process ends.
    pub fn serve(self) -> io::Result<()> {
        // Wakes twice a beat, so that lateness is noticed also when nothing arrives.
        self.socket.set_read_timeout(Some(self.beat / 2))?;
        let mut newest: BTreeMap<NodeId, (Incarnation, u64)> = BTreeMap::new();
        let mut buffer = [0; 512];
        let mut before = boot_now();
        loop {
            let received = self.socket.recv_from(&mut buffer);
            let now = boot_now();
            crate::plant::panic_in("beats");
            if now.since(before) > self.beat + self.beat / 2 {
                self.on_late(now, &mut newest);
            }
            before = now;
            match received {
                Ok((length, from)) => self.one(now, &buffer[..length], from, &mut newest),
                Err(error) if is_idle(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Late by a beat: what waits in the socket is heard first, then every silence starts anew (R2).
    fn on_late(&self, now: Moment, newest: &mut BTreeMap<NodeId, (Incarnation, u64)>) {
        self.counters.late.fetch_add(1, Ordering::Relaxed);
        let mut buffer = [0; 512];
        if self.socket.set_nonblocking(true).is_ok() {
            // Bounded: a flood must not keep the thread here.
            for _ in 0..4_096 {
                let Ok((length, from)) = self.socket.recv_from(&mut buffer) else {
                    break;
                };
                self.one(now, &buffer[..length], from, newest);
            }
            let _ = self.socket.set_nonblocking(false);
        }
        self.responder.with(|responder| responder.on_late(now));
    }

    fn one(
        &self,
        now: Moment,
        bytes: &[u8],
        from: SocketAddr,
        newest: &mut BTreeMap<NodeId, (Incarnation, u64)>,
    ) {
        if challenge::is_one(bytes) {
            if let Err(why) = self.challenger.on_datagram(now, bytes, from) {
                self.counters.drop_one(why);
            }
            return;
        }
        let (key, opened) = match self.open(bytes) {
            Ok(opened) => opened,
            Err(why) => return self.counters.drop_one(why),
        };
        let beat = opened.beat;
        let reply = if opened.nonce == self.nonce {
            let known = newest.get(&beat.node);
            if known.is_some_and(|known| *known >= (beat.incarnation, beat.sequence)) {
                return self.counters.drop_one(Dropped::Replayed);
            }
            newest.insert(beat.node, (beat.incarnation, beat.sequence));
            self.counters.answered.fetch_add(1, Ordering::Relaxed);
            let answer = self
                .responder
                .with(|responder| responder.on_beat(now, &beat));
            match answer.kind {
                AnswerKind::Ended => {
                    self.challenger
                        .on_ended_beat(now, beat.node, beat.incarnation, from);
                }
                AnswerKind::Acknowledged
                | AnswerKind::Sealed
                | AnswerKind::NotAdmitted
                | AnswerKind::OtherMembership
                | AnswerKind::OtherTtl
                | AnswerKind::NotReady => {
                    self.challenger
                        .on_beat(now, beat.node, beat.incarnation, from);
                }
            }
            beat::seal_answer(&key, beat.node, &answer)
        } else {
            self.counters.challenged.fetch_add(1, Ordering::Relaxed);
            beat::seal_challenge(&key, &beat, self.own, self.nonce)
        };
        // A lost answer is a lost beat; the next one comes.
        let _ = self.socket.send_to(&reply, from);
    }

    fn open(&self, bytes: &[u8]) -> Result<(BeatKey, OpenedBeat), Dropped> {
        let claim = beat::claim(bytes)?;
        let key = {
            let state = self.replica.state();
            if !state.nodes.contains_key(&claim.node) {
                return Err(Dropped::NoKey);
            }
            let heartbeat = state
                .heartbeat_keys
                .iter()
                .find(|key| key.generation == claim.generation)
                .ok_or(Dropped::NoKey)?;
            BeatKey::derive(heartbeat, claim.node, claim.incarnation)
        };
        let opened = beat::open_beat(&key, bytes)?;
        Ok((key, opened))
    }
}

fn is_idle(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
    )
}
