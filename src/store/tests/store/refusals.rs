//! Directories that must not be opened, and what is said about them.

use std::fs;
use std::path::{Path, PathBuf};

use haft_store::record as pb;
use haft_store::{
    ClusterId, LogStore, OpenError, OpenOptions, PeerId, RocksStore, Snapshot, StoreIdentity,
};
use prost::Message;
use rocksdb::{ColumnFamilyDescriptor, DB, Options};
use tempfile::TempDir;

use super::support::{append, at, filled, identity, normal, open, vote, waited};

/// Opens the database under the store's feet.
fn raw(dir: &Path) -> DB {
    let families =
        ["meta", "log", "state"].map(|name| ColumnFamilyDescriptor::new(name, Options::default()));
    DB::open_cf_descriptors(&Options::default(), dir.join("db"), families).unwrap()
}

fn refusal(dir: &Path) -> OpenError {
    let error = open(dir).expect_err("the directory is refused");
    assert!(!error.remedy().is_empty());
    error
}

#[test]
fn another_clusters_directory_is_refused_and_stays_as_it_was() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 2);
    let foreign = StoreIdentity {
        cluster: ClusterId([4; 16]),
        ..identity()
    };
    let error = RocksStore::open(OpenOptions::new(dir.path().into(), foreign)).unwrap_err();
    assert!(matches!(error, OpenError::ForeignCluster { .. }), "{error}");
    assert!(error.remedy().contains("own directory"));
    assert_eq!(open(dir.path()).unwrap().boots().len(), 2);
}

#[test]
fn another_nodes_directory_is_refused() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 2);
    for other in [
        StoreIdentity {
            node: PeerId(2),
            ..identity()
        },
        StoreIdentity {
            name: "beta".to_owned(),
            ..identity()
        },
    ] {
        let error = RocksStore::open(OpenOptions::new(dir.path().into(), other)).unwrap_err();
        assert!(matches!(error, OpenError::ForeignNode { .. }), "{error}");
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Locked { .. }));
    drop(store);
    open(dir.path()).unwrap();
}

#[test]
fn a_missing_entry_is_refused() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 9);
    let db = raw(dir.path());
    db.delete_cf(db.cf_handle("log").unwrap(), 4_u64.to_be_bytes())
        .unwrap();
    drop(db);
    assert!(matches!(
        refusal(dir.path()),
        OpenError::Hole {
            expected: 4,
            found: 5
        }
    ));
}

#[test]
fn a_missing_beginning_is_refused() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 3);
    let db = raw(dir.path());
    db.delete_cf(db.cf_handle("log").unwrap(), 0_u64.to_be_bytes())
        .unwrap();
    drop(db);
    assert!(matches!(
        refusal(dir.path()),
        OpenError::ChainBroken { index: 1 }
    ));
}

fn alter(dir: &Path, index: u64, change: impl FnOnce(&mut pb::LogRecord)) {
    let db = raw(dir);
    let log = db.cf_handle("log").unwrap();
    let bytes = db.get_cf(log, index.to_be_bytes()).unwrap().unwrap();
    let mut record = pb::LogRecord::decode(bytes.as_slice()).unwrap();
    change(&mut record);
    db.put_cf(log, index.to_be_bytes(), record.encode_to_vec())
        .unwrap();
}

#[test]
fn an_altered_entry_is_refused_whichever_field_it_is() {
    type Change = fn(&mut pb::LogRecord);
    let changes: [(&str, Change); 5] = [
        ("payload", |record| record.payload = b"another".to_vec()),
        ("term", |record| record.at.as_mut().unwrap().term = 2),
        ("index", |record| record.at.as_mut().unwrap().index = 7),
        ("kind", |record| record.kind = pb::RecordKind::Blank.into()),
        ("chain", |record| record.chain[0] ^= 1),
    ];
    for (field, change) in changes {
        let dir = TempDir::new().unwrap();
        filled(dir.path(), 6);
        alter(dir.path(), 3, change);
        let error = refusal(dir.path());
        assert!(
            matches!(error, OpenError::ChainBroken { index: 3 }),
            "{field}: {error}"
        );
    }
}

