//! The store on RocksDB: one database, one write-ahead log, three column families.
//!
//! Vote, entries, snapshot and state rows share the log, so that one sync covers them all and none can
//! become durable before what was written ahead of it. Writes go to the log's buffer under one lock;
//! the flusher makes them durable. Nothing here waits for the disk, and a write that the
//! disk refuses ends the process.

mod flusher;
mod layout;
mod open;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prost::Message;
use rocksdb::{DB, Direction, IteratorMode, ReadOptions, WriteBatch};

pub use flusher::{DirectSync, Syncer};
pub use open::OpenError;

use crate::boot::Boot;
use crate::chain::Chain;
use crate::form::{RECORD_VERSION, decode, decode_record, encode_record, memory_of};
use crate::log_store::{
    AppendError, AppendObserver, Done, LogStore, NoObserver, ReadError, Row, RowChange,
};
use crate::model::{LogBounds, LogPosition, PeerId, Record, StoreIdentity, Vote};
use crate::observed::Observed;
use crate::peer_memory::PeerMemory;
use crate::record as pb;
use crate::snapshot::Snapshot;
use flusher::{Flusher, abort_on_lost_write};
use open::family;

/// How to open a store.
pub struct OpenOptions {
    /// The directory; made if it is missing, readable only by its owner.
    pub dir: PathBuf,
    /// Whose store it is.
    pub identity: StoreIdentity,
    /// Sees what enters and leaves the log.
    pub observer: Box<dyn AppendObserver>,
    /// How the log reaches the disk.
    pub syncer: Arc<dyn Syncer>,
}

impl OpenOptions {
    /// A store without observer, synced directly.
    #[must_use]
    pub fn new(dir: PathBuf, identity: StoreIdentity) -> Self {
        Self {
            dir,
            identity,
            observer: Box::new(NoObserver),
            syncer: Arc::new(DirectSync),
        }
    }
}

/// What the lock protects: the ends of the log and the small records, as they stand in the database.
struct Ends {
    bounds: LogBounds,
    anchor: Chain,
    tail: Chain,
    vote: Option<Vote>,
    committed: Option<LogPosition>,
    applied: Option<LogPosition>,
    observed: Observed,
}

/// A coordinator's store on disk.
pub struct RocksStore {
    // Dropped in this order: the flusher drains, the database closes, the lock falls.
    flusher: Flusher,
    db: Arc<DB>,
    ends: Mutex<Ends>,
    identity: StoreIdentity,
    boots: Vec<Boot>,
    _lock: File,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStore")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl RocksStore {
    /// Opens the directory, judges everything in it, and counts the start.
    ///
    /// # Errors
    /// The directory is not this node's, in use, or not whole; [`OpenError::remedy`] says what to do.
    pub fn open(options: OpenOptions) -> Result<Self, OpenError> {
        let OpenOptions {
            dir,
            identity,
            observer,
            syncer,
        } = options;
        let lock = open::lock_directory(&dir)?;
        let db = Arc::new(open::open_database(&dir.join("db"))?);
        let mut observed = Observed::new(observer);
        let found = open::inspect(&db, &identity, &mut observed)?;
        let boots = open::next_boots(found.boots)?;
        let history = pb::BootHistory {
            version: RECORD_VERSION,
            boots: boots.iter().copied().map(Into::into).collect(),
        };
        let mut batch = WriteBatch::default();
        batch.put_cf(
            family(&db, layout::META),
            layout::MARK,
            pb::StoreMark::from(&identity).encode_to_vec(),
        );
        batch.put_cf(
            family(&db, layout::META),
            layout::BOOTS,
            history.encode_to_vec(),
        );
        db.write(batch)
            .and_then(|()| db.flush_wal(true))
            .map_err(|error| OpenError::Database {
                detail: error.to_string(),
            })?;
        let of_flusher = Arc::clone(&db);
        let flush = move || {
            of_flusher
                .flush_wal(true)
                .map_err(|error| error.to_string())
        };
        let flusher =
            Flusher::start(flush, syncer).map_err(|_| OpenError::System { what: "a thread" })?;
        let ends = Ends {
            bounds: found.bounds,
            anchor: found.anchor,
            tail: found.tail,
            vote: found.vote,
            committed: found.committed,
            applied: found.applied,
            observed,
        };
        Ok(Self {
            flusher,
            db,
            ends: Mutex::new(ends),
            identity,
            boots,
            _lock: lock,
        })
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends
            .lock()
            .expect("an observer that panics leaves no store to go on with")
    }

    fn family(&self, name: &str) -> &rocksdb::ColumnFamily {
        family(&self.db, name)
    }

    fn write(&self, what: &str, batch: WriteBatch) {
        if let Err(error) = self.db.write(batch) {
            abort_on_lost_write(what, error.as_ref());
        }
    }

