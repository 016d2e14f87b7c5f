//! `apply`: one entry onto the state. Total and deterministic: every input gives a state and an outcome
//! for each command; a command whose precondition fails changes nothing and says why (R1).
//!
//! Deliberately absent: clocks, randomness, I/O, policy. Whether a change is wise is the leader's
//! business ([`crate::leader`]); here stands only what must hold for it to be safe. A session's end and
//! every proof go through [`crate::evidence`]; `apply::ownership` alone makes a resource `Unowned`.

use crate::command::{Command, Entry};
use crate::ids::{Generation, Incarnation, LogIndex, NodeId, OrderId, RequestId, Token};
use crate::state::{ClusterState, REQUESTS_MAX, RememberedRequest};

mod admission;
mod event;
mod fence;
mod forget;
mod joining;
mod object;
mod obstacle;
mod ownership;
mod probe;
mod quarantine;
mod series;
mod session;
mod timing;
mod topology;
mod victims;

pub use obstacle::CHANGES_MAX as OBSTACLE_CHANGES_MAX;

pub(crate) use fence::{ATTEMPT_MAX, leaves_orphans, may_testify, wants_power};
pub(crate) use ownership::proof_word;

/// What one command did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Accepted; nothing to hand back.
    Done,
    /// A node was registered under this id.
    Registered(NodeId),
    /// An incarnation was admitted.
    Admitted(Incarnation),
    /// A grant under this token.
    Granted(Token),
    /// An order was opened (or the open one for the same life is returned).
    Ordered(OrderId),
    /// An object stands at this version.
    Written(Generation),
    /// Changed nothing.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Stable class, for exit codes and gRPC status.
    pub kind: RefusalKind,
    /// Machine reason in CamelCase, for instance `AddressInUse`.
    pub reason: String,
    /// What is wrong, one sentence, lower case.
    pub message: String,
    /// What to do about it; empty if nothing can be done.
    pub fix: String,
}

impl Refusal {
    fn new(kind: RefusalKind, reason: &str, message: impl Into<String>) -> Refusal {
        Refusal {
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            fix: String::new(),
        }
    }
    pub(crate) fn stale(reason: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Stale, reason, message)
    }
    fn not_found(reason: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::NotFound, reason, message)
    }
    pub(crate) fn invalid(reason: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Invalid, reason, message)
    }
    fn denied(reason: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Denied, reason, message)
    }
    fn dangerous(reason: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Unsafe, reason, message)
    }
    fn exists(reason: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Exists, reason, message)
    }
    fn fix(mut self, fix: impl Into<String>) -> Refusal {
        self.fix = fix.into();
        self
    }
}

/// Classes of refusal. The first that holds is the one: who asks, then whether what is named exists, then whether
/// what is asked is sound in itself and against what it names, then whether the cluster as it stands lets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// A stale precondition: another decision came first.
    Stale,
    /// Named something that does not exist.
    NotFound,
    /// An object of the same kind has that name, key or address already.
    Exists,
    /// Wrong as written, whatever the cluster's condition: it has to be asked otherwise.
    Invalid,
    /// Well asked, and the cluster as it stands forbids it: it would be unsafe, or cannot be done before something
    /// else has changed.
    Unsafe,
    /// Whoever asks may not.
    Denied,
}

/// Where in the log a command stands.
#[derive(Clone, Copy, Debug)]
struct At {
    index: LogIndex,
    stamp_unix_ms: u64,
}

/// Applies `entry` at `index`; one outcome for each command, in order.
pub fn apply(state: &mut ClusterState, index: LogIndex, entry: &Entry) -> Vec<Outcome> {
    let at = At {
        index,
        stamp_unix_ms: entry.stamp_unix_ms,
    };
    state.applied = index;
    entry
        .commands
        .iter()
        .map(|command| apply_once(state, at, command))
        .collect()
}

/// Applies a mutation unless its request was applied before.
fn apply_once(state: &mut ClusterState, at: At, command: &Command) -> Outcome {
    let request = request_of(command).filter(|id| *id != RequestId::default());
    if let Some(id) = request
        && let Some(earlier) = state.requests.iter().find(|earlier| earlier.id == id)
    {
        if same_request(&earlier.command, command) {
            return earlier.outcome.clone();
        }
        return Outcome::Refused(
            Refusal::invalid(
                "RequestIdReused",
                "this request id was used for another command",
            )
            .fix("send the command again with a new request id"),
        );
    }
    match apply_command(state, at, command) {
        Ok(outcome) => {
            if let Some(id) = request {
                remember(state, id, command, &outcome);
            }
            outcome
        }
        // A refusal had no effect, so a retry may be judged anew; only effects are remembered.
        Err(refusal) => Outcome::Refused(refusal),
    }
}

