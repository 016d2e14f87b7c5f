//! Rule R14: never begun is a fact in the log, never a silence.
//!
//! Under `stonith` the owner acts only after it has seen `Begun` committed, under `watchdog` after its armed period is. So
//! the order of entries decides: where a grant is withdrawn, or the session ends, before that, the owner has done nothing
//! that would have to be proven undone, can begin no more, and nobody is fenced for it. Knows no deadline: the leader
//! does, and a withdrawal of what has begun is refused here whatever it thinks.

use super::{Proven, open, other_holding, resource};
use crate::apply::{At, Outcome, Refusal};
use crate::command::Command;
use crate::ids::{Incarnation, ResourceId, Token};
use crate::spec::Isolation;
use crate::state::{ClusterState, Ownership, Progress, Proof};

/// Applies a begin, or a withdrawal.
pub(super) fn apply(
    state: &mut ClusterState,
    at: At,
    command: &Command,
) -> Result<Outcome, Refusal> {
    match command {
        Command::Begun {
            resource,
            token,
            incarnation,
        } => begun(state, resource, *token, *incarnation),
        Command::Withdraw { resource, token } => withdraw(state, at, resource, *token),
        other => Err(Refusal::invalid("NotABeginning", format!("{other:?}"))),
    }
}

/// The owner is about to act. Refused once it has been asked to stop, or holds no more.
fn begun(
    state: &mut ClusterState,
    id: &ResourceId,
    token: Token,
    incarnation: Incarnation,
) -> Result<Outcome, Refusal> {
    let resource = resource(state, id)?;
    match &mut resource.ownership {
        Ownership::Granted(holding) | Ownership::Active(holding)
            if holding.token == token
                && holding.incarnation == incarnation
                && holding.isolation == Isolation::Stonith =>
        {
            holding.progress = Progress::Begun;
            Ok(Outcome::Done)
        }
        Ownership::Unowned
        | Ownership::Granted(_)
        | Ownership::Active(_)
        | Ownership::Releasing(..)
        | Ownership::Orphaned(_) => Err(other_holding(id, token)),
    }
}

/// Takes the grant back from an owner that has not begun.
fn withdraw(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    token: Token,
) -> Result<Outcome, Refusal> {
    let resource = resource(state, id)?;
    match &resource.ownership {
        Ownership::Granted(holding) | Ownership::Releasing(holding, _)
            if holding.token == token => {}
        Ownership::Unowned
        | Ownership::Granted(_)
        | Ownership::Active(_)
        | Ownership::Releasing(..)
        | Ownership::Orphaned(_) => return Err(other_holding(id, token)),
    }
    if open(state, at, id, Proven::Whatever(Proof::NeverBegun)) {
        return Ok(Outcome::Done);
    }
    Err(Refusal::dangerous(
        "HasBegun",
        format!("the owner of {id} has begun under token {token}: only proof of its end opens it"),
    ))
}

/// The session of its owner is over: open if it never began, else `proof` decides, and what that does not open is
/// orphaned.
pub(in crate::apply) fn session_over(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    proof: &Proof,
) {
    let acted = state
        .resources
        .get(id)
        .and_then(|resource| resource.ownership.holding())
        .is_none_or(|holding| holding.may_have_acted());
    let proof = if acted {
        proof.clone()
    } else {
        Proof::NeverBegun
    };
    open(state, at, id, Proven::OrOrphan(proof));
}
