//! Directories, records and disks for the tests.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use haft_store::{
    ClusterId, Done, LogPosition, LogStore, OpenError, OpenOptions, Payload, PeerId, Record,
    RocksStore, StoreIdentity, Syncer, Vote,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn identity() -> StoreIdentity {
    StoreIdentity {
        cluster: ClusterId([3; 16]),
        node: PeerId(1),
        name: "alpha".to_owned(),
    }
}

pub(crate) fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

pub(crate) fn normal(term: u64, index: u64) -> Record {
    let payload = Payload::Normal(format!("command {index}").into_bytes());
    Record {
        at: at(term, index),
        payload,
    }
}

pub(crate) fn open(dir: &Path) -> Result<RocksStore, OpenError> {
    RocksStore::open(OpenOptions::new(dir.to_owned(), identity()))
}

/// A callback and the wait for it.
pub(crate) fn waited() -> (Done, impl FnOnce()) {
    let (done, wait) = channel();
    let done: Done = Box::new(move || done.send(()).unwrap());
    (done, move || wait.recv_timeout(PATIENCE).unwrap())
}

pub(crate) fn append(store: &impl LogStore, records: &[Record]) {
    let (done, wait) = waited();
    store.append(records, done).unwrap();
    wait();
}

pub(crate) fn vote(store: &impl LogStore, term: u64) {
    let (done, wait) = waited();
    store.save_vote(
        Vote {
            term,
            node: PeerId(1),
            committed: true,
        },
        done,
    );
    wait();
}

/// A store with a vote in term 1 and entries 0 to below `entries`, closed again.
pub(crate) fn filled(dir: &Path, entries: u64) {
    let store = open(dir).unwrap();
    vote(&store, 1);
    for index in 0..entries {
        append(&store, &[normal(1, index)]);
    }
}

pub(crate) fn wait_for<T>(what: &str, mut state: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = state() {
            return found;
        }
        assert!(Instant::now() < until, "still not: {what}");
        std::thread::yield_now();
    }
}

/// A disk that syncs only when it is told to.
pub(crate) struct HeldDisk {
    go: Mutex<Receiver<()>>,
}

impl HeldDisk {
    pub(crate) fn new() -> (Arc<Self>, Sender<()>) {
        let (allow, go) = channel();
        (Arc::new(Self { go: Mutex::new(go) }), allow)
    }
}

impl Syncer for HeldDisk {
    fn sync(&self, flush: &mut dyn FnMut() -> Result<(), String>) -> Result<(), String> {
        // When the test has ended nobody holds the disk any more.
        let _ = self.go.lock().unwrap().recv();
        flush()
    }
}