    /// The chain value after entry `index`, at which the log may also begin.
    fn chain_at(&self, ends: &Ends, index: u64) -> Result<Chain, ReadError> {
        let read = self
            .db
            .get_cf(self.family(layout::LOG), layout::log_key(index));
        // Without an entry there the log begins after it, and so does its chain.
        let Some(bytes) = read.map_err(database)? else {
            return Ok(ends.anchor);
        };
        let decoded = decode_record(&bytes).map_err(|source| ReadError::Form {
            what: format!("log entry {index}"),
            source,
        })?;
        Ok(decoded.stored)
    }

    fn put_snapshot(&self, batch: &mut WriteBatch, snapshot: &Snapshot) {
        let meta = self.family(layout::META);
        let head = snapshot.head();
        batch.delete_range_cf(
            meta,
            layout::snapshot_part_key(0),
            layout::snapshot_part_key(u32::MAX),
        );
        for (number, part) in (0..head.parts).zip(snapshot.parts()) {
            batch.put_cf(meta, layout::snapshot_part_key(number), part);
        }
        batch.put_cf(meta, layout::SNAPSHOT_HEAD, head.encode_to_vec());
    }

    fn put_applied(&self, batch: &mut WriteBatch, at: Option<LogPosition>, rows: &[RowChange]) {
        let state = self.family(layout::STATE);
        for row in rows {
            match row {
                RowChange::Put { key, value } => batch.put_cf(state, key, value),
                RowChange::Delete { key } => batch.delete_cf(state, key),
            }
        }
        batch.put_cf(self.family(layout::META), layout::APPLIED, applied_form(at));
    }
}

fn applied_form(at: Option<LogPosition>) -> Vec<u8> {
    pb::AppliedRecord {
        version: RECORD_VERSION,
        at: at.map(Into::into),
    }
    .encode_to_vec()
}

fn database(error: rocksdb::Error) -> ReadError {
    ReadError::Database {
        detail: error.to_string(),
    }
}

impl LogStore for RocksStore {
    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    fn boots(&self) -> Vec<Boot> {
        self.boots.clone()
    }

    fn bounds(&self) -> LogBounds {
        self.ends().bounds
    }

    fn read(&self, from: u64, below: u64, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(layout::log_key(below));
        let start = layout::log_key(from);
        let mode = IteratorMode::From(&start, Direction::Forward);
        let mut records = Vec::new();
        let mut bytes_read = 0;
        for item in self
            .db
            .iterator_cf_opt(self.family(layout::LOG), options, mode)
        {
            let (_, bytes) = item.map_err(database)?;
            bytes_read += bytes.len();
            if bytes_read > bytes_max && !records.is_empty() {
                break;
            }
            let decoded = decode_record(&bytes).map_err(|source| ReadError::Form {
                what: "log entry".to_owned(),
                source,
            })?;
            records.push(decoded.record);
        }
        Ok(records)
    }

    fn append(&self, records: &[Record], done: Done) -> Result<(), AppendError> {
        let mut ends = self.ends();
        let mut last = ends.bounds.last;
        for record in records {
            if last.is_some_and(|at| record.at.index != at.index + 1) {
                return Err(AppendError::Hole {
                    at: record.at,
                    last,
                });
            }
            last = Some(record.at);
        }
        let mut batch = WriteBatch::default();
        for record in records {
            ends.observed.entry(record.at, &record.payload);
            let (bytes, chain) = encode_record(ends.tail, record);
            batch.put_cf(
                self.family(layout::LOG),
                layout::log_key(record.at.index),
                bytes,
            );
            ends.tail = chain;
        }
        self.write("append to the log", batch);
        ends.bounds.last = last;
        self.flusher.push(done);
        Ok(())
    }

    fn truncate_after(&self, last_kept: Option<u64>) -> Result<(), ReadError> {
        let mut ends = self.ends();
        let Some(last) = ends.bounds.last else {
            return Ok(());
        };
        let first_gone = last_kept.map_or(0, |index| index + 1);
        if first_gone > last.index {
            return Ok(());
        }
        let kept = match last_kept {
            Some(index) => self
                .read(index, index + 1, 0)?
                .first()
                .map(|record| record.at),
            None => None,
        };
        let kept = kept.or(ends.bounds.purged);
        ends.tail = kept.map_or(Ok(ends.anchor), |at| self.chain_at(&ends, at.index))?;
        ends.observed.truncate(kept);
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(
            self.family(layout::LOG),
            layout::log_key(first_gone),
            layout::log_key(last.index + 1),
        );
        self.write("truncation of the log", batch);
        ends.bounds.last = kept;
        Ok(())
    }

