//! What is durable when, and what a lost write does.

use std::process::Command;
use std::sync::{Arc, Mutex};

use haft_store::{
    LogStore, MembershipAt, OpenOptions, PeerId, PeerMemory, RocksStore, RowChange, Snapshot,
    Syncer, Vote,
};
use tempfile::TempDir;

use super::support::{
    HeldDisk, append, at, filled, identity, normal, open, vote, wait_for, waited,
};

#[test]
fn everything_survives_a_restart() {
    let dir = TempDir::new().unwrap();
    {
        let store = open(dir.path()).unwrap();
        vote(&store, 2);
        append(&store, &[normal(1, 0), normal(1, 1), normal(2, 2)]);
        store.save_committed(Some(at(1, 1)));
        let rows = [RowChange::Put {
            key: b"k".to_vec(),
            value: b"v".to_vec(),
        }];
        store.save_applied(at(1, 1), &rows);
        let memory = PeerMemory {
            vote_term: 2,
            acked: Some(at(1, 1)),
            ..PeerMemory::default()
        };
        store.save_peer_memory(PeerId(2), &memory);
        let (done, wait) = waited();
        store.after_sync(done);
        wait();
    }
    let store = open(dir.path()).unwrap();
    assert_eq!(
        store.vote(),
        Some(Vote {
            term: 2,
            node: PeerId(1),
            committed: true
        })
    );
    assert_eq!(store.bounds().last, Some(at(2, 2)));
    assert_eq!(
        store.read(0, 9, usize::MAX).unwrap(),
        [normal(1, 0), normal(1, 1), normal(2, 2)]
    );
    assert_eq!(
        (store.committed(), store.applied()),
        (Some(at(1, 1)), Some(at(1, 1)))
    );
    assert_eq!(store.rows().unwrap(), [(b"k".to_vec(), b"v".to_vec())]);
    assert_eq!(store.peer_memory(PeerId(2)).unwrap().vote_term, 2);
    assert_eq!(store.peer_memory(PeerId(3)), None);
}

#[test]
fn a_read_stops_at_its_limit_but_gives_one_entry() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 5);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.read(1, 5, 1).unwrap(), [normal(1, 1)]);
    assert_eq!(
        store.read(1, 3, usize::MAX).unwrap(),
        [normal(1, 1), normal(1, 2)]
    );
    assert_eq!(store.read(5, 9, usize::MAX).unwrap(), []);
}

#[test]
fn a_purged_and_truncated_log_goes_on_and_opens() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 10);
    {
        let store = open(dir.path()).unwrap();
        let snapshot = Snapshot {
            last: Some(at(1, 4)),
            ..Snapshot::default()
        };
        let (done, wait) = waited();
        store.save_snapshot(&snapshot, done);
        wait();
        store.purge(at(1, 4)).unwrap();
        store.truncate_after(Some(7)).unwrap();
        assert_eq!(store.bounds().last, Some(at(1, 7)));
        vote(&store, 2);
        append(&store, &[normal(2, 8)]);
    }
    let store = open(dir.path()).unwrap();
    assert_eq!(
        (store.bounds().purged, store.bounds().last),
        (Some(at(1, 4)), Some(at(2, 8)))
    );
    let indexes: Vec<u64> = store
        .read(0, 99, usize::MAX)
        .unwrap()
        .iter()
        .map(|record| record.at.index)
        .collect();
    assert_eq!(indexes, [5, 6, 7, 8]);
    store.truncate_after(Some(4)).unwrap();
    assert_eq!(store.bounds().last, Some(at(1, 4)));
    append(&store, &[normal(2, 5)]);
    drop(store);
    assert_eq!(open(dir.path()).unwrap().bounds().last, Some(at(2, 5)));
}

#[test]
fn an_installed_snapshot_replaces_rows_and_lets_the_log_start_after_it() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 3);
    let state = vec![9; 3 << 20];
    let snapshot = Snapshot {
        last: Some(at(1, 50)),
        membership: MembershipAt {
            at: Some(at(1, 0)),
            ..MembershipAt::default()
        },
        state,
    };
    {
        let store = open(dir.path()).unwrap();
        store.save_applied(
            at(1, 2),
            &[RowChange::Put {
                key: b"old".to_vec(),
                value: vec![],
            }],
        );
        let (done, wait) = waited();
        let rows = [RowChange::Put {
            key: b"new".to_vec(),
            value: vec![],
        }];
        store.install_snapshot(&snapshot, &rows, done);
        wait();
        store.purge(at(1, 50)).unwrap();
        append(&store, &[normal(1, 51)]);
    }
    let store = open(dir.path()).unwrap();
    assert_eq!(store.snapshot().unwrap(), Some(snapshot));
    assert_eq!(store.rows().unwrap(), [(b"new".to_vec(), vec![])]);
    assert_eq!(
        (store.applied(), store.bounds().last),
        (Some(at(1, 50)), Some(at(1, 51)))
    );
}

