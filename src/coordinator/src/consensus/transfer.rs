//! Transfer of leadership: one at a time, in a task of its own, with a guard against the one that
//! never ends.
//!
//! From the moment a transfer starts, openraft refuses proposals until another node leads, and it
//! has no way to call the transfer off. So the target is chosen with care, and if nobody leads when
//! an election timeout has passed, this node stops its own Raft: the others then elect without it,
//! and the process starts anew. Whoever asked for it only waits: were the transfer theirs, one that
//! hangs up in the middle would leave a leader that Raft obeys and that never acts again.

use std::sync::atomic::{AtomicU64, Ordering};

use haft_store::PeerId;
use openraft::Instant as _;
use openraft::ServerState;
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
    /// The target was not elected, and this node leads again.
    #[error("node {target} was not elected; this node leads again")]
    Returned {
        /// The target.
        target: PeerId,
    },
    /// This node leads no more, and nobody else was elected in time.
    #[error("this node leads no more, and nobody was elected in time")]
    Leaderless,
    /// The transfer did not end; this node has stopped its Raft.
    #[error("the transfer to node {target} did not end; this node has stopped its raft")]
    Stuck {
        /// The target.
        target: PeerId,
    },
    /// Consensus has stopped.
    #[error("consensus has stopped")]
    Stopped,
}

/// The leadership that is being handed over, if one is: another node may lead before this one hears
/// of it, so this one does not act as its leader. It is bound to a term, because openraft's own
/// mark is: a new term clears both.
#[derive(Debug, Default)]
pub(super) struct HandingOver(AtomicU64);

/// No term: Raft's begin with 1.
const NONE: u64 = 0;
/// Whichever it is: until openraft has said in which term it took the order.
const ANY: u64 = u64::MAX;

impl HandingOver {
    /// Whether the leadership of `term` is being handed over.
    pub(super) fn concerns(&self, term: u64) -> bool {
        match self.0.load(Ordering::SeqCst) {
            NONE => false,
            ANY => true,
            of => of == term,
        }
    }

    fn begin(&self) -> Begun<'_> {
        self.0.store(ANY, Ordering::SeqCst);
        Begun(self)
    }
}

/// A transfer under way. However it ends, nothing of it stays behind.
struct Begun<'a>(&'a HandingOver);

impl Begun<'_> {
    fn in_term(&self, term: u64) {
        self.0.0.store(term, Ordering::SeqCst);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        // Planted: what a mark that nobody takes back does to every later term.
        let left = if crate::plant::is("handover") {
            ANY
        } else {
            NONE
        };
        self.0.0.store(left, Ordering::SeqCst);
    }
}

impl Consensus {
    /// Hands leadership to a live voter once it holds the whole log, which is waited for until
    /// `deadline`; then until `deadline`, but for one election timeout at least and two at most: a
    /// transfer that has begun cannot be called off. Nor is it by dropping this future: it goes on,
    /// and only its outcome is not heard.
    ///
    /// # Errors
    /// See [`TransferError`]; after `Stuck` the process should end.
    pub async fn transfer_to(
        &self,
        target: PeerId,
        deadline: impl Into<Instant>,
    ) -> Result<(), TransferError> {
        let (owner, deadline) = (self.clone(), deadline.into());
        let task = tokio::spawn(async move { owner.transfer(target, deadline).await });
        task.await.unwrap_or(Err(TransferError::Stopped))
    }

    async fn transfer(&self, target: PeerId, deadline: Instant) -> Result<(), TransferError> {
        let turn = timeout_at(deadline, self.shared.transfers.lock()).await;
        let _turn = turn.map_err(|_| TransferError::Unfit {
            target,
            reason: "another transfer is under way",
        })?;
        self.caught_up(target, deadline).await?;
        self.sight().leads().ok_or(TransferError::NotLeader)?;
        let begun = self.sight().handing_over.begin();
        let election = self.sight().timings.election_max;
        let now = Instant::now();
        let deadline = deadline.clamp(now + election, now + election * 2);
        match timeout_at(deadline, self.order_transfer(target)).await {
            Ok(Some(term)) => {
                begun.in_term(term);
                self.moved(term, target, deadline).await
            }
            Ok(None) => Err(TransferError::Stopped),
            Err(_) => Err(self.stuck(target).await),
        }
    }

    /// Orders the transfer, and says in which term openraft took the order: its answer to the
    /// second question stands behind the first one in its queue.
    async fn order_transfer(&self, target: PeerId) -> Option<u64> {
        let ordered = self.raft().trigger().transfer_leader(target.0).await;
        ordered.ok()?;
        let term = self
            .raft()
            .with_raft_state(|state| state.vote_ref().leader_id.term);
        term.await.ok()
    }

    /// Waits until another node leads than this one in `term`.
    async fn moved(
        &self,
        term: u64,
        target: PeerId,
        deadline: Instant,
    ) -> Result<(), TransferError> {
        let mut metrics = self.raft().metrics();
        let own = self.id().0;
        loop {
            let (leader, leads, now) = {
                let seen = metrics.borrow_watched();
                let leads = seen.state == ServerState::Leader;
                (seen.current_leader, leads, seen.current_term)
            };
            if leader.is_some_and(|leader| leader != own) {
                return Ok(());
            }
            if leads && now > term {
                return Err(TransferError::Returned { target });
            }
            match timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(TransferError::Stopped),
                Err(_) if leads => return Err(self.stuck(target).await),
                Err(_) => return Err(TransferError::Leaderless),
            }
        }
    }

    async fn stuck(&self, target: PeerId) -> TransferError {
        self.stop(StopReason::TransferStuck).await;
        TransferError::Stuck { target }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handover_ends_with_its_term_and_with_whoever_makes_it() {
        let handing_over = HandingOver::default();
        assert!(!handing_over.concerns(7));
        let begun = handing_over.begin();
        assert!(handing_over.concerns(7) && handing_over.concerns(8));
        begun.in_term(7);
        assert!(handing_over.concerns(7));
        assert!(!handing_over.concerns(8), "a new term begins free");
        drop(begun);
        assert!(!handing_over.concerns(7));
    }
}
