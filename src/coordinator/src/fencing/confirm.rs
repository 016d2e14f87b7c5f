//! A linearizable read for the executor, on the leader and on whoever led when the try began: this
//! coordinator's state is brought up to what a majority had committed when it was asked.
//!
//! Without it an executor that was paused, or cut off, would go by an order that the others have
//! closed meanwhile. Reads nothing itself.

use crate::consensus::ReadError;
use crate::context::Context;
use haft_engine::ids::{LogIndex, NodeId};
use haft_fence_protocol::caller::Deadline;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Between two tries; an election takes longer.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Waits until the state holds everything that was committed before this call.
///
/// # Errors
/// Why nobody could say what was committed, in words, when the deadline or three election
/// timeouts have passed.
pub(super) async fn state(context: &Context, deadline: Deadline) -> Result<(), String> {
    let patience = deadline.left().min(context.timing.election_max * 3);
    let end = Instant::now() + patience;
    loop {
        let why = match context.consensus.read_index(end).await {
            Ok(_) => return Ok(()),
            Err(ReadError::NotLeader { .. }) => match follow(context, end).await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() + AGAIN_AFTER >= end || deadline.has_passed() {
            return Err(format!("nobody confirms that the order stands: {why}"));
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Asks the leader how far the log is confirmed, and waits until that is applied here.
async fn follow(context: &Context, end: Instant) -> Result<(), String> {
    let leader = context.leader().filter(|leader| *leader != context.own);
    let leader: NodeId = leader.ok_or("no leader is known")?;
    let asked = context.peers.confirmed_index(context, leader);
    let left = end.saturating_duration_since(Instant::now());
    let index = timeout(left, asked)
        .await
        .map_err(|_| "the leader does not answer")?;
    let index: LogIndex = index.map_err(|status| status.message().to_owned())?;
    let mut applied = context.replica.applied();
    let left = end.saturating_duration_since(Instant::now());
    let reached = timeout(left, applied.wait_for(|applied| *applied >= index)).await;
    match reached {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err("this coordinator is behind the leader".to_owned()),
    }
}