#[test]
fn nothing_is_called_durable_before_its_sync_and_all_in_order() {
    let dir = TempDir::new().unwrap();
    let (disk, allow) = HeldDisk::new();
    let options = OpenOptions {
        syncer: disk,
        ..OpenOptions::new(dir.path().into(), identity())
    };
    let store = RocksStore::open(options).unwrap();
    let order: Arc<Mutex<Vec<u64>>> = Arc::default();
    for index in 0..20 {
        let order = Arc::clone(&order);
        let done = Box::new(move || order.lock().unwrap().push(index));
        if index == 10 {
            store.save_vote(
                Vote {
                    term: 1,
                    node: PeerId(1),
                    committed: false,
                },
                done,
            );
        } else {
            let index = if index < 10 { index } else { index - 1 };
            store.append(&[normal(1, index)], done).unwrap();
        }
    }
    // Visible at once, and nobody was told that it is durable.
    assert_eq!(store.bounds().last, Some(at(1, 18)));
    assert_eq!(*order.lock().unwrap(), []);
    wait_for("the age of the oldest write", || {
        store.last_sync_age().filter(|age| !age.is_zero())
    });
    drop(allow);
    wait_for("every callback", || {
        (order.lock().unwrap().len() == 20).then_some(())
    });
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    wait_for("an idle disk", || {
        store.last_sync_age().is_none().then_some(())
    });
}

#[test]
fn writes_during_one_sync_share_the_next() {
    struct Counting(Mutex<u64>, Arc<HeldDisk>);
    impl Syncer for Counting {
        fn sync(&self, flush: &mut dyn FnMut() -> Result<(), String>) -> Result<(), String> {
            *self.0.lock().unwrap() += 1;
            self.1.sync(flush)
        }
    }
    let dir = TempDir::new().unwrap();
    let (disk, allow) = HeldDisk::new();
    let counting = Arc::new(Counting(Mutex::new(0), disk));
    let options = OpenOptions {
        syncer: counting.clone(),
        ..OpenOptions::new(dir.path().into(), identity())
    };
    let store = RocksStore::open(options).unwrap();
    store.append(&[normal(1, 0)], Box::new(|| {})).unwrap();
    wait_for("the first sync", || {
        (*counting.0.lock().unwrap() == 1).then_some(())
    });
    for index in 1..100 {
        store.append(&[normal(1, index)], Box::new(|| {})).unwrap();
    }
    let (done, wait) = waited();
    store.after_sync(done);
    drop(allow);
    wait();
    assert_eq!(*counting.0.lock().unwrap(), 2);
}

const CHILD: &str = "HAFT_STORE_TEST_CHILD";

#[test]
fn a_failed_sync_aborts_the_process() {
    struct Broken;
    impl Syncer for Broken {
        fn sync(&self, _: &mut dyn FnMut() -> Result<(), String>) -> Result<(), String> {
            Err("input/output error".to_owned())
        }
    }
    if let Some(dir) = std::env::var_os(CHILD) {
        let options = OpenOptions {
            syncer: Arc::new(Broken),
            ..OpenOptions::new(dir.into(), identity())
        };
        let store = RocksStore::open(options).unwrap();
        store.append(&[normal(1, 0)], Box::new(|| {})).unwrap();
        // Ends by itself if nothing aborts it; the parent then sees a clean exit and fails.
        let (done, wait) = waited();
        store.after_sync(done);
        wait();
        return;
    }
    let dir = TempDir::new().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::a_failed_sync_aborts_the_process"])
        .env(CHILD, dir.path())
        .output()
        .unwrap()
        .status;
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(6), "{status}");
    // What was never durable may be gone, and the directory still opens.
    open(dir.path()).unwrap();
}

#[test]
fn each_start_is_counted_and_drawn_anew() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path()).unwrap().boots();
    let second = open(dir.path()).unwrap().boots();
    assert_eq!(first.len(), 1);
    assert_eq!(second[..1], first[..]);
    assert_eq!(second[1].counter, 2);
    assert_ne!(second[1].nonce, first[0].nonce);
}
