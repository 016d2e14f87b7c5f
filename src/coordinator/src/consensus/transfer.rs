//! Transfer of leadership, with a guard against the one that never ends.
//!
//! From the moment a transfer starts, openraft refuses proposals until another node leads, and it has
//! no way to call the transfer off. So the target is chosen with care, and if nobody leads when
//! an election timeout has passed, this node stops its own Raft: the others then elect without it,
//! and the process starts anew.

use std::sync::atomic::Ordering;

use haft_store::PeerId;
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{Instant, timeout_at};

use super::handle::Consensus;
use super::types::position;
use super::watchdog::StopReason;

/// Why leadership did not move.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransferError {
    /// There is nothing to hand over. Nothing was done.
    #[error("this node does not lead")]
    NotLeader,
    /// The target cannot lead. Nothing was done.
    #[error("node {target} cannot lead: {reason}")]
    Unfit {
        /// The target.
        target: PeerId,
        /// Why.
        reason: &'static str,
    },
    /// The transfer did not end; this node has stopped its Raft.
    #[error("the transfer to node {target} did not end; this node has stopped its raft")]
    Stuck {
        /// The target.
        target: PeerId,
    },
}

impl Consensus {
    /// Hands leadership to a live voter once it holds the whole log, which is waited for until `deadline`; then
    /// within an election timeout or until `deadline`, whichever is later: a transfer that has begun cannot be
    /// called off.
    ///
    /// # Errors
    /// See [`TransferError`]; after `Stuck` the process should end.
    pub async fn transfer_to(
        &self,
        target: PeerId,
        deadline: impl Into<Instant>,
    ) -> Result<(), TransferError> {
        let deadline = deadline.into();
        self.caught_up(target, deadline).await?;
        self.sight().leads().ok_or(TransferError::NotLeader)?;
        let timings = self.sight().timings;
        let deadline = deadline.max(Instant::now() + timings.election_max);
        self.sight().handing_over.store(true, Ordering::SeqCst);
        if self
            .raft()
            .trigger()
            .transfer_leader(target.0)
            .await
            .is_err()
        {
            return Err(TransferError::NotLeader);
        }
        let mut metrics = self.raft().metrics();
        let own = self.id().0;
        loop {
            let led_by = metrics.borrow_watched().current_leader;
            if led_by.is_some_and(|leader| leader != own) {
                self.sight().handing_over.store(false, Ordering::SeqCst);
                return Ok(());
            }
            if !matches!(timeout_at(deadline, metrics.changed()).await, Ok(Ok(()))) {
                self.stop(StopReason::TransferStuck).await;
                return Err(TransferError::Stuck { target });
            }
        }
    }

    /// A leader that writes is always a little ahead: the target is given the time to follow.
    async fn caught_up(&self, target: PeerId, deadline: Instant) -> Result<(), TransferError> {
        let mut metrics = self.raft().metrics();
        loop {
            self.sight().leads().ok_or(TransferError::NotLeader)?;
            self.check_target(target)?;
            if self.has_whole_log(target) {
                return Ok(());
            }
            if !matches!(timeout_at(deadline, metrics.changed()).await, Ok(Ok(()))) {
                let reason = "its log is behind";
                return Err(TransferError::Unfit { target, reason });
            }
        }
    }

    fn has_whole_log(&self, target: PeerId) -> bool {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|all| all.get(&target.0).cloned().flatten())
            .map(|matched| position(&matched).index);
        matched >= metrics.last_log_index
    }

    fn check_target(&self, target: PeerId) -> Result<(), TransferError> {
        let unfit = |reason| Err(TransferError::Unfit { target, reason });
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        if target == self.id() {
            return unfit("it leads already");
        }
        if !metrics
            .membership_config
            .voter_ids()
            .any(|id| id == target.0)
        {
            return unfit("it does not vote");
        }
        let heard = metrics
            .heartbeat
            .as_ref()
            .and_then(|all| all.get(&target.0).cloned().flatten())
            .is_some_and(|acked| acked.elapsed() < self.sight().timings.heartbeat * 3);
        if !heard {
            return unfit("it does not answer");
        }
        Ok(())
    }
}
