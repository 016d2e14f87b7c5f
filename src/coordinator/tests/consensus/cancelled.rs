//! Calls that are given up at any moment: whoever asked may hang up at every await, and what it
//! asked for still ends.

use std::pin::pin;
use std::task::Poll;

use haft_coordinator::consensus::{RaftState, TransferError};

use super::cluster::{A, ALL, B, Cluster, deadline, wait_for};

/// Polls `call` this often and drops it then. Says whether it had ended before.
async fn give_up_after<T>(polls: usize, call: impl Future<Output = T>) -> bool {
    let mut call = pin!(call);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match call.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            // Polled again whenever something has happened.
            Poll::Pending if left > 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(false),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_given_up_at_any_poll_leaves_a_leader_that_acts() {
    let cluster = Cluster::three().await;
    let mut lines: Vec<String> = Vec::new();
    for polls in 0.. {
        cluster.wait_fit(A, B).await;
        let call = cluster.nodes[&A].consensus.transfer_to(B, deadline());
        let ended = give_up_after(polls, call).await;
        // Stands behind the one that was given up, so nothing is under way after it.
        let last = cluster.nodes[&A].consensus.transfer_to(B, deadline()).await;
        let settled = matches!(
            last,
            Ok(()) | Err(TransferError::NotLeader | TransferError::Unfit { .. })
        );
        assert!(settled, "{last:?}");
        // Whether it moved or not, somebody leads and decides.
        lines.push(format!("after {polls} polls"));
        cluster.write(&ALL, &lines[polls]).await;
        for from in ALL.into_iter().filter(|from| *from != A) {
            if cluster.nodes[&from].consensus.leads_now().is_some() {
                cluster.hand_over(from, A).await;
            }
        }
        let leads = || cluster.nodes[&A].consensus.leads_now();
        wait_for("node 1 to lead and act again", leads).await;
        assert_eq!(
            cluster.nodes[&A].consensus.metrics().state,
            RaftState::Leader
        );
        if ended {
            break;
        }
    }
    assert!(lines.len() > 1, "no call was given up");
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    cluster.wait_journal(&ALL, &lines).await;
    cluster.end().await;
}
