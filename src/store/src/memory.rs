//! The twin of the RocksDB store: the same contract in memory, for tests and simulation.
//!
//! It keeps two images, what is written and what is durable, and a crash forgets the difference. When
//! a sync happens is the caller's choice, so a simulation can put a crash between any write and its
//! sync. It knows nothing of damage on disk; that is tested on the real store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::boot::{Boot, after_start};
use crate::log_store::{AppendError, AppendObserver, Done, LogStore, ReadError, Row, RowChange};
use crate::model::{LogBounds, LogPosition, Payload, PeerId, Record, StoreIdentity, Vote};
use crate::observed::Observed;
use crate::peer_memory::PeerMemory;
use crate::snapshot::Snapshot;

/// When a write becomes durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncMode {
    /// At once.
    Immediate,
    /// When [`MemoryStore::sync`] is called.
    Manual,
}

#[derive(Clone, Default)]
struct Image {
    bounds: LogBounds,
    log: BTreeMap<u64, Record>,
    vote: Option<Vote>,
    committed: Option<LogPosition>,
    applied: Option<LogPosition>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    snapshot: Option<Snapshot>,
    peers: BTreeMap<PeerId, PeerMemory>,
}

struct Inner {
    written: Image,
    durable: Image,
    waiting: VecDeque<Done>,
    boots: Vec<Boot>,
    observed: Observed,
}

/// A store that forgets on a crash what was not synced.
pub struct MemoryStore {
    identity: StoreIdentity,
    mode: SyncMode,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store at its first start. `nonce` is what a real store draws at random.
    #[must_use]
    pub fn new(
        identity: StoreIdentity,
        mode: SyncMode,
        nonce: u64,
        observer: Box<dyn AppendObserver>,
    ) -> Self {
        let inner = Inner {
            written: Image::default(),
            durable: Image::default(),
            waiting: VecDeque::new(),
            boots: after_start(Vec::new(), nonce),
            observed: Observed::new(observer),
        };
        Self {
            identity,
            mode,
            inner: Mutex::new(inner),
        }
    }

