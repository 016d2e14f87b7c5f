//! Copies, old copies and empty directories are refused, by the node itself and with a reason.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use haft_coordinator::consensus::{ChangeError, Peer, StartError, StopReason};
use haft_store::LogStore;
use tempfile::TempDir;
use tokio::time::Instant;

use super::cluster::{A, ALL, Authority, B, C, CLUSTER, Cluster, name_of, timings, wait_for};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn any_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_data_directory_is_refused_while_the_original_runs_on() {
    let mut cluster = Cluster::three().await;
    cluster.write(&ALL, "one").await;
    cluster.wait_journal(&ALL, &["one"]).await;
    cluster.stop(C).await;
    let twin = TempDir::new().unwrap();
    copy(&cluster.dir(C), twin.path());
    cluster.start(C).await;
    cluster.write(&ALL, "two").await;
    cluster.wait_journal(&[C], &["one", "two"]).await;
    let started = cluster.start_in(C, twin.path(), any_port(), None).await;
    let Err(StartError::Refused { reason, .. }) = started else {
        panic!("the copy started")
    };
    assert!(reason.contains("two copies"), "{reason}");
    cluster.write(&ALL, "three").await;
    cluster.wait_journal(&ALL, &["one", "two", "three"]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_restored_from_a_backup_is_refused() {
    let mut cluster = Cluster::three().await;
    cluster.write(&ALL, "one").await;
    cluster.wait_journal(&ALL, &["one"]).await;
    // As a snapshot of the disk of a running node.
    let backup = TempDir::new().unwrap();
    copy(&cluster.dir(C), backup.path());
    for n in 0..20 {
        cluster.write(&ALL, &n.to_string()).await;
    }
    wait_for("everything at node 3", || {
        (cluster.journal(C).len() == 21).then_some(())
    })
    .await;
    cluster.wait_fit(A, C).await;
    cluster.stop(C).await;
    let started = cluster.start_in(C, backup.path(), any_port(), None).await;
    let Err(StartError::Refused { reason, .. }) = started else {
        panic!("the backup started")
    };
    assert!(reason.contains("behind"), "{reason}");
    cluster.write(&[A, B], "after").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_directory_under_an_old_id_is_refused() {
    let mut cluster = Cluster::three().await;
    cluster.write(&ALL, "one").await;
    cluster.wait_journal(&ALL, &["one"]).await;
    cluster.stop(C).await;
    cluster.wipe(C);
    cluster.start(C).await;
    let reason = cluster.stop_reason(C).await;
    assert!(matches!(reason, StopReason::Refused { .. }), "{reason:?}");
    assert_eq!(cluster.nodes[&C].store.bounds().last, None);
    cluster.write(&[A, B], "two").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_leads_to_another_node_reaches_nobody() {
    let mut cluster = Cluster::single().await;
    cluster.house(B);
    cluster.start(B).await;
    let wrong = Peer {
        name: name_of(C),
        addresses: vec![cluster.homes[&B].address.clone()],
    };
    let limit = Instant::now() + timings().election_max * 2;
    let added = cluster.nodes[&A]
        .consensus
        .add_learner(C, wrong, limit)
        .await;
    assert_eq!(added, Err(ChangeError::Unknown));
    assert!(cluster.nodes[&A].consensus.metrics().dials > 0);
    assert_eq!(cluster.nodes[&B].store.bounds().last, None);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_start_with_another_nodes_certificate() {
    let mut cluster = Cluster::new();
    cluster.house(B);
    let tls = cluster.authority.node(CLUSTER, &name_of(C));
    let started = cluster.start_as(B, tls).await;
    assert!(matches!(
        started,
        Err(StartError::ForeignCertificate { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_ca_reaches_nobody() {
    let mut cluster = Cluster::single().await;
    cluster.house(B);
    let uri = format!("haft://{CLUSTER}/node/{}", name_of(B));
    // It trusts this cluster; this cluster does not trust it.
    let tls = Authority::new().sign_among(&uri, &cluster.authority);
    let node = cluster.start_as(B, tls).await.unwrap();
    cluster.nodes.insert(B, node);
    let limit = Instant::now() + timings().election_max * 2;
    let leader = &cluster.nodes[&A].consensus;
    assert_eq!(
        leader.add_learner(B, cluster.peer(B), limit).await,
        Err(ChangeError::Unknown)
    );
    assert_eq!(cluster.nodes[&B].store.bounds().last, None);
    cluster.end().await;
}