#[test]
fn a_form_of_a_later_haft_is_refused() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 3);
    alter(dir.path(), 2, |record| record.version = 2);
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Form { .. }), "{error}");
    assert!(error.remedy().contains("newer haftd"));
}

#[test]
fn a_state_ahead_of_the_log_is_refused() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 5);
    open(dir.path()).unwrap().save_applied(at(1, 4), &[]);
    let db = raw(dir.path());
    db.delete_cf(db.cf_handle("log").unwrap(), 4_u64.to_be_bytes())
        .unwrap();
    drop(db);
    assert!(matches!(refusal(dir.path()), OpenError::StateAhead { .. }));
}

#[test]
fn a_lost_vote_is_refused() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 2);
    let db = raw(dir.path());
    db.delete_cf(db.cf_handle("meta").unwrap(), b"vote")
        .unwrap();
    drop(db);
    assert!(matches!(
        refusal(dir.path()),
        OpenError::VoteBehind {
            log_term: 1,
            vote_term: 0
        }
    ));
}

fn with_snapshot(dir: &Path) {
    let store = open(dir).unwrap();
    vote(&store, 1);
    append(&store, &[normal(1, 0), normal(1, 1), normal(1, 2)]);
    let snapshot = Snapshot {
        last: Some(at(1, 1)),
        state: b"state".to_vec(),
        ..Snapshot::default()
    };
    let (done, wait) = waited();
    store.save_snapshot(&snapshot, done);
    wait();
    store.purge(at(1, 1)).unwrap();
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let part = [b"snapshot/part/".as_slice(), &[0; 4]].concat();
    for bytes in [b"stale".as_slice(), b"stat", b""] {
        let dir = TempDir::new().unwrap();
        with_snapshot(dir.path());
        let db = raw(dir.path());
        db.put_cf(db.cf_handle("meta").unwrap(), &part, bytes)
            .unwrap();
        drop(db);
        let error = refusal(dir.path());
        assert!(matches!(error, OpenError::SnapshotDamaged(_)), "{error}");
    }
}

#[test]
fn a_purged_log_without_its_snapshot_is_refused() {
    let dir = TempDir::new().unwrap();
    with_snapshot(dir.path());
    let db = raw(dir.path());
    db.delete_cf(db.cf_handle("meta").unwrap(), b"snapshot/head")
        .unwrap();
    drop(db);
    assert!(matches!(
        refusal(dir.path()),
        OpenError::SnapshotBehind { .. }
    ));
}

#[test]
fn records_without_an_owner_are_refused() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 2);
    let db = raw(dir.path());
    db.delete_cf(db.cf_handle("meta").unwrap(), b"mark")
        .unwrap();
    drop(db);
    assert!(matches!(refusal(dir.path()), OpenError::Unmarked));
}

/// The write-ahead log that holds the entries.
fn wal(dir: &Path) -> PathBuf {
    fs::read_dir(dir.join("db"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

#[test]
fn one_damaged_byte_in_the_middle_of_the_wal_is_refused() {
    for eighth in 1..7 {
        let dir = TempDir::new().unwrap();
        filled(dir.path(), 100);
        let wal = wal(dir.path());
        let mut bytes = fs::read(&wal).unwrap();
        let middle = bytes.len() * eighth / 8;
        bytes[middle] ^= 0x40;
        fs::write(&wal, bytes).unwrap();
        let error = refusal(dir.path());
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{eighth}: {error}"
        );
    }
}

#[test]
fn an_unfinished_last_record_is_dropped_and_the_rest_is_whole() {
    let whole = TempDir::new().unwrap();
    filled(whole.path(), 30);
    let length = fs::metadata(wal(whole.path())).unwrap().len();
    for cut in (1..200).step_by(7) {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("db")).unwrap();
        for entry in fs::read_dir(whole.path().join("db")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.path().join("db").join(entry.file_name())).unwrap();
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .open(wal(dir.path()))
            .unwrap();
        file.set_len(length - cut).unwrap();
        // A cut at a record's end cannot be seen here; the peers' memory is for that.
        let last = open(dir.path()).unwrap().bounds().last.unwrap();
        assert!(last.index < 30 && last.index > 20, "{cut}: {last}");
    }
}