    /// Makes everything written durable and runs what waited for it, in order.
    pub fn sync(&self) {
        let waiting = {
            let mut inner = self.inner();
            inner.durable = inner.written.clone();
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(|done| done());
    }

    /// The store that a new start finds after a crash now: what was only written is gone, and nobody
    /// who waited for it is told.
    #[must_use]
    pub fn after_crash(&self, nonce: u64, observer: Box<dyn AppendObserver>) -> Self {
        let (image, boots) = {
            let inner = self.inner();
            (
                inner.durable.clone(),
                after_start(inner.boots.clone(), nonce),
            )
        };
        let mut observed = Observed::new(observer);
        if let Some(snapshot) = &image.snapshot {
            observed.snapshot(snapshot);
        }
        let included = image.snapshot.as_ref().and_then(|snapshot| snapshot.last);
        show_after(&image, included, &mut observed);
        let inner = Inner {
            written: image.clone(),
            durable: image,
            waiting: VecDeque::new(),
            boots,
            observed,
        };
        Self {
            identity: self.identity.clone(),
            mode: self.mode,
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("an observer that panics leaves no store to go on with")
    }

    fn write<T>(&self, done: Option<Done>, change: impl FnOnce(&mut Inner) -> T) -> T {
        let out = {
            let mut inner = self.inner();
            let out = change(&mut inner);
            inner.waiting.extend(done);
            out
        };
        match self.mode {
            SyncMode::Immediate => self.sync(),
            SyncMode::Manual => {}
        }
        out
    }
}

fn show_after(image: &Image, ground: Option<LogPosition>, observed: &mut Observed) {
    let from = ground.map_or(0, |at| at.index + 1);
    image
        .log
        .range(from..)
        .for_each(|(_, record)| observed.entry(record.at, &record.payload));
}

fn change_rows(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: &[RowChange]) {
    for change in changes {
        match change {
            RowChange::Put { key, value } => {
                rows.insert(key.clone(), value.clone());
            }
            RowChange::Delete { key } => {
                rows.remove(key);
            }
        }
    }
}

impl LogStore for MemoryStore {
    fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    fn boots(&self) -> Vec<Boot> {
        self.inner().boots.clone()
    }

    fn bounds(&self) -> LogBounds {
        self.inner().written.bounds
    }

    fn read(&self, from: u64, below: u64, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let inner = self.inner();
        let mut records = Vec::new();
        let mut bytes = 0;
        for (_, record) in inner.written.log.range(from..below.max(from)) {
            bytes += match &record.payload {
                Payload::Normal(payload) => payload.len(),
                Payload::Blank | Payload::Membership(_) => 0,
            };
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        Ok(records)
    }

    fn append(&self, records: &[Record], done: Done) -> Result<(), AppendError> {
        let mut last = self.inner().written.bounds.last;
        for record in records {
            if last.is_some_and(|at| record.at.index != at.index + 1) {
                return Err(AppendError::Hole {
                    at: record.at,
                    last,
                });
            }
            last = Some(record.at);
        }
        self.write(Some(done), |inner| {
            for record in records {
                inner.observed.entry(record.at, &record.payload);
                inner.written.log.insert(record.at.index, record.clone());
            }
            inner.written.bounds.last = last;
        });
        Ok(())
    }

    fn truncate_after(&self, last_kept: Option<u64>) -> Result<(), ReadError> {
        self.write(None, |inner| {
            let first_gone = last_kept.map_or(0, |index| index + 1);
            if inner.written.log.split_off(&first_gone).is_empty() {
                return;
            }
            let kept = inner
                .written
                .log
                .last_key_value()
                .map(|(_, record)| record.at);
            let kept = kept.or(inner.written.bounds.purged);
            inner.observed.truncate(kept);
            inner.written.bounds.last = kept;
        });
        Ok(())
    }

    fn purge(&self, through: LogPosition) -> Result<(), ReadError> {
        self.write(None, |inner| {
            let bounds = &mut inner.written.bounds;
            if bounds.purged >= Some(through) {
                return;
            }
            bounds.purged = Some(through);
            if bounds.last.map(|last| last.index) <= Some(through.index) {
                bounds.last = Some(through);
            }
            inner.observed.purge(through);
            inner.written.log = inner.written.log.split_off(&(through.index + 1));
        });
        Ok(())
    }

    fn vote(&self) -> Option<Vote> {
        self.inner().written.vote
    }

    fn save_vote(&self, vote: Vote, done: Done) {
        self.write(Some(done), |inner| inner.written.vote = Some(vote));
    }

    fn committed(&self) -> Option<LogPosition> {
        self.inner().written.committed
    }

    fn save_committed(&self, committed: Option<LogPosition>) {
        self.write(None, |inner| inner.written.committed = committed);
    }

    fn applied(&self) -> Option<LogPosition> {
        self.inner().written.applied
    }

    fn save_applied(&self, at: LogPosition, rows: &[RowChange]) {
        self.write(None, |inner| {
            change_rows(&mut inner.written.rows, rows);
            inner.written.applied = Some(at);
        });
    }

    fn rows(&self) -> Result<Vec<Row>, ReadError> {
        Ok(self.inner().written.rows.clone().into_iter().collect())
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, ReadError> {
        Ok(self.inner().written.snapshot.clone())
    }

    fn save_snapshot(&self, snapshot: &Snapshot, done: Done) {
        self.write(Some(done), |inner| {
            inner.written.snapshot = Some(snapshot.clone())
        });
    }

    fn install_snapshot(&self, snapshot: &Snapshot, rows: &[RowChange], done: Done) {
        self.write(Some(done), |inner| {
            inner.observed.snapshot(snapshot);
            inner.written.rows.clear();
            change_rows(&mut inner.written.rows, rows);
            inner.written.applied = snapshot.last;
            inner.written.snapshot = Some(snapshot.clone());
        });
    }

    fn peer_memory(&self, peer: PeerId) -> Option<PeerMemory> {
        self.inner().written.peers.get(&peer).copied()
    }

    fn save_peer_memory(&self, peer: PeerId, memory: &PeerMemory) {
        self.write(None, |inner| {
            inner.written.peers.insert(peer, *memory);
        });
    }

    fn after_sync(&self, done: Done) {
        self.write(Some(done), |_| {});
    }

    fn last_sync_age(&self) -> Option<Duration> {
        None
    }
}
