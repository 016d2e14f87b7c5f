//! The handle of consensus: propose, read, look.
//!
//! Every wait has a deadline, and an outcome that is not known is said to be unknown: the command may
//! be applied later, so it must be safe to apply or carry a precondition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use haft_store::{LogPosition, Peer, PeerId};
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{
    ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError,
};
use openraft::impls::ProgressResponder;
use openraft::{ReadPolicy, ServerState};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::config::PAYLOAD_BYTES_MAX;
use super::members::{ChangeError, Memberships};
use super::pool::Pool;
use super::types::{Command, CommittedLeader, Raft, Types, position, raft_peer};
use super::watchdog::{Leadership, Sight, StopReason};

/// On what a proposal depends besides the leader's own right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Nothing.
    Any,
    /// This node still leads this term, so that nothing was decided by others since it looked.
    LeaderTerm(u64),
}

/// A command that was committed and applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Its entry.
    pub at: LogPosition,
    /// What the state machine answered.
    pub response: Vec<u8>,
}

/// Why a proposal has no result. Only after `Unknown` may the command be applied all the same.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads; nothing was done.
    #[error("this node does not lead")]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<PeerId>,
    },
    /// This node does not lead the term of the condition any more; nothing was done.
    #[error("this node does not lead term {term} any more")]
    TermChanged {
        /// The term of the condition.
        term: u64,
    },
    /// This node leads without a quorum, or hands leadership over; nothing was done.
    #[error("the leader has no quorum")]
    NoQuorum,
    /// The command is too large; nothing was done.
    #[error("a command of {bytes} bytes is larger than {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// No answer in time, or the leader changed: the command may be applied, now or later.
    #[error("the outcome of the proposal is not known")]
    Unknown,
    /// Consensus has stopped. The command may be applied by the others.
    #[error("consensus has stopped")]
    Stopped,
}

/// Why a read was not confirmed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// Another node leads.
    #[error("this node does not lead")]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<PeerId>,
    },
    /// No majority confirms that this node leads.
    #[error("no majority confirms the leader")]
    NoQuorum,
    /// Not confirmed by the deadline.
    #[error("the read was not confirmed in time")]
    TimedOut,
    /// Consensus has stopped.
    #[error("consensus has stopped")]
    Stopped,
}

/// What openraft takes this node for. For display; [`Leadership`] is what may be acted upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RaftState {
    /// Receives the log, does not vote.
    Learner,
    /// Follows a leader.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped.
    Stopped,
}

/// How far a peer is, as its leader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeerProgress {
    /// Age of the last heartbeat that it acknowledged.
    pub ack_age: Option<Duration>,
    /// The last entry that it holds durably.
    pub matched: Option<LogPosition>,
}

/// Figures for people and monitoring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metrics {
    /// The current term.
    pub term: u64,
    /// What openraft takes this node for.
    pub state: RaftState,
    /// Who leads, as far as this node knows.
    pub leader: Option<PeerId>,
    /// Index of the last entry in the log.
    pub last_log: Option<u64>,
    /// The last applied entry.
    pub applied: Option<LogPosition>,
    /// The last entry known to be committed.
    pub committed: Option<LogPosition>,
    /// The last entry in the snapshot.
    pub snapshot: Option<LogPosition>,
    /// The last purged entry.
    pub purged: Option<LogPosition>,
    /// The peers; empty unless this node leads.
    pub peers: BTreeMap<PeerId, PeerProgress>,
    /// Age of the quorum's last acknowledgement, if this node leads.
    pub quorum_ack_age: Option<Duration>,
    /// Age of the oldest write that is not durable.
    pub sync_age: Option<Duration>,
    /// Dials to peers since the start, failed ones included.
    pub dials: u64,
}

pub(super) struct Shared {
    pub(super) raft: Raft,
    pub(super) sight: Arc<Sight>,
    pub(super) pool: Arc<Pool>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) memberships: watch::Receiver<Memberships>,
    pub(super) stopped: watch::Sender<Option<StopReason>>,
    /// Held by the transfer of leadership that is under way.
    pub(super) transfers: Mutex<()>,
    pub(super) tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Consensus on this node; cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    pub(super) shared: Arc<Shared>,
}

