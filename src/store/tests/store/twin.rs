//! The twin in memory behaves as the store on disk, and forgets on a crash what was not synced.

use std::sync::{Arc, Mutex};

use haft_store::{
    Boot, Claim, LogStore, MemoryStore, NoObserver, PeerId, PeerMemory, PeerRefusal, RowChange,
    Snapshot, SyncMode, Vote,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::support::{at, identity, normal, open};

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Truncate(u64),
    Purge(u64),
    Vote(u64),
    Apply(u8),
    Snapshot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..5_u64).prop_map(Step::Append),
        1 => (0..4_u64).prop_map(Step::Truncate),
        1 => (0..6_u64).prop_map(Step::Purge),
        1 => (0..9_u64).prop_map(Step::Vote),
        1 => any::<u8>().prop_map(Step::Apply),
        1 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 1..30)
}

fn take(store: &dyn LogStore, step: &Step) {
    let bounds = store.bounds();
    let next = bounds.last.map_or(0, |last| last.index + 1);
    match step {
        Step::Append(count) => {
            let records: Vec<_> = (next..next + count).map(|index| normal(1, index)).collect();
            store.append(&records, Box::new(|| {})).unwrap();
        }
        Step::Truncate(count) => {
            let floor = bounds.purged.map_or(0, |purged| purged.index);
            let kept = next.saturating_sub(1 + count).max(floor);
            if next > kept {
                store.truncate_after(Some(kept)).unwrap();
            }
        }
        Step::Purge(count) => {
            let from = bounds.purged.map_or(0, |purged| purged.index);
            store.purge(at(1, from + count)).unwrap();
        }
        Step::Vote(term) => store.save_vote(
            Vote {
                term: *term,
                node: PeerId(1),
                committed: false,
            },
            Box::new(|| {}),
        ),
        Step::Apply(key) => {
            let rows = [RowChange::Put {
                key: vec![*key],
                value: vec![1],
            }];
            store.save_applied(at(1, next), &rows);
        }
        Step::Snapshot => {
            let snapshot = Snapshot {
                last: bounds.last,
                state: vec![2; 10],
                ..Snapshot::default()
            };
            store.install_snapshot(&snapshot, &[], Box::new(|| {}));
        }
    }
}

fn look(store: &dyn LogStore) -> impl PartialEq + std::fmt::Debug {
    (
        store.bounds(),
        store.read(0, u64::MAX, usize::MAX).unwrap(),
        (store.vote(), store.committed(), store.applied()),
        store.rows().unwrap(),
        store.snapshot().unwrap(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn both_stores_tell_the_same_after_any_steps(steps in steps()) {
        let dir = TempDir::new().unwrap();
        let disk = open(dir.path()).unwrap();
        let memory = MemoryStore::new(identity(), SyncMode::Immediate, 1, Box::new(NoObserver));
        for step in &steps {
            take(&disk, step);
            take(&memory, step);
            prop_assert_eq!(format!("{:?}", look(&disk)), format!("{:?}", look(&memory)));
        }
    }
}

#[test]
fn a_crash_forgets_what_was_written_and_not_synced() {
    let store = MemoryStore::new(identity(), SyncMode::Manual, 1, Box::new(NoObserver));
    let told: Arc<Mutex<Vec<u64>>> = Arc::default();
    for index in 0..4 {
        let told = Arc::clone(&told);
        let done = Box::new(move || told.lock().unwrap().push(index));
        store.append(&[normal(1, index)], done).unwrap();
        if index == 1 {
            store.sync();
        }
    }
    assert_eq!(*told.lock().unwrap(), [0, 1]);
    let after = store.after_crash(2, Box::new(NoObserver));
    assert_eq!(after.bounds().last, Some(at(1, 1)));
    assert_eq!(
        after.boots().last(),
        Some(&Boot {
            counter: 2,
            nonce: 2
        })
    );
}

fn boot(counter: u64, nonce: u64) -> Boot {
    Boot { counter, nonce }
}

fn claim(boots: &[Boot], vote_term: u64, last: u64) -> Claim {
    Claim {
        boots: boots.to_vec(),
        vote_term,
        last: Some(at(vote_term, last)),
    }
}

#[test]
fn a_copy_of_a_directory_is_told_from_the_original() {
    let (first, second) = (boot(1, 10), boot(2, 20));
    let met = PeerMemory::judge(None, &claim(&[first, second], 1, 5)).unwrap();
    // The original, restarted.
    let original = claim(&[first, second, boot(3, 30)], 1, 5);
    assert!(PeerMemory::judge(Some(&met), &original).is_ok());
    // The copy was taken before the second start, and started itself.
    for copy in [
        claim(&[first, boot(2, 21)], 1, 5),
        claim(&[first, boot(2, 21), boot(3, 31)], 1, 9),
    ] {
        let judged = PeerMemory::judge(Some(&met), &copy);
        assert!(
            matches!(judged, Err(PeerRefusal::Cloned { .. })),
            "{judged:?}"
        );
    }
    // The first process comes again after its successor was met.
    let judged = PeerMemory::judge(Some(&met), &claim(&[first], 1, 5));
    assert!(matches!(judged, Err(PeerRefusal::Cloned { .. })));
    // An empty directory under the old id.
    let judged = PeerMemory::judge(Some(&met), &claim(&[boot(1, 77)], 0, 0));
    assert!(matches!(judged, Err(PeerRefusal::Cloned { .. })));
}

#[test]
fn a_directory_behind_its_own_word_is_refused_but_a_truncated_log_is_not() {
    let first = [boot(1, 1)];
    let boots = [boot(1, 1), boot(2, 2)];
    let mut met = PeerMemory::judge(None, &claim(&first, 3, 10)).unwrap();
    assert!(met.note(3, Some(at(3, 12))));
    assert!(!met.note(3, Some(at(3, 11))));
    let behind = claim(&boots, 3, 11);
    assert!(matches!(
        PeerMemory::judge(Some(&met), &behind),
        Err(PeerRefusal::RolledBack { .. })
    ));
    let vote_lost = Claim {
        vote_term: 2,
        ..claim(&boots, 3, 12)
    };
    assert!(matches!(
        PeerMemory::judge(Some(&met), &vote_lost),
        Err(PeerRefusal::RolledBack { .. })
    ));
    // A leader of term 4 made it drop entries 5 to 12.
    let truncated = Claim {
        vote_term: 4,
        last: Some(at(3, 4)),
        boots: boots.to_vec(),
    };
    assert!(PeerMemory::judge(Some(&met), &truncated).is_ok());
    // Greetings of one start may overtake each other.
    let overtaken = PeerMemory::judge(Some(&met), &claim(&first, 3, 11)).unwrap();
    assert_eq!(overtaken, met);
}
