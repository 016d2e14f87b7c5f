//! What consensus asks of a store.
//!
//! Two words are kept apart. A write is *visible* when the call returns: reads see it. It is *durable*
//! when its [`Done`] runs: it outlives a crash. Writes become durable in the order of the calls, votes
//! and entries alike, because they share one write-ahead log. There is no error for a write that the
//! disk refuses: the process aborts, since nobody may say what such a disk still holds.

use std::time::Duration;

use crate::boot::Boot;
use crate::form::FormError;
use crate::model::{
    LogBounds, LogPosition, Membership, MembershipAt, PeerId, Record, StoreIdentity, Vote,
};
use crate::peer_memory::PeerMemory;
use crate::snapshot::{Snapshot, SnapshotFault};

/// Runs once, on the flusher's thread, when a write is durable. It must not block.
pub type Done = Box<dyn FnOnce() + Send>;

/// A state row: key and content.
pub type Row = (Vec<u8>, Vec<u8>);

/// One change of the state rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowChange {
    /// Writes a row.
    Put {
        /// Key of the row.
        key: Vec<u8>,
        /// Content of the row.
        value: Vec<u8>,
    },
    /// Deletes a row.
    Delete {
        /// Key of the row.
        key: Vec<u8>,
    },
}

/// Why entries were not appended. A fault in the caller: nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The entry does not follow the last one.
    #[error("entry {at} cannot follow {last:?}: the log would have a hole")]
    Hole {
        /// The entry.
        at: LogPosition,
        /// The end of the log.
        last: Option<LogPosition>,
    },
}

/// Why a read failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The database does not answer.
    #[error("the database refused the read: {detail}")]
    Database {
        /// What it said.
        detail: String,
    },
    /// A record is not readable.
    #[error("the record of {what} is not readable")]
    Form {
        /// Which record.
        what: String,
        /// Why.
        #[source]
        source: FormError,
    },
    /// The stored snapshot is damaged.
    #[error("the stored snapshot is damaged")]
    Snapshot(#[source] SnapshotFault),
}

/// Sees what enters and leaves the log, under the store's lock and before it becomes visible.
///
/// It serves rules that must hold from the moment an entry is in the log, not from its commit: the
/// seal that a `Closing` entry puts on an incarnation. On open the store calls it for what is already
/// there, in the same order: the snapshot, then every entry after it. Purging is not reported, since
/// what was purged is in the snapshot. It must not call the store and must not block.
pub trait AppendObserver: Send {
    /// A snapshot is the new ground: what was seen up to its last entry is in it. Entries above it stay in the log and
    /// are not shown again. `in_force` is the latest membership of both.
    fn on_snapshot(&mut self, snapshot: &Snapshot, in_force: &MembershipAt);
    /// A command enters the log.
    fn on_append(&mut self, at: LogPosition, payload: &[u8]);
    /// A membership enters the log.
    fn on_membership(&mut self, at: LogPosition, membership: &Membership);
    /// A leader's first entry, which carries nothing, enters the log.
    fn on_blank(&mut self, at: LogPosition);
    /// Every entry above `kept` leaves the log; every entry, if that is absent. `in_force` is the latest
    /// membership that stays: what an entry that leaves had changed is changed back.
    fn on_truncate(&mut self, kept: Option<LogPosition>, in_force: &MembershipAt);
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl AppendObserver for NoObserver {
    fn on_snapshot(&mut self, _: &Snapshot, _: &MembershipAt) {}
    fn on_append(&mut self, _: LogPosition, _: &[u8]) {}
    fn on_membership(&mut self, _: LogPosition, _: &Membership) {}
    fn on_blank(&mut self, _: LogPosition) {}
    fn on_truncate(&mut self, _: Option<LogPosition>, _: &MembershipAt) {}
}

/// A coordinator's durable memory. Calls may come from any thread; none waits for the disk.
pub trait LogStore: Send + Sync + 'static {
    /// Whose store this is.
    fn identity(&self) -> &StoreIdentity;
    /// The starts on this store, oldest first; the last is the present one.
    fn boots(&self) -> Vec<Boot>;
    /// Whether nobody has ever started on this store before. What else it holds says less: a coordinator may have
    /// lived, voted and acknowledged without writing an entry.
    fn is_first_start(&self) -> bool {
        self.boots().last().is_none_or(|boot| boot.counter <= 1)
    }
    /// Where the log begins and ends.
    fn bounds(&self) -> LogBounds;
    /// The entries from `from` to below `below`, at least one if there is any, and no more than fit
    /// `bytes_max` bytes of payload.
    ///
    /// # Errors
    /// A record cannot be read.
    fn read(&self, from: u64, below: u64, bytes_max: usize) -> Result<Vec<Record>, ReadError>;
    /// Appends entries that follow the last one; an empty log may begin anywhere.
    ///
    /// # Errors
    /// They do not follow it; nothing was written and `done` never runs.
    fn append(&self, records: &[Record], done: Done) -> Result<(), AppendError>;
    /// Deletes every entry above `last_kept`.
    ///
    /// # Errors
    /// The record of `last_kept` cannot be read.
    fn truncate_after(&self, last_kept: Option<u64>) -> Result<(), ReadError>;
    /// Deletes every entry up to `through`, included. `through` may lie beyond the last entry when a
    /// snapshot was installed; the log then is empty and continues after it.
    ///
    /// # Errors
    /// The record of `through` cannot be read.
    fn purge(&self, through: LogPosition) -> Result<(), ReadError>;
    /// The stored vote.
    fn vote(&self) -> Option<Vote>;
    /// Stores the vote.
    fn save_vote(&self, vote: Vote, done: Done);
    /// The last entry known to be committed when it was last noted.
    fn committed(&self) -> Option<LogPosition>;
    /// Notes the last committed entry; durable some time later.
    fn save_committed(&self, committed: Option<LogPosition>);
    /// The entry that the state rows stand for.
    fn applied(&self) -> Option<LogPosition>;
    /// Writes rows and the applied entry in one batch; durable some time later.
    fn save_applied(&self, at: LogPosition, rows: &[RowChange]);
    /// Every state row, in the order of the keys.
    ///
    /// # Errors
    /// The database refuses.
    fn rows(&self) -> Result<Vec<Row>, ReadError>;
    /// The stored snapshot.
    ///
    /// # Errors
    /// It is damaged.
    fn snapshot(&self) -> Result<Option<Snapshot>, ReadError>;
    /// Stores a snapshot of our own state in place of the one before.
    fn save_snapshot(&self, snapshot: &Snapshot, done: Done);
    /// Stores a snapshot that came from the leader, and the rows that it gives, in one batch.
    fn install_snapshot(&self, snapshot: &Snapshot, rows: &[RowChange], done: Done);
    /// What is remembered of a peer.
    fn peer_memory(&self, peer: PeerId) -> Option<PeerMemory>;
    /// Remembers; durable some time later.
    fn save_peer_memory(&self, peer: PeerId, memory: &PeerMemory);
    /// Runs `done` when everything written before this call is durable.
    fn after_sync(&self, done: Done);
    /// How long the oldest write has waited to become durable; nothing when none waits.
    fn last_sync_age(&self) -> Option<Duration>;
}
