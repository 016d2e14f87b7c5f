//! The observer sees the log as it is, in every moment and after every restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use haft_store::{
    AppendObserver, LogPosition, LogStore, Membership, OpenOptions, RocksStore, Snapshot,
};
use tempfile::TempDir;

use super::support::{append, at, identity, normal, vote, waited};

/// The commands in the log, by index, on the ground of a snapshot; what the observer's user keeps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Seen {
    ground: Option<LogPosition>,
    commands: BTreeMap<u64, Vec<u8>>,
}

#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Seen>>);

impl AppendObserver for Watcher {
    fn on_snapshot(&mut self, snapshot: &Snapshot) {
        *self.0.lock().unwrap() = Seen {
            ground: snapshot.last,
            ..Seen::default()
        };
    }

    fn on_append(&mut self, at: LogPosition, payload: &[u8]) {
        self.0
            .lock()
            .unwrap()
            .commands
            .insert(at.index, payload.to_vec());
    }

    fn on_membership(&mut self, _: LogPosition, _: &Membership) {}

    fn on_truncate(&mut self, last_kept: Option<u64>) {
        let first_gone = last_kept.map_or(0, |index| index + 1);
        self.0.lock().unwrap().commands.split_off(&first_gone);
    }
}

fn watched(dir: &Path) -> (RocksStore, Watcher) {
    let watcher = Watcher::default();
    let mut options = OpenOptions::new(dir.to_owned(), identity());
    options.observer = Box::new(watcher.clone());
    (RocksStore::open(options).unwrap(), watcher)
}

fn indexes(watcher: &Watcher) -> Vec<u64> {
    watcher.0.lock().unwrap().commands.keys().copied().collect()
}

#[test]
fn an_entry_is_seen_when_it_enters_and_forgotten_when_it_leaves() {
    let dir = TempDir::new().unwrap();
    let (store, watcher) = watched(dir.path());
    vote(&store, 1);
    store
        .append(&[normal(1, 0), normal(1, 1)], Box::new(|| {}))
        .unwrap();
    assert_eq!(indexes(&watcher), [0, 1]);
    store.truncate_after(Some(0)).unwrap();
    assert_eq!(indexes(&watcher), [0]);
    let (done, wait) = waited();
    store.after_sync(done);
    wait();
    drop(store);
    let (_store, watcher) = watched(dir.path());
    assert_eq!(indexes(&watcher), [0]);
}

#[test]
fn purging_is_not_forgetting() {
    let dir = TempDir::new().unwrap();
    let (store, watcher) = watched(dir.path());
    vote(&store, 1);
    append(&store, &[normal(1, 0), normal(1, 1), normal(1, 2)]);
    let snapshot = Snapshot {
        last: Some(at(1, 1)),
        ..Snapshot::default()
    };
    let (done, wait) = waited();
    store.save_snapshot(&snapshot, done);
    wait();
    store.purge(at(1, 1)).unwrap();
    assert_eq!(indexes(&watcher), [0, 1, 2]);
    drop(store);
    let (_store, watcher) = watched(dir.path());
    assert_eq!(indexes(&watcher), [2]);
    assert_eq!(watcher.0.lock().unwrap().ground, Some(at(1, 1)));
}

#[test]
fn an_installed_snapshot_is_the_new_ground_and_later_entries_stay() {
    let dir = TempDir::new().unwrap();
    let (store, watcher) = watched(dir.path());
    append(&store, &[normal(1, 0), normal(1, 1), normal(1, 2)]);
    let snapshot = Snapshot {
        last: Some(at(1, 1)),
        ..Snapshot::default()
    };
    store.install_snapshot(&snapshot, &[], Box::new(|| {}));
    assert_eq!(indexes(&watcher), [2]);
    assert_eq!(watcher.0.lock().unwrap().ground, Some(at(1, 1)));
}

#[test]
fn an_append_that_would_leave_a_hole_is_refused_and_seen_by_nobody() {
    let dir = TempDir::new().unwrap();
    let (store, watcher) = watched(dir.path());
    append(&store, &[normal(1, 0)]);
    assert!(
        store
            .append(&[normal(1, 1), normal(1, 3)], Box::new(|| {}))
            .is_err()
    );
    assert_eq!(indexes(&watcher), [0]);
    assert_eq!(store.bounds().last, Some(at(1, 0)));
}
