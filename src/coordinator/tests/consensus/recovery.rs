//! Replication, restarts and snapshots.

use haft_coordinator::consensus::{Compaction, RaftState};
use haft_store::LogStore;

use super::cluster::{A, ALL, B, C, Cluster, wait_for};

const SMALL: Compaction = Compaction {
    snapshot_every: 20,
    keep: 5,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_and_a_crash_of_the_leader_loses_nothing() {
    let mut cluster = Cluster::three().await;
    let one = cluster.propose(A, "one").await.unwrap();
    assert_eq!(one.response, b"1");
    cluster.write(&ALL, "two").await;
    cluster.wait_journal(&ALL, &["one", "two"]).await;
    cluster.stop(A).await;
    cluster.write(&[B, C], "three").await;
    cluster
        .wait_journal(&[B, C], &["one", "two", "three"])
        .await;
    cluster.start(A).await;
    cluster.wait_journal(&ALL, &["one", "two", "three"]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_applies_again_what_it_had_applied_without_asking_anybody() {
    let mut cluster = Cluster::three().await;
    cluster.write(&ALL, "one").await;
    cluster.write(&ALL, "two").await;
    cluster.wait_journal(&ALL, &["one", "two"]).await;
    for id in ALL {
        cluster.stop(id).await;
    }
    cluster.start(B).await;
    cluster.wait_journal(&[B], &["one", "two"]).await;
    assert_eq!(cluster.leader_of(&[B]), None);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_leader_does_not_go_on_leading_by_itself() {
    let mut cluster = Cluster::three().await;
    cluster.write(&ALL, "one").await;
    let led = cluster.nodes[&A].consensus.metrics();
    assert_eq!(led.state, RaftState::Leader);
    for id in ALL {
        cluster.stop(id).await;
    }
    let asked = cluster.links.votes(A);
    cluster.start(A).await;
    // Who asks for votes does not think that it leads.
    wait_for("an election", || {
        (cluster.links.votes(A) > asked).then_some(())
    })
    .await;
    assert_ne!(
        cluster.nodes[&A].consensus.metrics().state,
        RaftState::Leader
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_follower_catches_up_by_a_snapshot_of_several_parts() {
    let mut cluster = Cluster::three_with(SMALL).await;
    cluster.stop(C).await;
    let long = "x".repeat(400_000);
    for n in 0..4 {
        cluster.write(&[A, B], &format!("{n}{long}")).await;
    }
    for n in 4..60 {
        cluster.write(&[A, B], &n.to_string()).await;
    }
    let leader = cluster.wait_leader(&[A, B]).await;
    let purged = wait_for("a purged log", || {
        cluster.nodes[&leader].consensus.metrics().purged
    })
    .await;
    cluster.start(C).await;
    let whole = cluster.journal(leader);
    wait_for("the snapshot at node 3", || {
        (cluster.journal(C) == whole).then_some(())
    })
    .await;
    let store = &cluster.nodes[&C].store;
    let installed = store.snapshot().unwrap().expect("a snapshot was installed");
    assert!(installed.last >= Some(purged) && installed.state.len() > 1 << 20);
    assert!(
        store
            .rows()
            .unwrap()
            .iter()
            .any(|(key, _)| key == b"restored")
    );
    cluster.write(&ALL, "after").await;
    cluster.restart(C).await;
    wait_for("the state after a restart", || {
        (cluster.journal(C).last().map(String::as_str) == Some("after")).then_some(())
    })
    .await;
    assert_eq!(cluster.journal(C).len(), whole.len() + 1);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_node_restarts_from_its_snapshot() {
    let mut cluster = Cluster::single_with(SMALL).await;
    for n in 0..60 {
        cluster.write(&[A], &n.to_string()).await;
    }
    wait_for("a purged log", || {
        cluster.nodes[&A].consensus.metrics().purged
    })
    .await;
    let before = cluster.journal(A);
    cluster.restart(A).await;
    wait_for("the journal", || {
        (cluster.journal(A) == before).then_some(())
    })
    .await;
    cluster.end().await;
}