impl Consensus {
    /// This node's id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        PeerId(*self.shared.raft.node_id())
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.shared.raft
    }

    pub(super) fn sight(&self) -> &Sight {
        &self.shared.sight
    }

    /// Makes this node the only voter of a new cluster. Allowed once, on an empty log, on one node of a
    /// cluster only: two nodes that do it are two clusters.
    ///
    /// # Errors
    /// `Invalid` when the log or the vote is not empty.
    pub async fn initialize(&self, peer: Peer) -> Result<(), ChangeError> {
        let members = BTreeMap::from([(self.id().0, raft_peer(peer))]);
        match self.raft().initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(error)) => Err(ChangeError::Invalid {
                reason: error.to_string(),
            }),
            Err(RaftError::Fatal(_)) => Err(ChangeError::Stopped),
        }
    }

    /// Proposes a command, and waits until it is applied here.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(
        &self,
        payload: Vec<u8>,
        condition: Condition,
        deadline: impl Into<Instant>,
    ) -> Result<Applied, ProposeError> {
        let deadline = deadline.into();
        let bytes = payload.len();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes });
        }
        loop {
            let fresh = self.is_fresh_leader();
            let result = self
                .propose_once(payload.clone(), condition, deadline)
                .await;
            // A leader refuses until its quorum has answered for the first time, which takes
            // milliseconds; nothing was done yet.
            if !(fresh && result == Err(ProposeError::NoQuorum) && Instant::now() < deadline) {
                return result;
            }
            let mut metrics = self.raft().metrics();
            if self.is_fresh_leader() && timeout_at(deadline, metrics.changed()).await.is_err() {
                return result;
            }
        }
    }

    fn is_fresh_leader(&self) -> bool {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.state == ServerState::Leader && metrics.last_quorum_acked.is_none()
    }

    /// openraft would still accept: its lease is not over by our margin, or only our disk hangs.
    fn is_leader_without_right(&self) -> bool {
        let metrics = self.raft().metrics();
        let was_acked = {
            let metrics = metrics.borrow_watched();
            metrics.state == ServerState::Leader && metrics.last_quorum_acked.is_some()
        };
        was_acked && self.sight().leads().is_none()
    }

    async fn propose_once(
        &self,
        payload: Vec<u8>,
        condition: Condition,
        deadline: Instant,
    ) -> Result<Applied, ProposeError> {
        if self.is_leader_without_right() {
            return Err(ProposeError::NoQuorum);
        }
        let (responder, answer) = ProgressResponder::complete_only();
        let write = self.raft().write(Command(payload)).responder(responder);
        let write = match condition {
            Condition::Any => write,
            Condition::LeaderTerm(term) => write.with_leader(CommittedLeader::new(term)),
        };
        let sent = timeout_at(deadline, write.into_future()).await;
        sent.map_err(|_| ProposeError::Unknown)?
            .map_err(|_| ProposeError::Stopped)?;
        let answer = timeout_at(deadline, answer)
            .await
            .map_err(|_| ProposeError::Unknown)?;
        match answer.map_err(|_| ProposeError::Stopped)? {
            Ok(done) => Ok(Applied {
                at: position(&done.log_id),
                response: done.data.0,
            }),
            Err(error) => Err(self.propose_error(error, condition)),
        }
    }

    fn propose_error(&self, error: ClientWriteError<Types>, condition: Condition) -> ProposeError {
        match error {
            ClientWriteError::ForwardToLeader(to) => self.refused(&to, condition),
            ClientWriteError::LogEntryDiscarded(_) | ClientWriteError::ChangeMembershipError(_) => {
                ProposeError::Unknown
            }
            ClientWriteError::PreconditionFailed(_) => ProposeError::NotLeader { leader: None },
        }
    }

    fn refused(&self, to: &ForwardToLeader<Types>, condition: Condition) -> ProposeError {
        match to.reason {
            ForwardReason::LeaseExpired | ForwardReason::LeadershipTransfer => {
                ProposeError::NoQuorum
            }
            ForwardReason::NotLeader => match condition {
                Condition::LeaderTerm(term) if to.leader_id == Some(self.id().0) => {
                    ProposeError::TermChanged { term }
                }
                Condition::LeaderTerm(_) | Condition::Any => ProposeError::NotLeader {
                    leader: to.leader_id.map(PeerId),
                },
            },
        }
    }

    /// Confirms with a majority that this node leads, and waits until everything committed before is
    /// applied here. A read of the state after that is linearizable. Never by lease.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_index(&self, deadline: impl Into<Instant>) -> Result<LogPosition, ReadError> {
        let deadline = deadline.into();
        let confirmed = self.raft().ensure_linearizable(ReadPolicy::ReadIndex);
        match timeout_at(deadline, confirmed)
            .await
            .map_err(|_| ReadError::TimedOut)?
        {
            Ok(read) => Ok(position(read.log_id())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(ReadError::NotLeader {
                    leader: to.leader_id.map(PeerId),
                })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadError::NoQuorum)
            }
            Err(RaftError::Fatal(_)) => Err(ReadError::Stopped),
        }
    }

    /// Who leads, as far as this node may act upon it.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.clone()
    }

    /// The term that this node leads at this very moment, looked up anew; the watch above may be a
    /// little late. Before an act that cannot be undone this is not enough: [`Self::read_index`]
    /// asks a majority.
    #[must_use]
    pub fn leads_now(&self) -> Option<u64> {
        self.shared.sight.leads()
    }

    /// Whether the entry at `index`, if it is applied here, is on this node's disk.
    #[must_use]
    pub fn is_durable(&self, index: u64) -> bool {
        let sight = self.sight();
        // What is purged stands in a snapshot that outlives a crash.
        sight.durable.covers(index) || sight.store.bounds().purged.map(|at| at.index) >= Some(index)
    }

    /// Age of the quorum's last acknowledgement, if this node leads.
    #[must_use]
    pub fn quorum_ack_age(&self) -> Option<Duration> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let leads = metrics.state == ServerState::Leader;
        if leads && self.sight().is_alone(&metrics.membership_config) {
            return Some(Duration::ZERO);
        }
        let acked = metrics.last_quorum_acked.map(|acked| *acked);
        acked.map(|acked| acked.elapsed())
    }

    /// The membership in force and the committed one.
    #[must_use]
    pub fn membership(&self) -> watch::Receiver<Memberships> {
        self.shared.memberships.clone()
    }

    /// Figures for people and monitoring.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let mut peers: BTreeMap<PeerId, PeerProgress> = BTreeMap::new();
        for (id, acked) in metrics.heartbeat.iter().flatten() {
            let ack_age = acked.as_ref().map(|acked| acked.elapsed());
            peers.entry(PeerId(*id)).or_default().ack_age = ack_age;
        }
        for (id, matched) in metrics.replication.iter().flatten() {
            peers.entry(PeerId(*id)).or_default().matched = matched.as_ref().map(position);
        }
        Metrics {
            term: metrics.current_term,
            state: match metrics.state {
                ServerState::Learner => RaftState::Learner,
                ServerState::Follower => RaftState::Follower,
                ServerState::Candidate => RaftState::Candidate,
                ServerState::Leader => RaftState::Leader,
                ServerState::Shutdown => RaftState::Stopped,
            },
            leader: metrics.current_leader.map(PeerId),
            last_log: metrics.last_log_index,
            applied: metrics.last_applied.as_ref().map(position),
            committed: metrics.local_committed.as_ref().map(position),
            snapshot: metrics.snapshot.as_ref().map(position),
            purged: metrics.purged.as_ref().map(position),
            peers,
            quorum_ack_age: metrics.last_quorum_acked.map(|acked| acked.elapsed()),
            sync_age: self.shared.sight.store.last_sync_age(),
            dials: self.shared.pool.dials(),
        }
    }

    /// Takes a snapshot now; without it one is taken as the log grows.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn take_snapshot(&self) -> Result<(), ReadError> {
        self.raft()
            .trigger()
            .snapshot()
            .await
            .map_err(|_| ReadError::Stopped)
    }

    /// Waits until consensus has ended, and says why. The process should then end too.
    pub async fn stopped(&self) -> StopReason {
        let mut stopped = self.shared.stopped.subscribe();
        loop {
            if let Some(reason) = stopped.borrow_and_update().clone() {
                return reason;
            }
            if stopped.changed().await.is_err() {
                return StopReason::Shutdown;
            }
        }
    }

    /// Ends consensus on this node, closes the peer port and lets go of the store. Hand leadership over
    /// first, or the others wait for an election.
    pub async fn shutdown(&self) {
        self.stop(StopReason::Shutdown).await;
        for task in self.shared.tasks.lock().await.drain(..) {
            // A panic has ended the process already, where it matters.
            drop(task.await);
        }
    }

    pub(super) async fn stop(&self, reason: StopReason) {
        self.shared.stopped.send_if_modified(|stopped| {
            let first = stopped.is_none();
            if first {
                *stopped = Some(reason);
            }
            first
        });
        // An error here means that it has already stopped.
        drop(self.raft().shutdown().await);
    }
}
