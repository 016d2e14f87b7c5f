//! A human's word that a machine is off: taken for the life that they saw, and for no other (R3).
//!
//! Does not ask whether it is true; whether anything of the machine still answers is the leader's question.

use super::{bounded, close, isolated, lie, require_newest};
use crate::apply::{At, Outcome, Refusal, event};
use crate::ids::{BootId, Incarnation, NodeId, OrderId};
use crate::plant::{self, Bug};
use crate::state::{ClusterState, OrderPhase, Proof, Session};
use crate::witness::Witness;

/// What a human says, and what the machine was heard to say after that.
pub(super) struct Word<'a> {
    pub(super) by: &'a str,
    pub(super) reason: &'a str,
    pub(super) witnesses: &'a [Witness],
    /// Coordinators whose testimony the human knows and overrules.
    pub(super) overruled: &'a [NodeId],
}

/// Opens what this life of the node held.
///
/// # Errors
/// When the node stands at another life or boot by now, its session has not ended, or the word has no name or reason.
pub(super) fn confirm_off(
    state: &mut ClusterState,
    at: At,
    (node, incarnation, boot): (NodeId, Incarnation, Option<BootId>),
    word: &Word<'_>,
) -> Result<Outcome, Refusal> {
    let (by, reason) = (word.by, word.reason);
    let (incarnation, boot) = match state.nodes.get(&node) {
        Some(found) if plant::is(Bug::VouchForNewest) => (found.newest(), None),
        Some(_) | None => (incarnation, boot),
    };
    require_seen(state, node, incarnation, boot)?;
    let (name, session) = require_newest(state, node, incarnation)?;
    if by.trim().is_empty() || reason.trim().is_empty() {
        return Err(
            Refusal::invalid("ReasonMissing", "a human's word needs a name and a reason")
                .fix("say how you know that the machine is off"),
        );
    }
    match session {
        Session::Ended { .. } => {}
        Session::Never | Session::Open { .. } | Session::Closing { .. } => {
            return Err(Refusal::dangerous(
                "SessionNotEnded",
                format!("the session of {name} has not ended: it may be alive"),
            )
            .fix(format!("haftctl why node/{name}")));
        }
    }
    let overruled = require_silence(state, node, word)?;
    let proof = Proof::ConfirmedByHuman {
        by: bounded(by),
        reason: bounded(reason),
    };
    let message = format!(
        "{} vouches that {name} is off{overruled}: {}",
        bounded(by),
        bounded(reason)
    );
    event::warn(state, at, "ConfirmedOff", format!("node/{name}"), message);
    isolated(state, at, (node, incarnation), &proof);
    // A running attempt is left to answer: until then a new life of the node must not be admitted.
    let waiting: Vec<OrderId> = state
        .orders
        .values()
        .filter(|order| order.node == node && order.phase.is_open())
        .filter(|order| !matches!(order.phase, OrderPhase::Running { .. }))
        .map(|order| order.id)
        .collect();
    for id in waiting {
        close(state, at, id, "a human confirmed that the machine is off");
    }
    Ok(Outcome::Done)
}

/// Whether everything that answered is overruled by name; in words for people, who was.
fn require_silence(state: &ClusterState, node: NodeId, word: &Word<'_>) -> Result<String, Refusal> {
    let boot = state.nodes.get(&node).map(|node| node.boot);
    let mut against = word
        .witnesses
        .iter()
        .filter(|witness| Some(witness.boot) == boot && !plant::is(Bug::IgnoreWitness));
    if let Some(witness) = against
        .clone()
        .find(|one| !word.overruled.contains(&one.by))
    {
        let said = lie::testimony(state, node, witness);
        let by = state
            .nodes
            .get(&witness.by)
            .map(|node| node.name.to_string());
        return Err(
            Refusal::dangerous("StillAnswers", format!("{said}: it runs")).fix(format!(
                "switch it off; if you know better than that testimony: --overrule {}",
                by.unwrap_or_default()
            )),
        );
    }
    Ok(against.next().map_or_else(String::new, |witness| {
        format!(", although {}", lie::testimony(state, node, witness))
    }))
}

/// What the human saw is what stands: a retry, or a life that came and was lost while they typed, is not vouched for.
fn require_seen(
    state: &ClusterState,
    node: NodeId,
    incarnation: Incarnation,
    boot: Option<BootId>,
) -> Result<(), Refusal> {
    let Some(node) = state.nodes.get(&node) else {
        return Ok(()); // Told apart in what follows.
    };
    let newest = node.newest();
    if newest == incarnation && boot.is_none_or(|boot| boot == node.boot) {
        return Ok(());
    }
    let name = &node.name;
    Err(Refusal::stale(
        "OtherIncarnation",
        format!(
            "{name} stands at incarnation {newest} of boot {}, not at the one that was vouched for",
            node.boot
        ),
    )
    .fix(format!(
        "look at the machine again, then name what it stands at: haftctl why node/{name}"
    )))
}
