//! Linearizable reads, and the lease that a restarted voter must not break.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use haft_coordinator::consensus::ReadError;

use super::cluster::{A, ALL, Cluster, deadline, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_sees_every_write_before_it() {
    let cluster = Cluster::three().await;
    let mut confirmed = 0;
    for n in 0..20 {
        let written = cluster.write(&ALL, &n.to_string()).await;
        let leader = cluster.wait_leader(&ALL).await;
        // Leadership may move on a loaded machine; then the read is refused, never wrong.
        if let Ok(read) = cluster.nodes[&leader]
            .consensus
            .read_index(deadline())
            .await
        {
            assert!(read >= written.at);
            assert_eq!(cluster.journal(leader).len(), n + 1);
            confirmed += 1;
        }
    }
    assert!(confirmed > 0);
    let leader = cluster.wait_leader(&ALL).await;
    let other = ALL.into_iter().find(|id| *id != leader).unwrap();
    let follower = cluster.nodes[&other].consensus.read_index(deadline()).await;
    assert!(
        matches!(follower, Err(ReadError::NotLeader { .. })),
        "{follower:?}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_just_cut_off_confirms_no_read_though_its_lease_runs() {
    let cluster = Cluster::three().await;
    cluster.links.isolate(A, &ALL);
    let limit = tokio::time::Instant::now() + super::cluster::timings().election_min;
    let read = cluster.nodes[&A].consensus.read_index(limit).await;
    assert!(
        matches!(read, Err(ReadError::NoQuorum | ReadError::TimedOut)),
        "{read:?}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_voter_elects_nobody_while_its_old_leader_may_act() {
    let mut cluster = Cluster::three().await;
    for round in 0..6_usize {
        let old = cluster.wait_leader(&ALL).await;
        let [restarts, wants] =
            [1, 2].map(|step| ALL[(ALL.iter().position(|id| *id == old).unwrap() + step) % 3]);
        // `wants` has not heard of the leader for long and asks for votes all the time.
        cluster.links.cut(old, wants);
        let before = cluster.links.votes(wants);
        wait_for("a candidate", || {
            (cluster.links.votes(wants) >= before + 4).then_some(())
        })
        .await;
        wait_for("the old leader in its right", || {
            cluster.nodes[&old].consensus.leads_now()
        })
        .await;
        cluster.links.cut(old, restarts);
        let (old_node, rival) = (
            cluster.nodes[&old].consensus.clone(),
            cluster.nodes[&wants].consensus.clone(),
        );
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let watching = tokio::spawn(async move {
            let mut together = false;
            wait_for("the end of the round", || {
                together |= rival.leads_now().is_some() && old_node.leads_now().is_some();
                ended.load(Ordering::Relaxed).then_some(())
            })
            .await;
            together
        });
        cluster.restart(restarts).await;
        cluster.wait_leader(&[wants, restarts]).await;
        over.store(true, Ordering::Relaxed);
        assert!(
            !watching.await.unwrap(),
            "two leaders in their right in round {round}"
        );
        cluster.links.heal();
        cluster.write(&ALL, &round.to_string()).await;
        for id in ALL {
            wait_for("everybody at the end", || {
                (cluster.journal(id).len() == round + 1).then_some(())
            })
            .await;
        }
    }
    cluster.end().await;
}
