//! Single fields: fixed-size byte strings, durations, small enums by number, resource names.

use super::PersistedError;
use crate::pb::log as pb;
use haft_engine::command::{
    Attestation, Difficulty, FenceAction, HoldReason, PathFault, PathHealth, RelinquishCause,
    Verdict, VoterSets,
};
use haft_engine::gate::GateKind;
use haft_engine::ids::{EntryId, Epoch, LogIndex, NodeId, RequestId, ResourceId, Token};
use haft_engine::spec::Isolation;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) type Decoded<T> = Result<T, PersistedError>;

pub(super) fn missing(field: &'static str) -> PersistedError {
    PersistedError::Field { field }
}

pub(super) fn required<T>(value: Option<T>, field: &'static str) -> Decoded<T> {
    value.ok_or_else(|| missing(field))
}

pub(super) fn array<const N: usize>(bytes: &[u8], field: &'static str) -> Decoded<[u8; N]> {
    bytes.try_into().map_err(|_| missing(field))
}

/// An absent request id is stored as no bytes.
pub(super) fn request_into(id: RequestId) -> Vec<u8> {
    if id == RequestId::default() {
        Vec::new()
    } else {
        id.0.to_vec()
    }
}

pub(super) fn request_from(bytes: &[u8]) -> Decoded<RequestId> {
    if bytes.is_empty() {
        return Ok(RequestId::default());
    }
    Ok(RequestId(array(bytes, "request")?))
}

pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn resource_from(text: &str) -> Decoded<ResourceId> {
    let name = text
        .strip_prefix("vip/")
        .ok_or_else(|| missing("resource"))?;
    Ok(ResourceId::vip(name))
}

pub(super) fn health_into(health: &PathHealth) -> pb::PathHealth {
    match health {
        PathHealth::Healthy => pb::PathHealth::default(),
        PathHealth::Failing { fault, why } => pb::PathHealth {
            fault: match fault {
                PathFault::NotRunnable => 1,
                PathFault::Failed => 2,
                PathFault::NoAnswer => 3,
            },
            why: why.clone(),
        },
    }
}

pub(super) fn health_from(form: pb::PathHealth) -> Decoded<PathHealth> {
    let fault = match form.fault {
        0 => return Ok(PathHealth::Healthy),
        1 => PathFault::NotRunnable,
        2 => PathFault::Failed,
        3 => PathFault::NoAnswer,
        _ => return Err(missing("path fault")),
    };
    let why = form.why;
    Ok(PathHealth::Failing { fault, why })
}

pub(super) fn token_into(token: Token) -> Option<pb::Token> {
    Some(pb::Token {
        epoch: token.epoch.0,
        index: token.index.0,
    })
}

pub(super) fn token_from(form: Option<pb::Token>) -> Decoded<Token> {
    let form = required(form, "token")?;
    Ok(Token {
        epoch: Epoch(form.epoch),
        index: LogIndex(form.index),
    })
}

pub(super) fn voters_into(sets: &VoterSets) -> pb::VoterSets {
    let set = |nodes: &BTreeSet<NodeId>| pb::VoterSet {
        nodes: nodes.iter().map(|n| n.0).collect(),
    };
    pb::VoterSets {
        index: sets.at.index.0,
        term: sets.at.term.0,
        sets: sets.sets.iter().map(set).collect(),
    }
}

pub(super) fn voters_from(form: pb::VoterSets) -> VoterSets {
    let set = |form: pb::VoterSet| form.nodes.into_iter().map(NodeId).collect();
    VoterSets {
        at: EntryId::new(form.term, form.index),
        sets: form.sets.into_iter().map(set).collect(),
    }
}

/// A closed enum stored by number; numbers are never reused.
macro_rules! numbered {
    ($into:ident, $from:ident, $type:ty, $field:literal, { $($variant:path => $number:literal),+ $(,)? }) => {
        pub(super) fn $into(value: $type) -> u32 {
            match value { $($variant => $number),+ }
        }
        pub(super) fn $from(number: u32) -> Decoded<$type> {
            match number { $($number => Ok($variant),)+ _ => Err(missing($field)) }
        }
    };
}

numbered!(isolation_into, isolation_from, Isolation, "isolation", {
    Isolation::Lease => 1, Isolation::Watchdog => 2, Isolation::Stonith => 3,
});
numbered!(guard_into, guard_from, Attestation, "guard", {
    Attestation::Unknown => 0, Attestation::Broken => 1, Attestation::Intact => 2,
    Attestation::Watched => 3,
});
numbered!(gate_into, gate_from, GateKind, "gate", {
    GateKind::Timed => 0, GateKind::Kernel => 1,
});
numbered!(action_into, action_from, FenceAction, "action", {
    FenceAction::Off => 1, FenceAction::On => 2,
});
numbered!(difficulty_into, difficulty_from, Difficulty, "difficulty", {
    Difficulty::Start => 1, Difficulty::Stop => 2,
});
numbered!(verdict_into, verdict_from, Verdict, "verdict", {
    Verdict::Confirmed => 1, Verdict::Refused => 2, Verdict::Unknown => 3,
});
numbered!(hold_into, hold_from, HoldReason, "reason", {
    HoldReason::Quorum => 1, HoldReason::NoDevice => 2,
});
numbered!(cause_into, cause_from, RelinquishCause, "cause", {
    RelinquishCause::Moved => 1, RelinquishCause::Drained => 2, RelinquishCause::SpecChanged => 3,
    RelinquishCause::Failback => 4, RelinquishCause::Deleted => 5,
    RelinquishCause::Overdue => 40,
});
