//! Reads: linearizable through ReadIndex on the leader, or local and stamped with their age.

use crate::consensus::ReadError;
use crate::context::Context;
use haft_api::pb::v1;
use haft_api::status::{NO_QUORUM, not_leader, status};
use haft_engine::state::ClusterState;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Status};

/// A read that cannot be confirmed by then is refused.
const READ_DEADLINE: Duration = Duration::from_secs(3);

/// Runs `read` on a state that is as fresh as the caller asked for.
pub(super) async fn read<T>(
    context: &Context,
    options: Option<v1::ReadOptions>,
    read: impl FnOnce(&ClusterState) -> T,
) -> Result<(T, v1::ReadStamp), Status> {
    let local = match options.unwrap_or_default().consistency() {
        v1::Consistency::Local => true,
        v1::Consistency::Unspecified | v1::Consistency::Linearizable => false,
    };
    if !local {
        let confirmed = context
            .consensus
            .read_index(Instant::now() + READ_DEADLINE)
            .await;
        confirmed.map_err(|error| read_status(context, &error))?;
    }
    let state = context.replica.state();
    let age = context.consensus.quorum_ack_age().unwrap_or_default();
    let stamp = v1::ReadStamp {
        applied_index: state.applied.0,
        age_ms: if local {
            u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
        } else {
            0
        },
        linearizable: !local,
    };
    Ok((read(&state), stamp))
}

fn read_status(context: &Context, error: &ReadError) -> Status {
    match error {
        ReadError::NotLeader { .. } => not_leader(context.leader_api().as_deref()),
        ReadError::NoQuorum | ReadError::TimedOut | ReadError::Stopped => status(
            Code::Unavailable,
            NO_QUORUM,
            error.to_string(),
            "ask again when a majority of coordinators is up, or read with consistency local",
        ),
    }
}

/// "Not found", as every get answers it.
pub(super) fn absent(what: &str, name: &str) -> Status {
    status(
        Code::NotFound,
        "NotFound",
        format!("{what} {name:?} does not exist"),
        "list what exists with haftctl get",
    )
}
