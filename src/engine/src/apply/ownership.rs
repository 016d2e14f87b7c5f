//! Ownership in the log: grants, activation, release, and the one door to `Unowned`.
//!
//! ```text
//! Unowned --Grant--> Granted --Activated--> Active --Relinquish--> Releasing --Released--> Unowned
//!                       \______________________\______________________/
//!                       |  Withdraw, or session ends, before Begun: Unowned
//!                               session ends without proof: Orphaned --evidence--> Unowned
//! ```
//! [`open`] is that door: it asks [`evidence::suffices`] and nothing else sets `Unowned` on a holding.

mod beginning;
mod trouble;

pub(super) use beginning::session_over;

use super::{At, Outcome, Refusal, event, obstacle};
use crate::command::{Attestation, Command, RelinquishCause};
use crate::evidence::{self, SPAN_MAX};
use crate::ids::{Generation, Incarnation, NodeId, NodeName, ResourceId, Token};
use crate::levels::awaits_unfencing;
use crate::plant::{self, Bug};
use crate::spec::{Isolation, Scheduling};
use crate::state::{
    ClusterState, Evidence, Holding, Node, Ownership, Progress, Proof, Resource, Session,
};
use std::time::Duration;

/// Applies an ownership command.
pub(super) fn apply(
    state: &mut ClusterState,
    at: At,
    command: &Command,
) -> Result<Outcome, Refusal> {
    match command {
        Command::LifetimeLapsed {
            resource,
            token,
            waited,
        } => lifetime_lapsed(state, at, resource, *token, *waited),
        Command::WatchdogLapsed {
            resource,
            token,
            waited,
        } => trouble::watchdog_lapsed(state, at, resource, *token, *waited),
        Command::WatchdogArmed {
            resource,
            token,
            incarnation,
            period,
        } => trouble::watchdog_armed(state, at, (resource, *token, *incarnation), *period),
        Command::Troubled {
            resource,
            token,
            incarnation,
            difficulty,
            why,
        } => trouble::troubled(
            state,
            at,
            (resource, *token, *incarnation),
            (*difficulty, why),
        ),
        Command::Begun { .. } | Command::Withdraw { .. } => beginning::apply(state, at, command),
        Command::Grant {
            resource,
            node,
            incarnation,
            previous,
            generation,
        } => {
            require_version(state, resource, *previous, *generation)?;
            grant(state, at, resource, (*node, *incarnation))
        }
        Command::Activated {
            resource,
            token,
            incarnation,
            guard,
            address_life,
        } => activated(
            state,
            at,
            (resource, *token, *incarnation),
            *guard,
            *address_life,
        ),
        Command::Relinquish {
            resource,
            token,
            cause,
        } => relinquish(state, at, resource, *token, *cause),
        Command::Released {
            resource,
            token,
            incarnation,
        } => released(state, at, resource, *token, *incarnation),
        Command::Move { resource, to, .. } => move_to(state, at, resource, to),
        other => Err(Refusal::invalid(
            "NotAnOwnershipCommand",
            format!("{other:?}"),
        )),
    }
}

/// What to do with a holding for which this proof exists.
pub(super) enum Proven {
    /// The proof holds whatever the isolation; if it does not suffice the holding stays as it is.
    Whatever(Proof),
    /// The session has ended: opened if the proof suffices, else orphaned.
    OrOrphan(Proof),
}

/// Opens a held resource if the proof suffices; returns whether it is open now.
pub(super) fn open(state: &mut ClusterState, at: At, id: &ResourceId, proven: Proven) -> bool {
    let Some(resource) = state.resources.get_mut(id) else {
        return false;
    };
    let Some(holding) = resource.ownership.holding().cloned() else {
        return false;
    };
    let (proof, orphan) = match proven {
        Proven::Whatever(proof) => (proof, false),
        Proven::OrOrphan(proof) => (proof, true),
    };
    let evidence = Evidence {
        token: holding.token,
        node: holding.node,
        incarnation: holding.incarnation,
        entry: at.index,
        proof,
    };
    if evidence::suffices(resource, &holding, &evidence).is_err() {
        if orphan {
            resource.ownership = Ownership::Orphaned(holding);
            let message = "its owner is lost and nothing proves that it has stopped".to_owned();
            event::warn(state, at, "ResourceOrphaned", id, message);
        }
        return false;
    }
    let silenced = match &evidence.proof {
        Proof::Released => obstacle::silenced(state, id, &holding),
        Proof::ProbedClean
        | Proof::Fenced { .. }
        | Proof::Rebooted { .. }
        | Proof::LeaseExpired { .. }
        | Proof::LifetimeLapsed { .. }
        | Proof::WatchdogLapsed { .. }
        | Proof::NeverBegun
        | Proof::ConfirmedByHuman { .. } => String::new(),
    };
    let message = format!(
        "nobody holds it any more: {} of token {}{silenced}",
        proof_word(&evidence.proof),
        holding.token
    );
    let Some(resource) = state.resources.get_mut(id) else {
        return false;
    };
    resource.ownership = Ownership::Unowned;
    resource.trouble = None;
    resource.evidence = Some(evidence);
    if resource.deleting {
        state.resources.remove(id);
        obstacle::forget(state);
        event::note(state, at, "ResourceDeleted", id, "it is gone".to_owned());
    } else {
        event::note(state, at, "ResourceOpened", id, message);
    }
    true
}

