//! The store as openraft's log.
//!
//! Two rules of openraft live here: a vote is on disk before `save_vote` returns, and the callback of
//! an append runs only after its sync. The store keeps both in one order.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use haft_store::{Done, LogStore, Record};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::mark::DurableMark;
use super::types::{
    RaftEntry, RaftLogId, RaftVote, Types, log_id, position, raft_entry, raft_vote, store_record,
    store_vote,
};

/// Bytes read for one message when the range would give more.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log of one coordinator; cheap to clone.
#[derive(Clone)]
pub(super) struct LogAdapter {
    store: Arc<dyn LogStore>,
    durable: DurableMark,
}

impl LogAdapter {
    pub(super) fn new(store: Arc<dyn LogStore>) -> Self {
        let durable = DurableMark::found(store.bounds().last);
        Self { store, durable }
    }

    /// How far the log is on the disk.
    pub(super) fn durable(&self) -> DurableMark {
        self.durable.clone()
    }
}

/// A callback and the wait for it. The store runs it or aborts the process, so the wait ends.
pub(super) fn durable() -> (Done, impl Future<Output = io::Result<()>>) {
    let (done, waited) = oneshot::channel();
    let done: Done = Box::new(move || {
        // Nobody waits any more when the caller was cancelled.
        let _ = done.send(());
    });
    (done, async {
        waited
            .await
            .map_err(|_| io::Error::other("the store was closed"))
    })
}

fn bounds_of(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let below = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, below)
}

impl RaftLogReader<Types> for LogAdapter {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let (from, below) = bounds_of(&range);
        let records = self
            .store
            .read(from, below, usize::MAX)
            .map_err(io::Error::other)?;
        Ok(records.into_iter().map(raft_entry).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(self.store.vote().map(raft_vote))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let records = self
            .store
            .read(start, end, READ_BYTES_MAX)
            .map_err(io::Error::other)?;
        Ok(records.into_iter().map(raft_entry).collect())
    }
}

impl RaftLogStorage<Types> for LogAdapter {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let bounds = self.store.bounds();
        Ok(LogState {
            last_purged_log_id: bounds.purged.map(log_id),
            last_log_id: bounds.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        let (done, waited) = durable();
        self.store.save_vote(store_vote(vote), done);
        waited.await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        self.store.save_committed(committed.as_ref().map(position));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        Ok(self.store.committed().map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<Record> = entries.into_iter().map(store_record).collect();
        let durable = self
            .durable
            .on_append(records.last().map(|record| record.at.index));
        let done = move || {
            durable();
            callback.io_completed(Ok(()));
        };
        self.store
            .append(&records, Box::new(done))
            .map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        let kept = last.map(|id| id.index);
        self.durable.on_truncate(kept);
        self.store.truncate_after(kept).map_err(io::Error::other)
    }

    async fn purge(&mut self, through: RaftLogId) -> Result<(), io::Error> {
        self.store
            .purge(position(&through))
            .map_err(io::Error::other)
    }
}

#[cfg(test)]
pub(super) mod tests;
