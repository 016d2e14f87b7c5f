//! Leadership: lost, feigned, handed over.

use std::collections::BTreeSet;

use haft_coordinator::consensus::{
    ChangeError, Condition, Fate, LogPosition, ProposeError, Purpose, RaftState, StopReason,
    TransferError,
};

use super::cluster::{A, ALL, B, C, Cluster, deadline, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_quorum_is_no_leader_though_raft_still_calls_it_one() {
    let cluster = Cluster::three().await;
    cluster.links.isolate(A, &ALL);
    let consensus = &cluster.nodes[&A].consensus;
    wait_for("the end of leadership", || {
        consensus.leads_now().is_none().then_some(())
    })
    .await;
    assert_eq!(consensus.metrics().state, RaftState::Leader);
    wait_for("the watch to follow", || {
        cluster.leader_of(&[A]).is_none().then_some(())
    })
    .await;
    let leader = cluster.wait_leader(&[B, C]).await;
    assert_ne!(leader, A);
    let late = consensus
        .propose(b"late".to_vec(), Condition::Any, deadline())
        .await;
    assert!(
        matches!(
            late,
            Err(ProposeError::NoQuorum | ProposeError::NotLeader { .. })
        ),
        "{late:?}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_no_answer_gives_way() {
    let cluster = Cluster::three().await;
    // Its heartbeats still arrive and renew the followers' leases.
    for to in [B, C] {
        cluster
            .links
            .set(A, to, Purpose::Heartbeat, Fate::LoseAnswer);
        cluster.links.set(A, to, Purpose::Log, Fate::LoseAnswer);
    }
    cluster.wait_leader(&[B, C]).await;
    cluster.write(&[B, C], "one").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_does_not_raise_the_term() {
    let cluster = Cluster::three().await;
    let term = cluster.nodes[&A].consensus.metrics().term;
    cluster.links.isolate(C, &ALL);
    // It asks for pre-votes again and again, in vain.
    wait_for("several rounds of pre-votes", || {
        (cluster.links.votes(C) >= 8).then_some(())
    })
    .await;
    assert_eq!(cluster.nodes[&C].consensus.metrics().term, term);
    cluster.links.heal();
    cluster.write(&ALL, "one").await;
    cluster.wait_journal(&ALL, &["one"]).await;
    assert_eq!(cluster.nodes[&A].consensus.metrics().term, term);
    assert_eq!(cluster.leader_of(&ALL), Some(A));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_to_a_fresh_leader_waits_for_its_quorum() {
    let mut cluster = Cluster::three().await;
    for from in [B, C] {
        for to in [B, C] {
            cluster.links.set(from, to, Purpose::Heartbeat, Fate::Cut);
            cluster.links.set(from, to, Purpose::Log, Fate::Cut);
        }
    }
    cluster.stop(A).await;
    let fresh = wait_for("a leader without an acknowledgement", || {
        [B, C].into_iter().find(|id| {
            let metrics = cluster.nodes[id].consensus.metrics();
            metrics.state == RaftState::Leader && metrics.quorum_ack_age.is_none()
        })
    })
    .await;
    let consensus = cluster.nodes[&fresh].consensus.clone();
    let proposal = tokio::spawn(async move {
        consensus
            .propose(b"early".to_vec(), Condition::Any, deadline())
            .await
    });
    tokio::task::yield_now().await;
    cluster.links.heal();
    let result = proposal.await.unwrap();
    assert_ne!(result, Err(ProposeError::NoQuorum));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_to_the_chosen_node_and_stays_proposable() {
    let cluster = Cluster::three().await;
    cluster.write(&ALL, "one").await;
    cluster.wait_journal(&ALL, &["one"]).await;
    cluster.hand_over(A, B).await;
    wait_for("node 2 to lead", || cluster.nodes[&B].consensus.leads_now()).await;
    cluster.write(&ALL, "two").await;
    cluster.wait_journal(&ALL, &["one", "two"]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_does_not_end_stops_the_old_leaders_raft() {
    let cluster = Cluster::three().await;
    cluster.write(&ALL, "one").await;
    cluster.wait_journal(&ALL, &["one"]).await;
    for from in [B, C] {
        for to in ALL {
            cluster.links.set(from, to, Purpose::Vote, Fate::Cut);
        }
    }
    cluster.wait_fit(A, B).await;
    let moved = cluster.nodes[&A]
        .consensus
        .transfer_to(B, tokio::time::Instant::now())
        .await;
    assert_eq!(moved, Err(TransferError::Stuck { target: B }));
    assert_eq!(cluster.stop_reason(A).await, StopReason::TransferStuck);
    cluster.links.heal();
    cluster.write(&[B, C], "two").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_only_to_a_live_voter() {
    let mut cluster = Cluster::three().await;
    let unfit =
        |result: Result<(), TransferError>| matches!(result, Err(TransferError::Unfit { .. }));
    cluster.stop(C).await;
    let consensus = &cluster.nodes[&A].consensus;
    wait_for("silence of node 3", || {
        let age = consensus.metrics().peers[&C].ack_age;
        age.is_none_or(|age| age > super::cluster::timings().election_min)
            .then_some(())
    })
    .await;
    assert!(unfit(consensus.transfer_to(C, deadline()).await));
    assert!(unfit(consensus.transfer_to(A, deadline()).await));
    assert!(unfit(
        consensus
            .transfer_to(haft_coordinator::consensus::PeerId(9), deadline())
            .await
    ));
    cluster.write(&[A, B], "still leading").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_bound_to_an_old_term_changes_nothing() {
    let cluster = Cluster::three().await;
    let term = cluster.nodes[&A].consensus.leads_now().expect("it leads");
    cluster.hand_over(A, B).await;
    cluster.wait_leader(&ALL).await;
    cluster.hand_over(B, A).await;
    wait_for("node 1 to lead again", || {
        cluster.nodes[&A].consensus.leads_now()
    })
    .await;
    let stale = cluster.nodes[&A]
        .consensus
        .propose(b"stale".to_vec(), Condition::LeaderTerm(term), deadline())
        .await;
    assert_eq!(stale, Err(ProposeError::TermChanged { term }));
    cluster.write(&ALL, "fresh").await;
    cluster.wait_journal(&ALL, &["fresh"]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_initialised_once() {
    let cluster = Cluster::single().await;
    let again = cluster.nodes[&A]
        .consensus
        .initialize(cluster.peer(A))
        .await;
    assert!(
        matches!(again, Err(ChangeError::Invalid { .. })),
        "{again:?}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_is_changed_only_by_who_has_seen_it() {
    let cluster = Cluster::three().await;
    let consensus = &cluster.nodes[&A].consensus;
    let seen = consensus.membership().borrow().effective.clone();
    assert_eq!(seen.configs, [BTreeSet::from(ALL)]);
    let stale = LogPosition {
        index: 0,
        ..seen.at.expect("a membership is stored")
    };
    let refused = consensus
        .change_voters(BTreeSet::from([A, B]), stale, deadline())
        .await;
    assert_eq!(refused, Err(ChangeError::Changed));
    let last = seen.at.expect("a membership is stored");
    consensus
        .change_voters(BTreeSet::from([A, B]), last, deadline())
        .await
        .unwrap();
    let now = wait_for("the committed membership", || {
        let now = consensus.membership().borrow().clone();
        (now.committed.configs == [BTreeSet::from([A, B])]).then_some(now)
    })
    .await;
    assert_eq!(now.effective, now.committed);
    assert!(!now.committed.peers.contains_key(&C));
    cluster.end().await;
}
