//! What members of the model Raft say to each other, and the snapshots they hand over.

use super::log::Record;
use haft_engine::command::VoterSets;
use haft_engine::state::ClusterState;
use std::rc::Rc;

/// A snapshot: state and membership as of an applied index.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Last applied index in it.
    pub(crate) index: u64,
    /// Term of that record.
    pub(crate) term: u64,
    /// The newest membership up to it.
    pub(crate) membership: VoterSets,
    /// The replicated state.
    pub(crate) state: ClusterState,
}

/// What peers say to each other.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A candidate (or one that asks before it becomes one) wants a vote.
    Vote {
        term: u64,
        last_index: u64,
        last_term: u64,
        ballot: Ballot,
    },
    /// The answer.
    VoteReply {
        term: u64,
        ballot: Ballot,
        granted: bool,
    },
    /// Records after `prev`, or a heartbeat.
    Append {
        term: u64,
        prev_index: u64,
        prev_term: u64,
        records: Vec<Record>,
        commit: u64,
    },
    /// Durable up to `matched`, or the place to go on from.
    AppendReply { term: u64, reply: Matched },
    /// The log no longer reaches back far enough.
    Install { term: u64, snapshot: Rc<Snapshot> },
    /// Stand for election now: a transfer.
    TimeoutNow { term: u64 },
}

/// What an election round is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ballot {
    /// Asks whether a vote would be granted; changes nothing.
    Before,
    /// The vote.
    Real,
    /// The vote, on a transfer: granted although a leader lives.
    Transfer,
}

/// How an append went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Matched {
    /// Everything up to here equals the leader's log and is durable.
    Upto(u64),
    /// The previous record differs or is missing; go on from here.
    TryFrom(u64),
}
