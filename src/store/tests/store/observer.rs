//! The observer sees the log as it is, in every moment and after every restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use haft_store::{
    AppendObserver, LogPosition, LogStore, Membership, MembershipAt, MemoryStore, OpenOptions,
    Payload, PeerId, Record, RocksStore, Snapshot, SyncMode,
};
use tempfile::TempDir;

use super::support::{append, at, identity, normal, vote, waited};

/// The commands in the log, by index, on the ground of a snapshot; what the observer's user keeps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Seen {
    ground: Option<LogPosition>,
    commands: BTreeMap<u64, Vec<u8>>,
    membership: MembershipAt,
    last: Option<LogPosition>,
}

#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Seen>>);

impl AppendObserver for Watcher {
    fn on_snapshot(&mut self, snapshot: &Snapshot, in_force: &MembershipAt) {
        let mut seen = self.0.lock().unwrap();
        let first_kept = snapshot.last.map_or(0, |at| at.index + 1);
        seen.commands = seen.commands.split_off(&first_kept);
        seen.ground = snapshot.last;
        seen.membership = in_force.clone();
        seen.last = seen.last.max(snapshot.last);
    }

    fn on_append(&mut self, at: LogPosition, payload: &[u8]) {
        let mut seen = self.0.lock().unwrap();
        seen.commands.insert(at.index, payload.to_vec());
        seen.last = Some(at);
    }

    fn on_membership(&mut self, at: LogPosition, membership: &Membership) {
        let mut seen = self.0.lock().unwrap();
        seen.membership = MembershipAt {
            at: Some(at),
            membership: membership.clone(),
        };
        seen.last = Some(at);
    }

    fn on_blank(&mut self, at: LogPosition) {
        self.0.lock().unwrap().last = Some(at);
    }

    fn on_truncate(&mut self, kept: Option<LogPosition>, in_force: &MembershipAt) {
        let first_gone = kept.map_or(0, |at| at.index + 1);
        let mut seen = self.0.lock().unwrap();
        seen.commands.split_off(&first_gone);
        seen.membership = in_force.clone();
        seen.last = kept;
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
    assert_eq!(watcher.0.lock().unwrap().last, Some(at(1, 2)));
}

/// Whoever counts a majority by what is in the log must not be taken back by what is below it.
fn an_installed_snapshot_takes_no_later_membership_back(store: &impl LogStore, watcher: &Watcher) {
    let in_force = || watcher.0.lock().unwrap().membership.at;
    append(
        store,
        &[
            membership(1, 0, &[1, 2, 3]),
            normal(1, 1),
            membership(1, 2, &[1, 2, 4]),
            membership(1, 3, &[1, 2, 5]),
        ],
    );
    let snapshot = Snapshot {
        last: Some(at(1, 1)),
        membership: MembershipAt {
            at: Some(at(1, 0)),
            ..MembershipAt::default()
        },
        ..Snapshot::default()
    };
    store.install_snapshot(&snapshot, &[], Box::new(|| {}));
    assert_eq!(in_force(), Some(at(1, 3)));
    store.truncate_after(Some(2)).unwrap();
    assert_eq!(in_force(), Some(at(1, 2)));
    store.truncate_after(Some(1)).unwrap();
    assert_eq!(in_force(), Some(at(1, 0)));
}

#[test]
fn memberships_above_an_installed_snapshot_stay_on_rocksdb_and_its_twin() {
    let dir = TempDir::new().unwrap();
    let (store, watcher) = watched(dir.path());
    an_installed_snapshot_takes_no_later_membership_back(&store, &watcher);
    let watcher = Watcher::default();
    let twin = MemoryStore::new(
        identity(),
        SyncMode::Immediate,
        7,
        Box::new(watcher.clone()),
    );
    an_installed_snapshot_takes_no_later_membership_back(&twin, &watcher);
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

fn membership(term: u64, index: u64, voters: &[u64]) -> Record {
    let voters = voters.iter().copied().map(PeerId).collect();
    Record {
        at: at(term, index),
        payload: Payload::Membership(Membership {
            configs: vec![voters],
            ..Membership::default()
        }),
    }
}

fn blank(term: u64, index: u64) -> Record {
    Record {
        at: at(term, index),
        payload: Payload::Blank,
    }
}

/// What a truncation gives back: from the log, from beyond a purge, from a snapshot, and of the very first entry.
fn memberships_come_back(store: &impl LogStore, watcher: &Watcher) {
    let in_force = || watcher.0.lock().unwrap().membership.at;
    let last = || watcher.0.lock().unwrap().last;
    append(store, &[membership(1, 0, &[1])]);
    store.truncate_after(None).unwrap();
    assert_eq!((in_force(), last()), (None, None));
    append(
        store,
        &[
            membership(1, 0, &[1, 2, 3]),
            normal(1, 1),
            membership(1, 2, &[1, 2, 4]),
            blank(2, 3),
            membership(2, 4, &[1, 2, 5]),
            membership(2, 5, &[1, 2, 6]),
        ],
    );
    assert_eq!(in_force(), Some(at(2, 5)));
    store.truncate_after(Some(4)).unwrap();
    assert_eq!((in_force(), last()), (Some(at(2, 4)), Some(at(2, 4))));
    store.truncate_after(Some(3)).unwrap();
    assert_eq!((in_force(), last()), (Some(at(1, 2)), Some(at(2, 3))));
    // Another leader's entry at the same index, and back again.
    append(store, &[membership(3, 4, &[1, 2, 7])]);
    assert_eq!(in_force(), Some(at(3, 4)));
    store.truncate_after(Some(3)).unwrap();
    let snapshot = Snapshot {
        last: Some(at(2, 3)),
        membership: watcher.0.lock().unwrap().membership.clone(),
        ..Snapshot::default()
    };
    let (done, wait) = waited();
    store.save_snapshot(&snapshot, done);
    wait();
    // The entry itself is purged; its membership is not.
    store.purge(at(2, 3)).unwrap();
    append(store, &[membership(4, 4, &[1, 2, 8])]);
    store.truncate_after(Some(3)).unwrap();
    assert_eq!((in_force(), last()), (Some(at(1, 2)), Some(at(2, 3))));
    append(store, &[membership(5, 4, &[1, 2, 9])]);
}

#[test]
fn a_truncation_gives_back_the_membership_in_force_before_on_rocksdb_and_its_twin() {
    let dir = TempDir::new().unwrap();
    let (store, watcher) = watched(dir.path());
    vote(&store, 9);
    memberships_come_back(&store, &watcher);
    let (done, wait) = waited();
    store.after_sync(done);
    wait();
    drop(store);
    // And after a restart, from what the store finds.
    let (store, watcher) = watched(dir.path());
    assert_eq!(watcher.0.lock().unwrap().membership.at, Some(at(5, 4)));
    store.truncate_after(Some(3)).unwrap();
    assert_eq!(watcher.0.lock().unwrap().membership.at, Some(at(1, 2)));

    let watcher = Watcher::default();
    let twin = MemoryStore::new(
        identity(),
        SyncMode::Immediate,
        7,
        Box::new(watcher.clone()),
    );
    memberships_come_back(&twin, &watcher);
    let watcher = Watcher::default();
    let twin = twin.after_crash(8, Box::new(watcher.clone()));
    assert_eq!(watcher.0.lock().unwrap().membership.at, Some(at(5, 4)));
    twin.truncate_after(Some(3)).unwrap();
    assert_eq!(watcher.0.lock().unwrap().membership.at, Some(at(1, 2)));
}