/// A word for a proof, for people.
pub(crate) fn proof_word(proof: &Proof) -> &'static str {
    match proof {
        Proof::Released => "released",
        Proof::ProbedClean => "probed clean after an agent restart",
        Proof::Fenced { .. } => "fenced",
        Proof::Rebooted { .. } => "rebooted",
        Proof::NeverBegun => "never begun",
        Proof::LeaseExpired { .. } => "lease expired under an intact guard",
        Proof::LifetimeLapsed { .. } => "address lifetime waited out",
        Proof::WatchdogLapsed {
            period: Some(_), ..
        } => "reset by its watchdog",
        Proof::WatchdogLapsed { period: None, .. } => "never acted, its watchdog was never armed",
        Proof::ConfirmedByHuman { .. } => "confirmed off by a human",
    }
}

/// Every resource that `node` holds, in order.
pub(super) fn held_by(state: &ClusterState, node: NodeId) -> Vec<ResourceId> {
    state
        .resources
        .values()
        .filter(|resource| {
            resource
                .ownership
                .holding()
                .is_some_and(|holding| holding.node == node)
        })
        .map(|resource| resource.id.clone())
        .collect()
}

fn resource<'a>(state: &'a mut ClusterState, id: &ResourceId) -> Result<&'a mut Resource, Refusal> {
    state
        .resources
        .get_mut(id)
        .ok_or_else(|| Refusal::not_found("NoSuchResource", format!("{id} does not exist")))
}

fn require_version(
    state: &mut ClusterState,
    id: &ResourceId,
    previous: Token,
    generation: Generation,
) -> Result<(), Refusal> {
    let resource = resource(state, id)?;
    if resource.last_token != previous {
        return Err(Refusal::stale(
            "TokenChanged",
            format!("the last token of {id} is {}", resource.last_token),
        ));
    }
    if resource.generation != generation {
        return Err(Refusal::stale(
            "GenerationChanged",
            format!("{id} stands at generation {}", resource.generation),
        ));
    }
    Ok(())
}

/// Whether the resource is open to a new owner, by stored evidence.
fn require_open(resource: &Resource) -> Result<(), Refusal> {
    if resource.deleting {
        return Err(Refusal::stale(
            "BeingDeleted",
            format!("{} is being deleted", resource.id),
        ));
    }
    match &resource.ownership {
        Ownership::Unowned => {}
        Ownership::Orphaned(_) if plant::is(Bug::SkipEvidenceCheck) => return Ok(()),
        Ownership::Granted(holding)
        | Ownership::Active(holding)
        | Ownership::Releasing(holding, _)
        | Ownership::Orphaned(holding) => {
            return Err(Refusal::dangerous(
                "NoEvidence",
                format!(
                    "{} is held under token {} and nothing proves that it has stopped",
                    resource.id, holding.token
                ),
            ));
        }
    }
    let proven = match &resource.evidence {
        Some(evidence) => evidence.token == resource.last_token,
        None => resource.last_token == Token::default(),
    };
    if proven {
        return Ok(());
    }
    Err(Refusal::dangerous(
        "NoEvidence",
        format!(
            "no evidence is stored for token {} of {}",
            resource.last_token, resource.id
        ),
    ))
}

