//! The caller's state machine as openraft's, and its snapshots.
//!
//! The state lives in memory. After a restart it is the stored snapshot, and openraft applies again
//! what was committed after it; the log keeps those entries until a later snapshot is durable. So
//! nothing is served that was not applied from a durable log.

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use haft_store::{LogPosition, LogStore, MembershipAt, Payload, RowChange, Snapshot};
use openraft::OptionalSend;
use openraft::RaftSnapshotBuilder;
use openraft::storage::{EntryResponder, RaftStateMachine};

use super::log::durable;
use super::members::MembershipView;
use super::types::{
    CommittedLeader, RaftLogId, RaftPeer, RaftStoredMembership, Response, Types, log_id, position,
    raft_stored_membership, store_record, store_stored_membership,
};

/// The replicated state. Called from one task, in the order of the log.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies one command and answers it. Total and deterministic: every coordinator does the same.
    /// Changes of the state rows go to `rows`; they are stored together with `at`.
    fn apply(&mut self, at: LogPosition, payload: &[u8], rows: &mut Vec<RowChange>) -> Vec<u8>;

    /// The whole state, in a form that [`StateMachine::restore`] reads.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the whole state by the one of a snapshot taken at `at`. The rows start empty.
    ///
    /// # Errors
    /// The bytes are not a state that this version knows; the coordinator stops.
    fn restore(
        &mut self,
        at: Option<LogPosition>,
        snapshot: &[u8],
        rows: &mut Vec<RowChange>,
    ) -> Result<(), RestoreError>;

    /// A membership took effect for good: its entry is committed and applied, or a snapshot gave it.
    fn membership_changed(&mut self, membership: &MembershipView) {
        let _ = membership;
    }

    /// Every entry up to `at` is applied, also those that carry no command.
    fn passed(&mut self, at: LogPosition) {
        let _ = at;
    }
}

/// The state of a snapshot is not readable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the state in the snapshot is not readable: {reason}")]
pub struct RestoreError {
    /// Why.
    pub reason: String,
}

/// What openraft calls snapshot data.
pub(super) type State = Vec<u8>;
type RaftSnapshotMeta = openraft::SnapshotMeta<CommittedLeader, u64, RaftPeer>;
pub(super) type RaftSnapshot = openraft::Snapshot<CommittedLeader, u64, RaftPeer, State>;

/// The state machine under openraft.
pub(super) struct MachineAdapter {
    store: Arc<dyn LogStore>,
    machine: Box<dyn StateMachine>,
    applied: Option<LogPosition>,
    membership: MembershipAt,
}

impl MachineAdapter {
    /// Restores the stored snapshot, if there is one.
    pub(super) fn new(
        store: Arc<dyn LogStore>,
        mut machine: Box<dyn StateMachine>,
    ) -> io::Result<Self> {
        let (mut applied, mut membership) = (None, MembershipAt::default());
        if let Some(snapshot) = store.snapshot().map_err(io::Error::other)? {
            // The rows on disk already stand at a later entry.
            let mut unused = Vec::new();
            machine
                .restore(snapshot.last, &snapshot.state, &mut unused)
                .map_err(io::Error::other)?;
            machine.membership_changed(&MembershipView::of(&snapshot.membership));
            // The membership is older than the rest of the snapshot.
            if let Some(at) = snapshot.last {
                machine.passed(at);
            }
            (applied, membership) = (snapshot.last, snapshot.membership);
        }
        Ok(Self {
            store,
            machine,
            applied,
            membership,
        })
    }

    fn apply_one(&mut self, item: EntryResponder<Types>, rows: &mut Vec<RowChange>) {
        let (entry, responder) = item;
        let record = store_record(entry);
        let response = match &record.payload {
            Payload::Blank => Vec::new(),
            Payload::Normal(bytes) => self.machine.apply(record.at, bytes, rows),
            Payload::Membership(membership) => {
                self.membership = MembershipAt {
                    at: Some(record.at),
                    membership: membership.clone(),
                };
                self.machine
                    .membership_changed(&MembershipView::of(&self.membership));
                Vec::new()
            }
        };
        self.applied = Some(record.at);
        self.machine.passed(record.at);
        // An unanswered responder would leave its proposer waiting for ever.
        if let Some(responder) = responder {
            responder.send(Response(response));
        }
    }
}

impl RaftStateMachine<Types> for MachineAdapter {
    type SnapshotData = State;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<RaftLogId>, RaftStoredMembership), io::Error> {
        Ok((
            self.applied.map(log_id),
            raft_stored_membership(self.membership.clone()),
        ))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut rows = Vec::new();
        while let Some(item) = entries.try_next().await? {
            self.apply_one(item, &mut rows);
        }
        // After a restart the first entries are applied a second time; the rows know them already.
        if let Some(at) = self.applied.filter(|at| self.store.applied() < Some(*at)) {
            self.store.save_applied(at, &rows);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            store: Arc::clone(&self.store),
            snapshot: Snapshot {
                last: self.applied,
                membership: self.membership.clone(),
                state: self.machine.snapshot(),
            },
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &RaftSnapshotMeta,
        state: State,
    ) -> Result<(), io::Error> {
        let snapshot = Snapshot {
            last: meta.last_log_id.as_ref().map(position),
            membership: store_stored_membership(&meta.last_membership),
            state,
        };
        let mut rows = Vec::new();
        self.machine
            .restore(snapshot.last, &snapshot.state, &mut rows)
            .map_err(io::Error::other)?;
        let (done, waited) = durable();
        self.store.install_snapshot(&snapshot, &rows, done);
        // The log is purged once this returns: the snapshot must outlive a crash by then.
        waited.await?;
        self.machine
            .membership_changed(&MembershipView::of(&snapshot.membership));
        if let Some(at) = snapshot.last {
            self.machine.passed(at);
        }
        self.applied = snapshot.last;
        self.membership = snapshot.membership;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        Ok(self
            .store
            .snapshot()
            .map_err(io::Error::other)?
            .map(raft_snapshot))
    }
}

/// Stores the state as it was when the builder was made.
pub(super) struct SnapshotBuilder {
    store: Arc<dyn LogStore>,
    snapshot: Snapshot,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = State;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let stored = self.store.snapshot().map_err(io::Error::other)?;
        let (done, waited) = durable();
        match stored.filter(|stored| stored.last > self.snapshot.last) {
            // One from the leader came in the meantime and is newer.
            Some(newer) => return Ok(raft_snapshot(newer)),
            None => self.store.save_snapshot(&self.snapshot, done),
        }
        waited.await?;
        Ok(raft_snapshot(self.snapshot.clone()))
    }
}

pub(super) fn raft_snapshot(snapshot: Snapshot) -> RaftSnapshot {
    RaftSnapshot {
        meta: RaftSnapshotMeta {
            last_log_id: snapshot.last.map(log_id),
            last_membership: raft_stored_membership(snapshot.membership),
        },
        snapshot: snapshot.state,
    }
}
