//! The beat port: one socket per address family, a nonce and an address for every coordinator.
//!
//! Sends the same beat to every recipient and opens the answers. What is malformed, wrongly keyed or not
//! for this life is dropped and counted. Knows no majorities: haft-engine counts them.

use crate::kernel::clock::boot_id;
use crate::order::BeatAddresses;
use haft_api::beat::{BeatKey, DATAGRAM_MAX, Dropped, OpenedAnswer, claim, open_answer, seal_beat};
use haft_api::challenge;
use haft_engine::ids::{BootId, Incarnation, NodeId};
use haft_engine::session::{Answer, Beat};
use haft_engine::witness::Speaker;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

/// Datagrams read at one visit, so that a flood cannot keep the lease thread from its renewals.
const READ_LIMIT: usize = 64;
/// Beats without an answer after which the coordinator's next address is tried.
const UNANSWERED_MAX: u32 = 2;

/// Sockets and what is known of each coordinator's end.
#[derive(Debug)]
pub(super) struct BeatPort {
    v4: UdpSocket,
    /// Absent where the kernel has no IPv6.
    v6: Option<UdpSocket>,
    peers: BTreeMap<NodeId, Peer>,
    life: Option<Life>,
    last: Option<Beat>,
    /// Said to whoever challenges this machine to show that it lives; absent where it cannot be read.
    boot: Option<BootId>,
    counts: Counts,
}

/// Whose beats and answers are sealed with what.
#[derive(Debug)]
struct Life {
    incarnation: Incarnation,
    keys: Vec<BeatKey>,
}

/// One coordinator's end.
#[derive(Clone, Debug)]
struct Peer {
    addresses: Vec<SocketAddr>,
    /// Which of them is in use.
    current: usize,
    nonce: u64,
    /// The beat that was re-sent to answer a challenge; once each.
    challenged: u64,
    unanswered: u32,
}

/// What happened to datagrams since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Counts {
    /// Sent, repetitions after a challenge included.
    pub(super) sent: u64,
    /// Authentic answers.
    pub(super) answers: u64,
    /// Challenges met.
    pub(super) challenges: u64,
    /// Answers to challenges whether this machine lives.
    pub(super) witnessed: u64,
    /// Too short, too long, or of another kind.
    pub(super) malformed: u64,
    /// For another life, or sealed with a key that is not ours.
    pub(super) unauthentic: u64,
    /// Answers of another epoch of the cluster, which count for nothing.
    pub(super) foreign: u64,
    /// Could not be sent; the next beat tries again.
    pub(super) unsent: u64,
}