fn grant(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    (node, incarnation): (NodeId, Incarnation),
) -> Result<Outcome, Refusal> {
    let token = Token {
        epoch: state.epoch,
        index: at.index,
    };
    let target = target_node(state, node)?;
    let name = target.name.clone();
    let address_life = target.judged().address_life;
    if target.session != (Session::Open { incarnation }) {
        return Err(Refusal::stale(
            "SessionNotOpen",
            format!("incarnation {incarnation} of {name} has no open session"),
        ));
    }
    if awaits_unfencing(state, target) {
        return Err(Refusal::dangerous(
            "NotUnfenced",
            format!("the ports of {name} have not been opened to this incarnation"),
        )
        .fix(format!("haftctl why node/{name}")));
    }
    obstacle::require_free(state, id, target)?;
    let resource = resource(state, id)?;
    require_open(resource)?;
    if token <= resource.last_token {
        return Err(Refusal::stale(
            "TokenNotRising",
            format!("{id} was granted under {} already", resource.last_token),
        ));
    }
    resource.last_token = token;
    resource.move_to = None;
    resource.ownership = Ownership::Granted(Holding {
        node,
        incarnation,
        token,
        isolation: resource.spec.isolation(),
        spec: resource.spec.clone(),
        guard: Attestation::Unknown,
        // Until the owner attests its own, the longest that its session may have been told of.
        address_life,
        since_unix_ms: at.stamp_unix_ms,
        watchdog: None,
        progress: Progress::NotBegun,
    });
    let message = format!("{name} owns it under token {token}");
    event::note(state, at, "ResourceGranted", id, message);
    Ok(Outcome::Granted(token))
}

fn target_node(state: &ClusterState, node: NodeId) -> Result<&Node, Refusal> {
    state
        .nodes
        .get(&node)
        .ok_or_else(|| Refusal::not_found("NoSuchNode", format!("no node {node} is registered")))
}

fn other_holding(id: &ResourceId, token: Token) -> Refusal {
    Refusal::stale(
        "OtherHolding",
        format!("{id} is not held under token {token} in that phase"),
    )
}

fn activated(
    state: &mut ClusterState,
    at: At,
    (id, token, incarnation): (&ResourceId, Token, Incarnation),
    guard: Attestation,
    address_life: Duration,
) -> Result<Outcome, Refusal> {
    if address_life > SPAN_MAX {
        return Err(Refusal::invalid(
            "BadAddressLifetime",
            format!("an address lifetime of {address_life:?} is out of bounds"),
        ));
    }
    let owner = resource(state, id)?
        .ownership
        .holding()
        .map(|holding| holding.node);
    // No agent that counts by its session's timing puts a longer one on an address (R2a).
    let longest = owner
        .and_then(|owner| state.nodes.get(&owner))
        .map(Node::judged);
    let address_life = longest.map_or(address_life, |judged| address_life.min(judged.address_life));
    let resource = resource(state, id)?;
    require_attested_watchdog(resource, token)?;
    let attest = |holding: &Holding, life: Duration| Holding {
        guard,
        address_life: life,
        // Whatever was agreed on: it says that it acts.
        progress: Progress::Begun,
        ..holding.clone()
    };
    let bound = |holding: &Holding| holding.token == token && holding.incarnation == incarnation;
    match &resource.ownership {
        Ownership::Granted(holding) if bound(holding) => {
            resource.ownership = Ownership::Active(attest(holding, address_life));
        }
        // A later attestation of the same life; the older lifetime may still be running.
        Ownership::Active(holding) if bound(holding) => {
            let life = holding.address_life.max(address_life);
            resource.ownership = Ownership::Active(attest(holding, life));
            return Ok(Outcome::Done);
        }
        Ownership::Releasing(holding, cause) if bound(holding) => {
            let life = holding.address_life.max(address_life);
            resource.ownership = Ownership::Releasing(attest(holding, life), *cause);
            return Ok(Outcome::Done);
        }
        Ownership::Unowned
        | Ownership::Granted(_)
        | Ownership::Active(_)
        | Ownership::Releasing(..)
        | Ownership::Orphaned(_) => return Err(other_holding(id, token)),
    }
    let message = format!("its owner acts under token {token}");
    event::note(state, at, "ResourceActive", id, message);
    Ok(Outcome::Done)
}

/// Under isolation `watchdog` nobody acts before the armed watchdog stands in the log (R3).
fn require_attested_watchdog(resource: &Resource, token: Token) -> Result<(), Refusal> {
    let unarmed = resource.ownership.holding().is_some_and(|holding| {
        holding.token == token
            && holding.isolation == Isolation::Watchdog
            && holding.watchdog.is_none()
    });
    if unarmed {
        return Err(Refusal::dangerous(
            "WatchdogNotAttested",
            format!(
                "the owner of {} says that it acts before its watchdog was attested",
                resource.id
            ),
        ));
    }
    Ok(())
}

