//! What is said of an owner beside acting and releasing: its armed watchdog, that watchdog's lapse, and what it
//! cannot do.
//!
//! Opens nothing by itself: the lapse goes through [`super::open`] like every proof.

use super::{Proven, open, other_holding, resource};
use crate::apply::{At, Outcome, Refusal, event};
use crate::command::Difficulty;
use crate::evidence::SPAN_MAX;
use crate::ids::{Incarnation, ResourceId, Token};
use crate::spec::Isolation;
use crate::state::{ClusterState, Ownership, Progress, Proof, Trouble};
use crate::text::{WHY_MAX, bounded};
use std::time::Duration;

/// The owner's watchdog is armed, and from now on it may act.
pub(super) fn watchdog_armed(
    state: &mut ClusterState,
    at: At,
    (id, token, incarnation): (&ResourceId, Token, Incarnation),
    period: Duration,
) -> Result<Outcome, Refusal> {
    if period.is_zero() || period > SPAN_MAX {
        return Err(Refusal::invalid(
            "BadWatchdogPeriod",
            format!("a watchdog period of {period:?} is out of bounds"),
        ));
    }
    // Set meanwhile to one into which it does not fit: the agent arms a shorter one, or hands it back.
    let fits = state
        .timing
        .is_none_or(|now| now.timing.admits_watchdog(period));
    if !fits {
        return Err(Refusal::invalid(
            "BadWatchdogPeriod",
            format!("a watchdog period of {period:?} does not fit the ttl in force"),
        ));
    }
    let resource = resource(state, id)?;
    match &mut resource.ownership {
        Ownership::Granted(holding)
            if holding.token == token
                && holding.incarnation == incarnation
                && holding.isolation == Isolation::Watchdog =>
        {
            // Said again with another period: the longer one may have been running.
            holding.watchdog = holding.watchdog.max(Some(period));
        }
        Ownership::Unowned
        | Ownership::Granted(_)
        | Ownership::Active(_)
        | Ownership::Releasing(..)
        | Ownership::Orphaned(_) => return Err(other_holding(id, token)),
    }
    let message = format!(
        "its owner's watchdog is armed with a period of {} ms",
        period.as_millis()
    );
    event::note(state, at, "WatchdogArmed", id, message);
    Ok(Outcome::Done)
}

/// The leader has waited for the reset.
pub(super) fn watchdog_lapsed(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    token: Token,
    waited: Duration,
) -> Result<Outcome, Refusal> {
    let resource = resource(state, id)?;
    let period = match &resource.ownership {
        Ownership::Orphaned(holding) if holding.token == token => holding.watchdog,
        Ownership::Unowned
        | Ownership::Granted(_)
        | Ownership::Active(_)
        | Ownership::Releasing(..)
        | Ownership::Orphaned(_) => return Err(other_holding(id, token)),
    };
    let proof = Proof::WatchdogLapsed { period, waited };
    if open(state, at, id, Proven::Whatever(proof)) {
        return Ok(Outcome::Done);
    }
    Err(Refusal::dangerous(
        "WatchdogProvesNothing",
        format!("waiting {waited:?} does not prove that the owner of {id} was reset"),
    ))
}

/// An owner cannot act, or cannot prove that it has stopped.
pub(super) fn troubled(
    state: &mut ClusterState,
    at: At,
    (id, token, incarnation): (&ResourceId, Token, Incarnation),
    (difficulty, why): (Difficulty, &str),
) -> Result<Outcome, Refusal> {
    let resource = resource(state, id)?;
    let node = match &resource.ownership {
        Ownership::Granted(holding)
        | Ownership::Active(holding)
        | Ownership::Releasing(holding, _)
            if holding.token == token && holding.incarnation == incarnation =>
        {
            holding.node
        }
        Ownership::Unowned
        | Ownership::Granted(_)
        | Ownership::Active(_)
        | Ownership::Releasing(..)
        | Ownership::Orphaned(_) => return Err(other_holding(id, token)),
    };
    if difficulty == Difficulty::Stop
        && let Some(holding) = resource.ownership.holding_mut()
    {
        // What has to be stopped has begun, whatever else was said of it.
        holding.progress = Progress::Begun;
    }
    let why = bounded(why, WHY_MAX);
    let trouble = Trouble {
        token,
        node,
        difficulty,
        why: why.clone(),
    };
    if resource.trouble.as_ref() == Some(&trouble) {
        return Ok(Outcome::Done);
    }
    // A failed stop stays one until the resource is open: trying to act again does not undo it (R7).
    let stuck = resource
        .trouble
        .as_ref()
        .is_some_and(|earlier| earlier.token == token && earlier.difficulty == Difficulty::Stop);
    if stuck && difficulty == Difficulty::Start {
        return Ok(Outcome::Done);
    }
    resource.trouble = Some(trouble);
    let (reason, message) = match difficulty {
        Difficulty::Start => ("StartFailed", format!("its owner cannot act: {why}")),
        Difficulty::Stop => (
            "StopFailed",
            format!("its owner cannot prove that it has stopped: {why}"),
        ),
    };
    event::warn(state, at, reason, id, message);
    Ok(Outcome::Done)
}
