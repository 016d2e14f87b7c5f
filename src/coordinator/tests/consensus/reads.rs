//! Linearizable reads, and the lease that a restarted voter must not break.

use haft_coordinator::consensus::ReadError;

use super::cluster::{A, ALL, B, Cluster, deadline, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_sees_every_write_before_it() {
    let cluster = Cluster::three().await;
    for n in 0..20 {
        let written = cluster.propose(A, &n.to_string()).await.unwrap();
        let read = cluster.nodes[&A]
            .consensus
            .read_index(deadline())
            .await
            .unwrap();
        assert!(read >= written.at);
        assert_eq!(cluster.journal(A).len(), n + 1);
    }
    let follower = cluster.nodes[&B].consensus.read_index(deadline()).await;
    assert_eq!(follower, Err(ReadError::NotLeader { leader: Some(A) }));
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
    for round in 0..4 {
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
        let watched = cluster.nodes[&old].consensus.clone();
        let rival = cluster.nodes[&wants].consensus.clone();
        let watching = tokio::spawn(async move {
            let mut together = false;
            wait_for("a new leader", || {
                let new = rival.leads_now();
                together |= new.is_some() && watched.leads_now().is_some();
                (new.is_some() && watched.leads_now().is_none()).then_some(())
            })
            .await;
            together
        });
        cluster.restart(restarts).await;
        assert!(
            !watching.await.unwrap(),
            "two leaders in their right in round {round}"
        );
        cluster.links.heal();
        cluster.write(&ALL, &round.to_string()).await;
    }
    cluster.end().await;
}
