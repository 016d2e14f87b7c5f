//! The openraft types of this project, and conversions to the store's.
//!
//! One leader per term (`leader_id_std`), so that a term and an index name one entry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use haft_store::{LogPosition, Membership, MembershipAt, Payload, Peer, PeerId, Record, Vote};
use openraft::impls::leader_id_std;
use openraft::{EntryPayload, LogId, StoredMembership};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// Opaque commands and responses; entries, votes and nodes of openraft.
    pub(super) Types:
        D = Command,
        R = Response,
        NodeId = u64,
        Node = RaftPeer,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

/// A command of the state machine. The serde derives satisfy openraft; nothing is stored that way.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Command(pub(super) Vec<u8>);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the state machine answers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Response(pub(super) Vec<u8>);

/// A member as openraft carries it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct RaftPeer {
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
}

pub(super) type CommittedLeader = openraft::alias::CommittedLeaderIdOf<Types>;
pub(super) type RaftLogId = LogId<CommittedLeader>;
pub(super) type RaftVote = openraft::Vote<leader_id_std::LeaderId<u64, u64>>;
pub(super) type RaftMembership = openraft::Membership<u64, RaftPeer>;
pub(super) type RaftStoredMembership = StoredMembership<CommittedLeader, u64, RaftPeer>;
pub(super) type RaftEntry = openraft::alias::EntryOf<Types>;
pub(super) type Raft = openraft::Raft<Types, super::machine::MachineAdapter>;

pub(super) fn log_id(at: LogPosition) -> RaftLogId {
    LogId::new(CommittedLeader::new(at.term), at.index)
}

pub(super) fn position(id: &RaftLogId) -> LogPosition {
    LogPosition {
        term: id.committed_leader_id().term,
        index: id.index,
    }
}

pub(super) fn raft_vote(vote: Vote) -> RaftVote {
    let mut out = RaftVote::new(vote.term, vote.node.0);
    out.committed = vote.committed;
    out
}

pub(super) fn store_vote(vote: &RaftVote) -> Vote {
    Vote {
        term: vote.leader_id.term,
        node: PeerId(vote.leader_id.voted_for),
        committed: vote.committed,
    }
}

pub(super) fn raft_peer(peer: Peer) -> RaftPeer {
    RaftPeer {
        name: peer.name,
        addresses: peer.addresses,
    }
}

fn store_peer(peer: &RaftPeer) -> Peer {
    Peer {
        name: peer.name.clone(),
        addresses: peer.addresses.clone(),
    }
}

pub(super) fn raft_membership(membership: Membership) -> RaftMembership {
    let mut nodes: BTreeMap<u64, RaftPeer> = membership
        .peers
        .into_iter()
        .map(|(id, peer)| (id.0, raft_peer(peer)))
        .collect();
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .into_iter()
        .map(|set| set.into_iter().map(|id| id.0).collect())
        .filter(|set: &BTreeSet<u64>| !set.is_empty())
        .collect();
    for voter in configs.iter().flatten() {
        nodes.entry(*voter).or_default();
    }
    if configs.is_empty() && nodes.is_empty() {
        return RaftMembership::default();
    }
    RaftMembership::new(configs, nodes).expect("no set is empty and every voter has a node")
}

pub(super) fn store_membership(membership: &RaftMembership) -> Membership {
    Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|set| set.iter().copied().map(PeerId).collect())
            .collect(),
        peers: membership
            .nodes()
            .map(|(id, peer)| (PeerId(*id), store_peer(peer)))
            .collect(),
    }
}

pub(super) fn raft_stored_membership(stored: MembershipAt) -> RaftStoredMembership {
    StoredMembership::new(stored.at.map(log_id), raft_membership(stored.membership))
}

pub(super) fn store_stored_membership(stored: &RaftStoredMembership) -> MembershipAt {
    MembershipAt {
        at: stored.log_id().as_ref().map(position),
        membership: store_membership(stored.membership()),
    }
}

pub(super) fn raft_entry(record: Record) -> RaftEntry {
    let payload = match record.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Normal(bytes) => EntryPayload::Normal(Command(bytes)),
        Payload::Membership(membership) => EntryPayload::Membership(raft_membership(membership)),
    };
    RaftEntry {
        log_id: log_id(record.at),
        payload,
    }
}

pub(super) fn store_record(entry: RaftEntry) -> Record {
    let payload = match entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(Command(bytes)) => Payload::Normal(bytes),
        EntryPayload::Membership(membership) => Payload::Membership(store_membership(&membership)),
    };
    Record {
        at: position(&entry.log_id),
        payload,
    }
}
