//! Nothing is said to be durable before it is.

use std::sync::Arc;

use futures::poll;
use haft_store::{ClusterId, LogStore, MemoryStore, NoObserver, PeerId, StoreIdentity, SyncMode};
use openraft::RaftSnapshotBuilder;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;

use super::super::conformance::Forgetful;
use super::super::machine::MachineAdapter;
use super::super::types::{RaftEntry, RaftVote, Types, raft_entry};
use super::LogAdapter;

pub(in super::super) fn memory(mode: SyncMode) -> Arc<MemoryStore> {
    let identity = StoreIdentity {
        cluster: ClusterId([1; 16]),
        node: PeerId(1),
        name: "alpha".to_owned(),
    };
    Arc::new(MemoryStore::new(identity, mode, 1, Box::new(NoObserver)))
}

fn entry(index: u64) -> RaftEntry {
    let at = haft_store::LogPosition { term: 1, index };
    raft_entry(haft_store::Record {
        at,
        payload: haft_store::Payload::Blank,
    })
}

#[tokio::test]
async fn a_vote_is_given_only_when_it_is_durable() {
    let store = memory(SyncMode::Manual);
    let mut log = LogAdapter::new(store.clone());
    let vote = RaftVote::new(3, 1);
    let mut saving = Box::pin(log.save_vote(&vote));
    assert!(poll!(&mut saving).is_pending());
    store.sync();
    saving.await.unwrap();
    assert_eq!(
        store
            .after_crash(2, Box::new(NoObserver))
            .vote()
            .unwrap()
            .term,
        3
    );
}

#[tokio::test]
async fn an_append_is_acknowledged_only_when_it_is_durable() {
    let store = memory(SyncMode::Manual);
    let mut log = LogAdapter::new(store.clone());
    let (flushed, told) = Types::oneshot();
    let mut told = Box::pin(told);
    log.append([entry(0), entry(1)], IOFlushed::signal(flushed))
        .await
        .unwrap();
    assert_eq!(store.bounds().last.unwrap().index, 1);
    assert!(poll!(&mut told).is_pending());
    store.sync();
    told.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_snapshot_counts_only_when_it_is_durable() {
    let store = memory(SyncMode::Manual);
    let mut machine = MachineAdapter::new(store.clone(), Box::new(Forgetful)).unwrap();
    let mut builder = machine.get_snapshot_builder().await;
    let mut building = Box::pin(builder.build_snapshot());
    assert!(poll!(&mut building).is_pending());
    store.sync();
    let built = building.await.unwrap();
    let durable = store.after_crash(2, Box::new(NoObserver));
    assert!(durable.snapshot().unwrap().is_some());
    let mut installing = Box::pin(machine.install_snapshot(&built.meta, built.snapshot));
    assert!(poll!(&mut installing).is_pending());
    store.sync();
    installing.await.unwrap();
}