fn relinquish(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    token: Token,
    cause: RelinquishCause,
) -> Result<Outcome, Refusal> {
    let resource = resource(state, id)?;
    match &resource.ownership {
        Ownership::Granted(holding) | Ownership::Active(holding) if holding.token == token => {
            resource.ownership = Ownership::Releasing(holding.clone(), cause);
        }
        Ownership::Unowned
        | Ownership::Granted(_)
        | Ownership::Active(_)
        | Ownership::Releasing(..)
        | Ownership::Orphaned(_) => return Err(other_holding(id, token)),
    }
    let why = match cause {
        RelinquishCause::Moved => "an administrator moves it",
        RelinquishCause::Drained => "its node is in standby",
        RelinquishCause::SpecChanged => "its spec has changed",
        RelinquishCause::Failback => "a preferred node is back",
        RelinquishCause::Deleted => "it is being deleted",
        RelinquishCause::Overdue => "it has said nothing of its start for too long",
    };
    let message = format!("its owner is asked to stop: {why}");
    event::note(state, at, "ResourceReleasing", id, message);
    Ok(Outcome::Done)
}

fn released(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    token: Token,
    incarnation: Incarnation,
) -> Result<Outcome, Refusal> {
    let resource = resource(state, id)?;
    let bound = resource
        .ownership
        .holding()
        .is_some_and(|holding| holding.token == token && holding.incarnation == incarnation);
    if bound && open(state, at, id, Proven::Whatever(Proof::Released)) {
        return Ok(Outcome::Done);
    }
    Err(other_holding(id, token))
}

fn lifetime_lapsed(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    token: Token,
    waited: Duration,
) -> Result<Outcome, Refusal> {
    let holding = match &resource(state, id)?.ownership {
        Ownership::Orphaned(holding) if holding.token == token => holding.clone(),
        Ownership::Unowned
        | Ownership::Granted(_)
        | Ownership::Active(_)
        | Ownership::Releasing(..)
        | Ownership::Orphaned(_) => return Err(other_holding(id, token)),
    };
    let node = holding.node;
    if let Some(found) = state.foreign(id, node) {
        return Err(obstacle::outlives(state, node, found));
    }
    let proof = Proof::LifetimeLapsed { waited };
    if open(state, at, id, Proven::Whatever(proof)) {
        return Ok(Outcome::Done);
    }
    Err(Refusal::dangerous(
        "LifetimeProvesNothing",
        format!("waiting {waited:?} does not prove that the owner of {id} has stopped"),
    ))
}

fn move_to(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    to: &NodeName,
) -> Result<Outcome, Refusal> {
    let Some(target) = state.node_named(to) else {
        return Err(
            Refusal::not_found("NoSuchNode", format!("no node is called {to}"))
                .fix("haftctl get nodes"),
        );
    };
    let (target_id, session, scheduling) = (target.id, target.session, target.spec.scheduling);
    let quarantined = target.quarantined;
    let resource = resource(state, id)?;
    if resource.deleting {
        return Err(Refusal::stale(
            "BeingDeleted",
            format!("{id} is being deleted"),
        ));
    }
    if !matches!(session, Session::Open { .. }) {
        return Err(
            Refusal::dangerous("NodeNotOnline", format!("{to} is not online"))
                .fix(format!("haftctl why node/{to}")),
        );
    }
    if quarantined || scheduling != Scheduling::Open {
        return Err(Refusal::dangerous(
            "NodeNotSchedulable",
            format!("{to} takes no resources now"),
        )
        .fix(format!("haftctl why node/{to}")));
    }
    let stays = match &resource.ownership {
        Ownership::Granted(holding) | Ownership::Active(holding) => holding.node == target_id,
        Ownership::Unowned | Ownership::Releasing(..) | Ownership::Orphaned(_) => false,
    };
    if stays {
        resource.move_to = None;
        return Ok(Outcome::Done);
    }
    obstacle::require_able(state, id, target_id, to)?;
    self::resource(state, id)?.move_to = Some(target_id);
    let message = format!("an administrator moves it to {to}");
    event::note(state, at, "MoveRequested", id, message);
    Ok(Outcome::Done)
}
