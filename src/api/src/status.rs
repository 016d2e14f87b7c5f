//! Errors on the wire: a gRPC status with a machine reason, a message and a fix.
//!
//! The reason, the fix and a leader hint travel as metadata (`haft-reason`, `haft-fix`, `haft-leader`), ASCII
//! only. Maps engine refusals to status codes; both sides of the API use this, so that they agree.

use haft_engine::apply::{Refusal, RefusalKind};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};

const REASON: &str = "haft-reason";
const FIX: &str = "haft-fix";
const LEADER: &str = "haft-leader";

/// Reason of a status that only asks to try the leader.
pub const NOT_LEADER: &str = "NotLeader";
/// Reason when no majority answers.
pub const NO_QUORUM: &str = "NoQuorum";
/// Reason when the outcome of a mutation is not known: it may still take effect.
pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";

/// A status with reason and fix.
pub fn status(code: Code, reason: &str, message: impl Into<String>, fix: &str) -> Status {
    let mut status = Status::new(code, message);
    insert(&mut status, REASON, reason);
    insert(&mut status, FIX, fix);
    status
}

/// The status of a refused command.
pub fn refused(refusal: &Refusal) -> Status {
    let code = match refusal.kind {
        RefusalKind::Stale => Code::Aborted,
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::Exists => Code::AlreadyExists,
        RefusalKind::Invalid => Code::InvalidArgument,
        RefusalKind::Unsafe => Code::FailedPrecondition,
        RefusalKind::Denied => Code::PermissionDenied,
    };
    status(code, &refusal.reason, refusal.message.clone(), &refusal.fix)
}

/// "Ask the leader", with the leader's `host:port` if it is known.
pub fn not_leader(leader: Option<&str>) -> Status {
    let mut status = status(
        Code::Unavailable,
        NOT_LEADER,
        "this coordinator is not the leader",
        "try the leader, or any other coordinator",
    );
    if let Some(leader) = leader {
        insert(&mut status, LEADER, leader);
    }
    status
}

/// Machine reason of a status, if it is one of ours.
pub fn reason(status: &Status) -> Option<&str> {
    status.metadata().get(REASON)?.to_str().ok()
}

/// What to do about it.
pub fn fix(status: &Status) -> Option<&str> {
    status
        .metadata()
        .get(FIX)?
        .to_str()
        .ok()
        .filter(|fix| !fix.is_empty())
}

/// The leader's `host:port` as the answering coordinator knows it.
pub fn leader(status: &Status) -> Option<&str> {
    status.metadata().get(LEADER)?.to_str().ok()
}

fn insert(status: &mut Status, key: &'static str, value: &str) {
    let ascii: String = value
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .collect();
    if let Ok(value) = AsciiMetadataValue::try_from(ascii) {
        status.metadata_mut().insert(key, value);
    }
}
