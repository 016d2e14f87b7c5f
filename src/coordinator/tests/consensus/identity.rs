//! Copies, old copies and empty directories are refused, by the node itself and with a reason.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use haft_coordinator::consensus::{ChangeError, Consensus, Peer, StartError, StopReason};
use haft_store::LogStore;
use tempfile::TempDir;
use tokio::time::Instant;

use super::cluster::{A, ALL, B, C, CLUSTER, Cluster, name_of, timings, wait_for};

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
    let reason = cluster.nodes[&C].consensus.stopped().await;
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
async fn a_certificate_of_no_node_or_of_another_ca_reaches_nobody() {
    for foreign in ["user", "other ca"] {
        let mut cluster = Cluster::single().await;
        cluster.house(B);
        let authority = super::cluster::Authority::new();
        let tls = match foreign {
            "user" => cluster
                .authority
                .sign(&format!("haft://{CLUSTER}/node/{}x", name_of(B))),
            _ => authority.node(CLUSTER, &name_of(B)),
        };
        let started = cluster.start_as(B, tls).await;
        if foreign == "user" {
            assert!(matches!(
                started,
                Err(StartError::ForeignCertificate { .. })
            ));
            cluster.end().await;
            continue;
        }
        cluster.nodes.insert(B, started.unwrap());
        let limit = Instant::now() + timings().election_max * 2;
        let leader: &Consensus = &cluster.nodes[&A].consensus;
        assert_eq!(
            leader.add_learner(B, cluster.peer(B), limit).await,
            Err(ChangeError::Unknown)
        );
        assert_eq!(cluster.nodes[&B].store.bounds().last, None);
        cluster.end().await;
    }
}
