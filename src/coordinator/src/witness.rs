//! Challenges to machines that are said to be off, and what answers them (R3a).
//!
//! A question goes from the beat port to where the node's last beat came from and to its haftd, and is answered at once
//! by whatever of haft lives there; this coordinator's own haftd is answered for here. What an answer means is decided
//! by `haft_engine::witness` and whoever asked.

mod round;

pub use round::{Round, late_witnesses, listen_for_human};

use crate::beats::{BeatKeys, BeatPorts};
use crate::clock::boot_now;
use haft_api::beat::Dropped;
use haft_api::challenge::{self, Answer, Opened, Question};
use haft_engine::clock::Moment;
use haft_engine::ids::{BootId, Incarnation, NodeId};
use haft_engine::witness::{Challenge, Heard, LISTEN_MAX, Speaker, Witness};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;

/// Answers to one challenge that may wait: each process of the machine answers each of two questions once.
const ANSWERS_MAX: usize = 8;
/// Round trips remembered of each node; the longest of them counts.
const TRIPS: usize = 8;
/// How often a node's round trip is measured, and how often an ended life that still beats is challenged.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Answers of ended lives that may wait to be told to the leader; more of one machine say nothing new.
const LATE_MAX: usize = 64;

/// An answer of a life that the log has ended.
#[derive(Clone, Copy, Debug)]
pub struct Late {
    /// Which node.
    pub node: NodeId,
    /// Which life was challenged.
    pub incarnation: Incarnation,
    /// What answered.
    pub witness: Witness,
}

/// Asks and answers.
pub struct Challenger {
    /// One for each of this machine's addresses; a question goes out of all of them.
    sockets: Vec<UdpSocket>,
    own: NodeId,
    boot: BootId,
    keys: BeatKeys,
    /// Port of every haftd's beats.
    port: u16,
    known: Mutex<Known>,
    late: mpsc::Sender<Late>,
}

#[derive(Debug, Default)]
struct Known {
    /// Where the newest authentic beat of each node came from.
    sources: BTreeMap<NodeId, SocketAddr>,
    asked: BTreeMap<Challenge, Asked>,
    trips: BTreeMap<NodeId, Vec<Duration>>,
    /// Each node's newest life, and when it was last measured, or first heard.
    measured: BTreeMap<NodeId, (Incarnation, Moment)>,
    /// When each ended life was last challenged.
    suspected: BTreeMap<(NodeId, Incarnation), Moment>,
}

#[derive(Debug)]
struct Asked {
    node: NodeId,
    incarnation: Incarnation,
    sent: Moment,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    /// Somebody waits for the answer.
    Wanted(mpsc::Sender<Heard>),
    /// The round trip of a node that lives.
    Measure,
    /// A life that the log has ended beats on.
    Suspect,
}

impl Challenger {
    /// Asks over copies of the beat sockets. Answers of ended lives come out of the returned end.
    ///
    /// # Errors
    /// When a socket cannot be copied.
    pub fn new(
        ports: &BeatPorts,
        own: NodeId,
        boot: BootId,
        keys: BeatKeys,
        port: u16,
    ) -> io::Result<(Challenger, mpsc::Receiver<Late>)> {
        let (late, told) = mpsc::channel(LATE_MAX);
        let challenger = Challenger {
            sockets: ports.copies()?,
            own,
            boot,
            keys,
            port,
            known: Mutex::default(),
            late,
        };
        Ok((challenger, told))
    }

    /// An authentic beat of this node came from there.
    pub fn on_beat(&self, now: Moment, node: NodeId, incarnation: Incarnation, from: SocketAddr) {
        let due = {
            let mut known = self.known();
            known.sources.insert(node, from);
            due_in_life(&mut known.measured, now, node, incarnation)
        };
        if due {
            self.ask(node, incarnation, Purpose::Measure);
        }
    }

    /// A life that the log has ended still beats: whether it lives, only an answer to a challenge tells.
    pub fn on_ended_beat(
        &self,
        now: Moment,
        node: NodeId,
        incarnation: Incarnation,
        from: SocketAddr,
    ) {
        let due = {
            let mut known = self.known();
            known.sources.insert(node, from);
            due(&mut known.suspected, now, (node, incarnation))
        };
        if due {
            self.ask(node, incarnation, Purpose::Suspect);
        }
    }