fn remember(state: &mut ClusterState, id: RequestId, command: &Command, outcome: &Outcome) {
    while state.requests.len() >= REQUESTS_MAX {
        state.requests.pop_front();
    }
    state.requests.push_back(RememberedRequest {
        id,
        command: command.clone(),
        outcome: outcome.clone(),
    });
}

/// Whether two commands are one request: a retry may name another executor for the first try.
fn same_request(earlier: &Command, later: &Command) -> bool {
    match (earlier, later) {
        (
            Command::FenceIntent {
                node,
                incarnation,
                action,
                cause,
                ..
            },
            Command::FenceIntent {
                node: later_node,
                incarnation: later_incarnation,
                action: later_action,
                cause: later_cause,
                ..
            },
        ) => {
            (node, incarnation, action, cause)
                == (later_node, later_incarnation, later_action, later_cause)
        }
        (earlier, later) => earlier == later,
    }
}

fn request_of(command: &Command) -> Option<RequestId> {
    match command {
        Command::MintJoinToken { request, .. }
        | Command::Move { request, .. }
        | Command::FenceIntent { request, .. }
        | Command::ConfirmOff { request, .. }
        | Command::Put { request, .. }
        | Command::SetTiming { request, .. }
        | Command::Delete { request, .. } => Some(*request),
        Command::Bootstrap { .. }
        | Command::RegisterNode { .. }
        | Command::Membership(_)
        | Command::Admit { .. }
        | Command::Closing { .. }
        | Command::Reopened { .. }
        | Command::Expired { .. }
        | Command::Retimed { .. }
        | Command::LifetimeLapsed { .. }
        | Command::WatchdogLapsed { .. }
        | Command::Grant { .. }
        | Command::WatchdogArmed { .. }
        | Command::Begun { .. }
        | Command::Withdraw { .. }
        | Command::Activated { .. }
        | Command::Relinquish { .. }
        | Command::Troubled { .. }
        | Command::Released { .. }
        | Command::FenceAttempt { .. }
        | Command::FenceVerdict { .. }
        | Command::FenceHeld { .. }
        | Command::FenceCancelled { .. }
        | Command::FenceTryOver { .. }
        | Command::Witnessed { .. }
        | Command::Obstructed { .. }
        | Command::RivalHeard { .. }
        | Command::DeviceProbed { .. } => None,
    }
}

fn apply_command(state: &mut ClusterState, at: At, command: &Command) -> Result<Outcome, Refusal> {
    match command {
        Command::Bootstrap { .. }
        | Command::MintJoinToken { .. }
        | Command::RegisterNode { .. }
        | Command::Membership(_) => joining::apply(state, at, command),
        Command::Admit { .. }
        | Command::Closing { .. }
        | Command::Reopened { .. }
        | Command::Expired { .. } => session::apply(state, at, command),
        Command::SetTiming { .. } | Command::Retimed { .. } => timing::apply(state, at, command),
        Command::LifetimeLapsed { .. }
        | Command::WatchdogLapsed { .. }
        | Command::Grant { .. }
        | Command::WatchdogArmed { .. }
        | Command::Begun { .. }
        | Command::Withdraw { .. }
        | Command::Activated { .. }
        | Command::Relinquish { .. }
        | Command::Troubled { .. }
        | Command::Released { .. }
        | Command::Move { .. } => ownership::apply(state, at, command),
        Command::FenceIntent { .. }
        | Command::FenceAttempt { .. }
        | Command::FenceVerdict { .. }
        | Command::FenceHeld { .. }
        | Command::FenceCancelled { .. }
        | Command::FenceTryOver { .. }
        | Command::Witnessed { .. }
        | Command::ConfirmOff { .. } => fence::apply(state, at, command),
        Command::Obstructed { node, changes } => obstacle::obstructed(state, at, *node, changes),
        Command::RivalHeard {
            resource,
            node,
            rival,
        } => obstacle::rival_heard(state, at, resource, *node, rival.as_ref()),
        Command::DeviceProbed {
            device,
            generation,
            health,
        } => probe::probed(state, at, device, *generation, health),
        Command::Put {
            object, expected, ..
        } => object::put(state, at, object, *expected),
        Command::Delete {
            object, expected, ..
        } => object::delete(state, at, object, *expected),
    }
}

#[cfg(test)]
mod tests;
