//! Mutations: one command proposed, answered when applied.

use crate::clock::wall_unix_ms;
use crate::consensus::{Condition, ProposeError};
use crate::context::Context;
use haft_api::convert::FieldError;
use haft_api::pb::v1;
use haft_api::persisted;
use haft_api::status::{NO_QUORUM, OUTCOME_UNKNOWN, not_leader, refused, status};
use haft_engine::apply::{Outcome, apply};
use haft_engine::command::{Command, Entry};
use haft_engine::ids::LogIndex;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Status};

/// A mutation that has not been applied by then is answered "outcome unknown".
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// Whether a mutation takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// It does.
    Commit,
    /// Everything is checked on a copy of the state, nothing changes.
    DryRun,
}

/// The effect that the caller asked for.
pub(super) fn effect(options: Option<&v1::MutationOptions>) -> Effect {
    match options {
        Some(options) if options.dry_run => Effect::DryRun,
        Some(_) | None => Effect::Commit,
    }
}

/// Proposes (or tries) one command. A refusal is an error status.
pub(super) async fn write(
    context: &Context,
    command: Command,
    effect: Effect,
) -> Result<Outcome, Status> {
    let entry = Entry {
        stamp_unix_ms: wall_unix_ms(),
        commands: vec![command],
    };
    let outcomes = match effect {
        Effect::DryRun => {
            let mut copy = context.replica.state().clone();
            let next = LogIndex(copy.applied.0 + 1);
            apply(&mut copy, next, &entry)
        }
        Effect::Commit => {
            let deadline = Instant::now() + WRITE_DEADLINE;
            let payload = persisted::encode_entry(&entry);
            let applied = context
                .consensus
                .propose(payload, Condition::Any, deadline)
                .await;
            let applied = applied.map_err(|error| propose_status(context, &error))?;
            persisted::decode_outcomes(&applied.response)
                .map_err(|error| Status::internal(error.to_string()))?
        }
    };
    match outcomes.into_iter().next() {
        Some(Outcome::Refused(refusal)) => Err(refused(&refusal)),
        Some(outcome) => Ok(outcome),
        None => Err(Status::internal("an entry was applied without an outcome")),
    }
}

fn propose_status(context: &Context, error: &ProposeError) -> Status {
    match error {
        ProposeError::NotLeader { .. } => not_leader(context.leader_api().as_deref()),
        ProposeError::NoQuorum => status(
            Code::Unavailable,
            NO_QUORUM,
            "no majority of coordinators answers",
            "start the missing coordinators; haftctl cluster status names them",
        ),
        ProposeError::TooLarge { .. } => status(
            Code::InvalidArgument,
            "TooLarge",
            error.to_string(),
            "split the change into smaller ones",
        ),
        ProposeError::TermChanged { .. } | ProposeError::Unknown | ProposeError::Stopped => status(
            Code::Unknown,
            OUTCOME_UNKNOWN,
            "the change may or may not take effect",
            "read the object; repeating with the same request id has one effect",
        ),
    }
}

/// A field that cannot become a value.
pub(super) fn field_status(error: FieldError) -> Status {
    status(
        Code::InvalidArgument,
        "InvalidField",
        error.to_string(),
        &error.fix,
    )
}
