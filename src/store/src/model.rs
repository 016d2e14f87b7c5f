//! The values a store keeps: positions, entries, votes, members.
//!
//! Plain data; how it looks on disk is in `form`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A cluster, drawn at random when it was initialised; adopted once by a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

impl std::str::FromStr for ClusterId {
    type Err = BadClusterId;

    fn from_str(text: &str) -> Result<Self, BadClusterId> {
        let digits: Vec<u8> = text
            .chars()
            .map(|digit| {
                digit
                    .to_digit(16)
                    .and_then(|value| u8::try_from(value).ok())
            })
            .collect::<Option<_>>()
            .ok_or(BadClusterId)?;
        if digits.len() != 32 {
            return Err(BadClusterId);
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(id))
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a cluster id is 32 hexadecimal digits")]
pub struct BadClusterId;

/// A coordinator's number: the index of the entry that registered its node. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A place in the log. A term has one leader, so this names one entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogPosition {
    /// Term of the leader that wrote the entry.
    pub term: u64,
    /// Index of the entry; the first is 0.
    pub index: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// Where the log begins and ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogBounds {
    /// The last entry that was purged.
    pub purged: Option<LogPosition>,
    /// The last entry; the last purged one when no entry is left.
    pub last: Option<LogPosition>,
}

/// A member as the log knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peer {
    /// The administrator's name for the node.
    pub name: String,
    /// Peer addresses, `host:port`; several are redundant links.
    pub addresses: Vec<String>,
}

/// Voters and learners of the Raft group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    /// One set of voters, or two while the membership is joint: then both must agree.
    pub configs: Vec<BTreeSet<PeerId>>,
    /// Every voter and learner.
    pub peers: BTreeMap<PeerId, Peer>,
}

/// A membership and the entry that holds it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MembershipAt {
    /// The entry; absent before the first membership.
    pub at: Option<LogPosition>,
    /// The membership.
    pub membership: Membership,
}

/// What an entry carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A command of the state machine, opaque here.
    Normal(Vec<u8>),
    /// A membership.
    Membership(Membership),
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where it stands.
    pub at: LogPosition,
    /// What it carries.
    pub payload: Payload,
}

/// A Raft vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vote {
    /// The term voted in.
    pub term: u64,
    /// The node voted for.
    pub node: PeerId,
    /// Whether a majority granted it, so that `node` leads `term`.
    pub committed: bool,
}

/// Whose directory a store is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: PeerId,
    /// The node's name; checked too, because a name is what an administrator copies wrongly.
    pub name: String,
}