impl BeatPort {
    /// Opens the sockets in this thread's network namespace.
    ///
    /// # Errors
    /// When not even an IPv4 socket can be opened.
    pub(super) fn open() -> io::Result<BeatPort> {
        let v6 = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)).and_then(|socket| {
            socket.set_only_v6(true)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
            socket.set_nonblocking(true)?;
            Ok(UdpSocket::from(socket))
        });
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        v4.set_nonblocking(true)?;
        Ok(BeatPort {
            v4,
            v6: v6.ok(),
            peers: BTreeMap::new(),
            life: None,
            last: None,
            boot: boot_id().ok().map(|boot| BootId(boot.0)),
            counts: Counts::default(),
        })
    }

    /// Beats are of this life from now on. Nonces belong to coordinators and are kept.
    pub(super) fn begin(&mut self, incarnation: Incarnation, keys: Vec<BeatKey>) {
        self.life = Some(Life { incarnation, keys });
        self.last = None;
        for peer in self.peers.values_mut() {
            peer.challenged = 0;
        }
    }

    /// Where the coordinators are. Replaces what was known, but for the nonces.
    pub(super) fn set_addresses(&mut self, addresses: &BeatAddresses) {
        self.peers.retain(|node, _| addresses.contains_key(node));
        for (node, found) in addresses {
            let peer = self.peers.entry(*node).or_insert_with(|| Peer {
                addresses: Vec::new(),
                current: 0,
                nonce: 0,
                challenged: 0,
                unanswered: 0,
            });
            if peer.addresses != *found {
                peer.addresses.clone_from(found);
                peer.current = 0;
            }
        }
    }

    /// Sends `beat` to each recipient whose address is known.
    pub(super) fn send(&mut self, beat: &Beat, recipients: &[NodeId]) {
        self.last = Some(*beat);
        for node in recipients {
            let Some(peer) = self.peers.get_mut(node) else {
                continue;
            };
            if peer.unanswered >= UNANSWERED_MAX && peer.addresses.len() > 1 {
                peer.current = (peer.current + 1) % peer.addresses.len();
                peer.unanswered = 0;
            }
            peer.unanswered = peer.unanswered.saturating_add(1);
            self.send_to(*node, beat);
        }
    }

    /// Every authentic answer that has come. Challenges are met here: the last beat goes again to that
    /// coordinator with the nonce it asks for; its send time stays, so the lease gains nothing.
    pub(super) fn receive(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut buffer = [0; DATAGRAM_MAX + 1];
        for _ in 0..READ_LIMIT {
            let Some((length, from)) = self.read(&mut buffer) else {
                break;
            };
            if challenge::is_one(&buffer[..length]) {
                self.answer_challenge(&buffer[..length], from);
                continue;
            }
            match self.open_answer(&buffer[..length]) {
                Ok(OpenedAnswer::Answer(answer)) => {
                    self.counts.answers += 1;
                    if let Some(peer) = self.peers.get_mut(&answer.from) {
                        peer.unanswered = 0;
                    }
                    answers.push(answer);
                }
                Ok(OpenedAnswer::Challenge { from, nonce }) => self.meet_challenge(from, nonce),
                Err(Dropped::Length | Dropped::Foreign | Dropped::Field) => {
                    self.counts.malformed += 1;
                }
                Err(Dropped::NoKey | Dropped::Tag | Dropped::Replayed) => {
                    self.counts.unauthentic += 1;
                }
            }
        }
        answers
    }

    /// An answer of another epoch; the first is told.
    pub(super) fn count_foreign(&mut self) {
        if self.counts.foreign == 0 {
            tracing::error!(
                "a coordinator answers from another epoch of the cluster; its answers are dropped"
            );
        }
        self.counts.foreign += 1;
    }

    /// What happened to datagrams so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Descriptors that are readable when an answer has come.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.v4.as_fd()).chain(self.v6.as_ref().map(AsFd::as_fd))
    }

    /// Answers at once, also for a life whose session has ended: the machine lives, whatever the log holds of it (R3a).
    fn answer_challenge(&mut self, bytes: &[u8], from: SocketAddr) {
        match (self.lives(bytes), &self.v6) {
            (Ok(answer), v6) => {
                let socket = match (from.ip(), v6) {
                    (IpAddr::V6(_), Some(v6)) => v6,
                    (IpAddr::V4(_) | IpAddr::V6(_), _) => &self.v4,
                };
                match socket.send_to(&answer, from) {
                    Ok(_) => self.counts.witnessed += 1,
                    Err(_) => self.counts.unsent += 1,
                }
            }
            (Err(Dropped::Length | Dropped::Foreign | Dropped::Field), _) => {
                self.counts.malformed += 1;
            }
            (Err(Dropped::NoKey | Dropped::Tag | Dropped::Replayed), _) => {
                self.counts.unauthentic += 1;
            }
        }
    }

    fn lives(&self, bytes: &[u8]) -> Result<Vec<u8>, Dropped> {
        let claim = challenge::claim(bytes)?;
        let life = self.life.as_ref().ok_or(Dropped::NoKey)?;
        let mut keys = life.keys.iter();
        let key = keys
            .find(|key| key.generation == claim.generation)
            .filter(|_| claim.incarnation == life.incarnation)
            .ok_or(Dropped::NoKey)?;
        let challenge::Opened::Question(question) = challenge::open(key, bytes)? else {
            return Err(Dropped::Field);
        };
        let answer = challenge::Answer {
            question,
            speaker: Speaker::Agent,
            boot: self.boot.ok_or(Dropped::NoKey)?,
        };
        Ok(challenge::seal_answer(key, &answer))
    }

    fn meet_challenge(&mut self, from: NodeId, nonce: u64) {
        self.counts.challenges += 1;
        let Some(beat) = self.last else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        peer.unanswered = 0;
        peer.nonce = nonce;
        if peer.challenged < beat.sequence {
            peer.challenged = beat.sequence;
            self.send_to(from, &beat);
        }
    }

    fn send_to(&mut self, node: NodeId, beat: &Beat) {
        let (Some(peer), Some(life)) = (self.peers.get(&node), &self.life) else {
            return;
        };
        let (Some(key), Some(address)) = (life.keys.last(), peer.addresses.get(peer.current))
        else {
            return;
        };
        let datagram = seal_beat(key, beat, peer.nonce);
        let socket = match (address.ip(), &self.v6) {
            (IpAddr::V4(_), _) => &self.v4,
            (IpAddr::V6(_), Some(v6)) => v6,
            (IpAddr::V6(_), None) => {
                self.counts.unsent += 1;
                return;
            }
        };
        match socket.send_to(&datagram, address) {
            Ok(_) => self.counts.sent += 1,
            Err(_) => self.counts.unsent += 1,
        }
    }

    fn read(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        std::iter::once(&self.v4)
            .chain(&self.v6)
            .find_map(|socket| match socket.recv_from(buffer) {
                Ok(received) => Some(received),
                // A coordinator's closed port is told by ICMP on the next call; the call after that reads on.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    socket.recv_from(buffer).ok()
                }
                Err(_) => None,
            })
    }

    fn open_answer(&self, bytes: &[u8]) -> Result<OpenedAnswer, Dropped> {
        let claim = claim(bytes)?;
        let life = self.life.as_ref().ok_or(Dropped::NoKey)?;
        if claim.incarnation != life.incarnation {
            return Err(Dropped::NoKey);
        }
        let key = life
            .keys
            .iter()
            .find(|key| key.generation == claim.generation)
            .ok_or(Dropped::NoKey)?;
        open_answer(key, bytes)
    }
}

#[cfg(test)]
mod tests;