    fn purge(&self, through: LogPosition) -> Result<(), ReadError> {
        let mut ends = self.ends();
        if ends.bounds.purged >= Some(through) {
            return Ok(());
        }
        let last_index = ends.bounds.last.map(|last| last.index);
        let emptied = last_index <= Some(through.index);
        let beyond = last_index < Some(through.index);
        let anchor = if beyond {
            Chain::default()
        } else {
            self.chain_at(&ends, through.index)?
        };
        let form = pb::ChainAnchor {
            version: RECORD_VERSION,
            purged: Some(through.into()),
            chain: anchor.0.to_vec(),
        };
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(
            self.family(layout::LOG),
            layout::log_key(0),
            layout::log_key(through.index + 1),
        );
        batch.put_cf(
            self.family(layout::META),
            layout::ANCHOR,
            form.encode_to_vec(),
        );
        self.write("purge of the log", batch);
        ends.observed.purge(through);
        ends.anchor = anchor;
        ends.bounds.purged = Some(through);
        if emptied {
            ends.tail = anchor;
            ends.bounds.last = Some(through);
        }
        Ok(())
    }

    fn vote(&self) -> Option<Vote> {
        self.ends().vote
    }

    fn save_vote(&self, vote: Vote, done: Done) {
        let mut ends = self.ends();
        let mut batch = WriteBatch::default();
        batch.put_cf(
            self.family(layout::META),
            layout::VOTE,
            pb::VoteRecord::from(vote).encode_to_vec(),
        );
        self.write("vote", batch);
        ends.vote = Some(vote);
        self.flusher.push(done);
    }

    fn committed(&self) -> Option<LogPosition> {
        self.ends().committed
    }

    fn save_committed(&self, committed: Option<LogPosition>) {
        let mut ends = self.ends();
        let mut batch = WriteBatch::default();
        batch.put_cf(
            self.family(layout::META),
            layout::COMMITTED,
            applied_form(committed),
        );
        self.write("committed entry", batch);
        ends.committed = committed;
    }

    fn applied(&self) -> Option<LogPosition> {
        self.ends().applied
    }

    fn save_applied(&self, at: LogPosition, rows: &[RowChange]) {
        let mut ends = self.ends();
        let mut batch = WriteBatch::default();
        self.put_applied(&mut batch, Some(at), rows);
        self.write("state rows", batch);
        ends.applied = Some(at);
    }

    fn rows(&self) -> Result<Vec<Row>, ReadError> {
        self.db
            .iterator_cf(self.family(layout::STATE), IteratorMode::Start)
            .map(|item| {
                item.map(|(key, value)| (key.into_vec(), value.into_vec()))
                    .map_err(database)
            })
            .collect()
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, ReadError> {
        let _unchanged = self.ends();
        open::read_snapshot(&self.db)
    }

    fn save_snapshot(&self, snapshot: &Snapshot, done: Done) {
        let _in_order = self.ends();
        let mut batch = WriteBatch::default();
        self.put_snapshot(&mut batch, snapshot);
        self.write("snapshot", batch);
        self.flusher.push(done);
    }

    fn install_snapshot(&self, snapshot: &Snapshot, rows: &[RowChange], done: Done) {
        let mut ends = self.ends();
        let state = self.family(layout::STATE);
        let mut batch = WriteBatch::default();
        for item in self.db.iterator_cf(state, IteratorMode::Start) {
            match item {
                Ok((key, _)) => batch.delete_cf(state, key),
                Err(error) => abort_on_lost_write("state rows", error.as_ref()),
            }
        }
        self.put_snapshot(&mut batch, snapshot);
        self.put_applied(&mut batch, snapshot.last, rows);
        ends.observed.snapshot(snapshot);
        self.write("installed snapshot", batch);
        ends.applied = snapshot.last;
        self.flusher.push(done);
    }

    fn peer_memory(&self, peer: PeerId) -> Option<PeerMemory> {
        let read = self
            .db
            .get_cf(self.family(layout::META), layout::peer_key(peer.0));
        match read.map_err(|error| error.to_string()) {
            Ok(bytes) => {
                bytes.and_then(|bytes| decode::<pb::PeerMemory>(&bytes).and_then(memory_of).ok())
            }
            Err(detail) => abort_on_lost_write("memory of a peer", &detail),
        }
    }

    fn save_peer_memory(&self, peer: PeerId, memory: &PeerMemory) {
        let mut batch = WriteBatch::default();
        batch.put_cf(
            self.family(layout::META),
            layout::peer_key(peer.0),
            pb::PeerMemory::from(memory).encode_to_vec(),
        );
        self.write("memory of a peer", batch);
    }

    fn after_sync(&self, done: Done) {
        let _in_order = self.ends();
        let mut batch = WriteBatch::default();
        // A sync with nothing to write might not reach the disk, and would prove nothing of it.
        batch.put_cf(self.family(layout::META), layout::PROBE, b"");
        self.write("probe", batch);
        self.flusher.push(done);
    }

    fn last_sync_age(&self) -> Option<Duration> {
        self.flusher.oldest_age()
    }
}