    /// A datagram that is no beat.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn on_datagram(&self, now: Moment, bytes: &[u8], from: SocketAddr) -> Result<(), Dropped> {
        let claim = challenge::claim(bytes)?;
        let key = self.keys.key(claim).ok_or(Dropped::NoKey)?;
        match challenge::open(&key, bytes)? {
            Opened::Question(question) if question.node == self.own => {
                let answer = Answer {
                    question,
                    speaker: Speaker::Coordinator,
                    boot: self.boot,
                };
                self.put(&challenge::seal_answer(&key, &answer), from);
                Ok(())
            }
            Opened::Question(_) => Err(Dropped::Field),
            Opened::Answer(answer) => self.on_answer(now, &answer),
        }
    }

    fn on_answer(&self, now: Moment, answer: &Answer) -> Result<(), Dropped> {
        let heard = Heard {
            challenge: answer.question.challenge,
            witness: Witness {
                by: self.own,
                speaker: answer.speaker,
                boot: answer.boot,
            },
        };
        let mut known = self.known();
        let asked = known.asked.get(&heard.challenge).ok_or(Dropped::Replayed)?;
        let (node, incarnation) = (answer.question.node, answer.question.incarnation);
        if (asked.node, asked.incarnation) != (node, incarnation) {
            return Err(Dropped::Replayed);
        }
        let trip = now.since(asked.sent);
        match &asked.purpose {
            // A full queue holds answers that say the same.
            Purpose::Wanted(waiting) => drop(waiting.try_send(heard)),
            Purpose::Measure => {}
            Purpose::Suspect => {
                let _ = self.late.try_send(Late {
                    node,
                    incarnation,
                    witness: heard.witness,
                });
            }
        }
        if trip > LISTEN_MAX {
            return Ok(()); // No round trip: it waited in somebody's socket.
        }
        let trips = known.trips.entry(node).or_default();
        if trips.len() >= TRIPS {
            trips.remove(0);
        }
        trips.push(trip);
        Ok(())
    }

    /// Sends this challenge to everything of that machine; its answers come out of the returned end.
    pub fn challenge(
        &self,
        node: NodeId,
        incarnation: Incarnation,
        challenge: Challenge,
    ) -> mpsc::Receiver<Heard> {
        let (waiting, answers) = mpsc::channel(ANSWERS_MAX);
        self.send(node, incarnation, challenge, Purpose::Wanted(waiting));
        answers
    }

    /// The longest round trip heard of this node; zero before the first.
    pub fn longest_round_trip(&self, node: NodeId) -> Duration {
        let known = self.known();
        let trips = known.trips.get(&node);
        let longest = trips.and_then(|trips| trips.iter().max());
        longest.copied().unwrap_or_default()
    }

    fn ask(&self, node: NodeId, incarnation: Incarnation, purpose: Purpose) {
        if let Some(challenge) = draw() {
            self.send(node, incarnation, challenge, purpose);
        }
    }

    fn send(&self, node: NodeId, incarnation: Incarnation, challenge: Challenge, purpose: Purpose) {
        let Some(key) = self.keys.newest(node, incarnation) else {
            return;
        };
        let haftd = self.keys.host(node);
        let haftd = haftd.map(|host| SocketAddr::new(host, self.port));
        let now = boot_now();
        let source = {
            let mut known = self.known();
            known
                .asked
                .retain(|_, asked| now.since(asked.sent) < LISTEN_MAX);
            let asked = Asked {
                node,
                incarnation,
                sent: now,
                purpose,
            };
            known.asked.insert(challenge, asked);
            known.sources.get(&node).copied()
        };
        let question = Question {
            node,
            incarnation,
            challenge,
            from: self.own,
        };
        let datagram = challenge::seal_question(&key, &question);
        for address in source.into_iter().chain(haftd) {
            self.put(&datagram, address);
        }
    }

    /// What cannot be sent is one witness less; others are asked, too.
    fn put(&self, datagram: &[u8], to: SocketAddr) {
        for socket in &self.sockets {
            let _ = socket.send_to(datagram, to);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().expect(crate::POISON)
    }
}

/// Whether it is time to measure. Not when a life is first heard: its machine has just come, its haftd may not run yet
/// and its hardware address has to be asked for, and how long that takes would be waited for by every fence order
/// against it while it is remembered (R3a: twice the longest round trip).
fn due_in_life(
    measured: &mut BTreeMap<NodeId, (Incarnation, Moment)>,
    now: Moment,
    node: NodeId,
    incarnation: Incarnation,
) -> bool {
    let (life, at) = *measured.entry(node).or_insert((incarnation, now));
    let due = life == incarnation && now.since(at) >= MEASURE_EVERY;
    if due || life != incarnation {
        measured.insert(node, (incarnation, now));
    }
    due
}

/// Whether it is time again; forgets those that have been due for a while.
fn due<K: Ord>(last: &mut BTreeMap<K, Moment>, now: Moment, key: K) -> bool {
    let at = last.get(&key);
    let due = at.is_none_or(|at| now.since(*at) >= MEASURE_EVERY);
    if due {
        last.retain(|_, at| now.since(*at) < MEASURE_EVERY);
        last.insert(key, now);
    }
    due
}

/// A challenge that nobody could know before; none where the kernel gives no randomness.
pub fn draw() -> Option<Challenge> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).ok()?;
    Some(Challenge(u64::from_be_bytes(bytes)))
}

/// The boot that this haftd runs in.
///
/// # Errors
/// When procfs is missing, or holds something that is no boot id.
pub fn own_boot() -> io::Result<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "no boot id");
    text.trim_end().parse().map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_measured_now_and_then_and_not_when_it_is_first_heard() {
        let mut measured = BTreeMap::new();
        let mut due = |seconds: u64, life| {
            let now = Moment(seconds * 1_000_000_000);
            due_in_life(&mut measured, now, NodeId(1), Incarnation(life))
        };
        assert!(!due(100, 7));
        assert!(!due(104, 7));
        assert!(due(105, 7));
        assert!(!due(109, 7));
        assert!(!due(111, 8), "it has just come");
        assert!(!due(115, 8));
        assert!(due(116, 8));
    }
}
