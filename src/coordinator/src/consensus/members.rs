//! The membership of the Raft group, as the rest of haftd sees it, and its changes.
//!
//! One change at a time: a change names the membership it changes, and openraft refuses it when
//! another came first. Ids are never reused; a node that lost its disk joins under a new one.

use std::collections::{BTreeMap, BTreeSet};

use haft_store::{LogPosition, MembershipAt, Peer, PeerId};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Precondition};
use tokio::time::{Instant, timeout_at};

use super::handle::Consensus;
use super::types::{RaftPeer, Types, log_id, position, raft_peer};

/// A membership, and the entry that holds it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MembershipView {
    /// The entry; absent before the cluster was initialised.
    pub at: Option<LogPosition>,
    /// One set of voters, or two while the membership is joint: then a majority of each must agree.
    pub configs: Vec<BTreeSet<PeerId>>,
    /// Every voter and learner.
    pub peers: BTreeMap<PeerId, Peer>,
}

impl MembershipView {
    pub(super) fn of(stored: &MembershipAt) -> Self {
        Self {
            at: stored.at,
            configs: stored.membership.configs.clone(),
            peers: stored.membership.peers.clone(),
        }
    }

    /// Whether `peer` votes.
    #[must_use]
    pub fn is_voter(&self, peer: PeerId) -> bool {
        self.configs.iter().any(|set| set.contains(&peer))
    }

    /// Every voter, of both sets while joint.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<PeerId> {
        self.configs.iter().flatten().copied().collect()
    }

    /// Whether `these` hold a majority of each set.
    #[must_use]
    pub fn is_majority(&self, these: &BTreeSet<PeerId>) -> bool {
        !self.configs.is_empty()
            && self
                .configs
                .iter()
                .all(|set| set.intersection(these).count() > set.len() / 2)
    }
}

/// The two memberships that matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memberships {
    /// The latest in this node's log, committed or not: the one in force.
    pub effective: MembershipView,
    /// The latest committed one.
    pub committed: MembershipView,
}

/// Why the membership was not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another node leads.
    #[error("this node does not lead")]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<PeerId>,
    },
    /// The membership is another by now, or a change is under way.
    #[error("the membership is not the one that was to be changed")]
    Changed,
    /// The change itself makes no sense.
    #[error("the membership cannot be changed so: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// No answer in time: it may or may not take effect. A joint membership may remain; changing the
    /// voters again to the wanted set completes it.
    #[error("the outcome of the change is not known")]
    Unknown,
    /// Consensus has stopped.
    #[error("consensus has stopped")]
    Stopped,
}

impl From<RaftError<Types, ClientWriteError<Types>>> for ChangeError {
    fn from(error: RaftError<Types, ClientWriteError<Types>>) -> Self {
        let RaftError::APIError(error) = error else {
            return Self::Stopped;
        };
        match error {
            ClientWriteError::ForwardToLeader(to) => Self::NotLeader {
                leader: to.leader_id.map(PeerId),
            },
            ClientWriteError::LogEntryDiscarded(_) => Self::Unknown,
            ClientWriteError::PreconditionFailed(_)
            | ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
                Self::Changed
            }
            ClientWriteError::ChangeMembershipError(error) => Self::Invalid {
                reason: error.to_string(),
            },
        }
    }
}

impl Consensus {
    /// Adds a node that receives the log and does not vote. Returns when its entry is committed;
    /// how far the node itself has come is in the metrics.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn enlist(
        &self,
        id: PeerId,
        peer: Peer,
        deadline: impl Into<Instant>,
    ) -> Result<LogPosition, ChangeError> {
        // openraft's own waiting ends as soon as the learner is within reach of a snapshot.
        let change = self.raft().add_learner(id.0, raft_peer(peer), false);
        let done = timeout_at(deadline.into(), change)
            .await
            .map_err(|_| ChangeError::Unknown)??;
        Ok(position(&done.log_id))
    }

    /// The same, and returns when the node holds the entry that added it, and so everything before
    /// it.
    ///
    /// # Errors
    /// See [`ChangeError`]; `Unknown` also when it does not catch up by `deadline`.
    pub async fn add_learner(
        &self,
        id: PeerId,
        peer: Peer,
        deadline: impl Into<Instant>,
    ) -> Result<LogPosition, ChangeError> {
        let deadline = deadline.into();
        let added = self.enlist(id, peer, deadline).await?;
        let mut metrics = self.raft().metrics();
        loop {
            let matched = {
                let metrics = metrics.borrow_watched();
                let replication = metrics.replication.as_ref().ok_or(ChangeError::Unknown)?;
                replication.get(&id.0).cloned().flatten()
            };
            if matched.is_some_and(|matched| matched.index >= added.index) {
                return Ok(added);
            }
            if !matches!(timeout_at(deadline, metrics.changed()).await, Ok(Ok(()))) {
                return Err(ChangeError::Unknown);
            }
        }
    }

    /// Makes exactly `voters` the voters, if the membership is still the one at `last`. Those who
    /// leave are removed, not kept as learners.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_voters(
        &self,
        voters: BTreeSet<PeerId>,
        last: LogPosition,
        deadline: impl Into<Instant>,
    ) -> Result<LogPosition, ChangeError> {
        let ids = voters.into_iter().map(|id| id.0).collect();
        self.change(ChangeMembers::ReplaceAllVoters(ids), last, deadline.into())
            .await
    }

    /// Removes a learner, if the membership is still the one at `last`.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn remove_learner(
        &self,
        id: PeerId,
        last: LogPosition,
        deadline: impl Into<Instant>,
    ) -> Result<LogPosition, ChangeError> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([id.0]));
        self.change(change, last, deadline.into()).await
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, RaftPeer>,
        last: LogPosition,
        deadline: Instant,
    ) -> Result<LogPosition, ChangeError> {
        let guard = Precondition::LastMembershipLogId {
            last_membership_log_id: Some(log_id(last)),
        };
        let change = self.raft().change_membership_if(change, false, [guard]);
        let done = timeout_at(deadline, change)
            .await
            .map_err(|_| ChangeError::Unknown)??;
        Ok(position(&done.log_id))
    }
}
