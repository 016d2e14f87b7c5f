//! The beat socket: opens datagrams, lets the responder answer, notices when it was late itself.
//!
//! One thread with real-time priority, because a late answer is a lost beat. It takes one lock a datagram, the
//! responder's, which nobody holds for long, and waits for no socket. Every dropped datagram is counted by reason
//! and none is logged (an attacker would own the log). Decides nothing about sessions.

mod keys;
mod ports;

pub use keys::BeatKeys;
pub use ports::BeatPorts;

use crate::clock::boot_now;
use crate::seals::SharedResponder;
use crate::witness::Challenger;
use haft_api::beat::{self, BeatKey, DATAGRAM_MAX, Dropped, OpenedBeat};
use haft_api::challenge;
use haft_api::pb::v1;
use haft_engine::ids::{Incarnation, NodeId};
use haft_engine::plant::{self, Bug};
use haft_engine::session::AnswerKind;
use ports::Datagram;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Counters of the beat socket, for `cluster status`.
#[derive(Debug, Default)]
pub struct BeatCounters {
    answered: AtomicU64,
    challenged: AtomicU64,
    late: AtomicU64,
    unsent: AtomicU64,
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
            unsent: self.unsent.load(Ordering::Relaxed),
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
    pub ports: BeatPorts,
    /// Own id.
    pub own: NodeId,
    /// Who may beat.
    pub keys: BeatKeys,
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

/// How much of each socket one visit reads at most: a flood must not keep the thread from the other sockets, nor
/// from noticing that it was late.
const VISIT: usize = 256;
/// And after it was late: all that waits in a receive buffer.
const VISIT_LATE: usize = 16_384;

impl BeatSocket {
    /// Serves until the process ends.
    pub fn serve(self) -> io::Result<()> {
        let mut newest = Newest::new();
        let mut before = boot_now();
        loop {
            // Wakes twice a beat, so that lateness is noticed also when nothing arrives.
            self.ports.wait(self.beat / 2)?;
            let now = boot_now();
            crate::plant::panic_in("beats");
            let late = now.since(before) > self.beat + self.beat / 2;
            before = now;
            if late {
                self.on_late(&mut newest)?;
            } else {
                self.visit(VISIT, &mut newest)?;
            }
        }
    }

    /// Late by a beat: what waits in the sockets is heard first, then every silence starts anew (R2), from a
    /// moment at which nothing of it was still waiting.
    fn on_late(&self, newest: &mut Newest) -> io::Result<()> {
        self.counters.late.fetch_add(1, Ordering::Relaxed);
        self.visit(VISIT_LATE, newest)?;
        self.responder
            .with(|responder| responder.on_late(boot_now()));
        Ok(())
    }

    /// Reads every socket until it is empty, but no more than `at_most` of each. Every datagram is dated by its
    /// own receive call.
    fn visit(&self, at_most: usize, newest: &mut Newest) -> io::Result<()> {
        let mut buffer = [0; DATAGRAM_MAX + 1];
        let mut first = None;
        for which in 0..self.ports.count() {
            for _ in 0..at_most {
                let Some(mut datagram) = self.ports.receive(which, &mut buffer)? else {
                    break;
                };
                if plant::is(Bug::DateDrainByItsStart) {
                    datagram.received = *first.get_or_insert(datagram.received);
                }
                self.one(datagram, which, &buffer[..datagram.length], newest);
            }
        }
        Ok(())
    }

    fn one(&self, datagram: Datagram, which: usize, bytes: &[u8], newest: &mut Newest) {
        if challenge::is_one(bytes) {
            if let Err(why) =
                self.challenger
                    .on_datagram(datagram.received.moment(), bytes, datagram.from)
            {
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
            // The receipt is recorded here, before the answer is handed to the socket.
            let answer = self
                .responder
                .with(|responder| responder.on_beat(datagram.received, &beat));
            let now = datagram.received.moment();
            match answer.kind {
                AnswerKind::Ended => {
                    self.challenger
                        .on_ended_beat(now, beat.node, beat.incarnation, datagram.from);
                }
                AnswerKind::Acknowledged
                | AnswerKind::Sealed
                | AnswerKind::NotAdmitted
                | AnswerKind::OtherMembership
                | AnswerKind::OtherTtl
                | AnswerKind::NotReady => {
                    self.challenger
                        .on_beat(now, beat.node, beat.incarnation, datagram.from);
                }
            }
            beat::seal_answer(&key, beat.node, &answer)
        } else {
            self.counters.challenged.fetch_add(1, Ordering::Relaxed);
            beat::seal_challenge(&key, &beat, self.own, self.nonce)
        };
        // A lost answer is a lost beat; the next one comes.
        if self.ports.answer(which, &reply, datagram.from).is_err() {
            self.counters.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn open(&self, bytes: &[u8]) -> Result<(BeatKey, OpenedBeat), Dropped> {
        let claim = beat::claim(bytes)?;
        let key = self.keys.key(claim).ok_or(Dropped::NoKey)?;
        let opened = beat::open_beat(&key, bytes)?;
        Ok((key, opened))
    }
}

/// The newest beat of each node: what is not newer is a replay.
type Newest = BTreeMap<NodeId, (Incarnation, u64)>;

#[cfg(test)]
mod tests;
