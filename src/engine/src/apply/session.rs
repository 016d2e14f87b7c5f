//! Sessions in the log: admitted, closing, reopened, expired (R2), and what their end does to holdings.
//!
//! ```text
//! Never --Admit--> Open --Closing--> Closing --Expired--> Ended --Admit--> Open ...
//!                   ^                   |                   ^
//!                   +-----Reopened------+    verdict Confirmed, confirm-off
//! ```
//! Does not judge silence: the leader proposes, and here the statements are counted once more.

mod admission;

use super::ownership::{self, Proven};
use super::{At, Outcome, Refusal, event, series};
use crate::command::{Command, StatedAge};
use crate::evidence;
use crate::ids::{BootId, Incarnation, LogIndex, NodeId, OrderId};
use crate::state::{ClusterState, Ending, Node, Proof, Session};
use crate::timing::Terms;
use admission::Asked;

/// Applies a session command.
pub(super) fn apply(
    state: &mut ClusterState,
    at: At,
    command: &Command,
) -> Result<Outcome, Refusal> {
    match command {
        Command::Admit {
            node,
            boot,
            previous,
            probe,
            place,
        } => {
            let asked = Asked {
                boot: *boot,
                place: *place,
                probe: *probe,
            };
            admit(state, at, (*node, *previous), asked)
        }
        Command::Closing { node, incarnation } => closing(state, at, *node, *incarnation),
        Command::Reopened {
            node,
            incarnation,
            closing,
        } => reopened(state, at, *node, *incarnation, *closing),
        Command::Expired {
            node,
            incarnation,
            closing,
            ages,
        } => {
            require_closing(state, *node, *incarnation, *closing)?;
            expired(state, at, (*node, *incarnation), ages)
        }
        other => Err(Refusal::invalid("NotASessionCommand", format!("{other:?}"))),
    }
}

/// The newest life of `node`, whatever its session; 0 if it was never admitted.
pub(crate) fn newest_incarnation(node: &Node) -> Incarnation {
    match node.session {
        Session::Never => Incarnation::default(),
        Session::Open { incarnation }
        | Session::Closing { incarnation, .. }
        | Session::Ended { incarnation, .. } => incarnation,
    }
}

fn node(state: &ClusterState, id: NodeId) -> Result<&Node, Refusal> {
    state
        .nodes
        .get(&id)
        .ok_or_else(|| Refusal::not_found("NoSuchNode", format!("no node {id} is registered")))
}

fn admit(
    state: &mut ClusterState,
    at: At,
    (id, previous): (NodeId, Incarnation),
    asked: Asked,
) -> Result<Outcome, Refusal> {
    let node = node(state, id)?;
    let name = node.name.clone();
    let newest = newest_incarnation(node);
    if previous != newest {
        return Err(Refusal::stale(
            "OtherIncarnation",
            format!("{name} stands at incarnation {newest}, not {previous}"),
        ));
    }
    let incarnation = Incarnation(at.index.0);
    if incarnation <= newest {
        return Err(Refusal::stale(
            "AlreadyAdmitted",
            format!("{name} was admitted by this very entry"),
        ));
    }
    let Some(in_force) = state.timing else {
        return Err(Refusal::stale(
            "NoTiming",
            "the log holds no timing yet that a session could count by",
        )
        .fix("ask again; the leader writes its own first"));
    };
    refuse_running_off(state, id)?;
    let proof = admission::proof(state, node, &asked)?;
    close_orders(state, at, id, "its target joined anew");
    for resource in ownership::held_by(state, id) {
        ownership::open(state, at, &resource, Proven::Whatever(proof.clone()));
    }
    warn_of_lie(state, at, id, asked.boot);
    let epoch = state.epoch;
    if let Some(node) = state.nodes.get_mut(&id) {
        node.session = Session::Open { incarnation };
        node.terms = Some(Terms::admitted(&in_force, asked.place.gate));
        node.boot = asked.boot;
        node.boot_epoch = epoch;
        node.place = asked.place;
        node.witnessed = None;
    }
    let message = format!("{name} was admitted as incarnation {incarnation}");
    event::note(state, at, "NodeAdmitted", format!("node/{name}"), message);
    Ok(Outcome::Admitted(incarnation))
}

/// A machine that was confirmed off cannot come back on the same boot (hazards R21).
fn warn_of_lie(state: &mut ClusterState, at: At, id: NodeId, boot: BootId) {
    let Some(node) = state.nodes.get(&id) else {
        return;
    };
    let fenced = match node.session {
        Session::Ended { ending, .. } => ending == Ending::Fenced,
        Session::Never | Session::Open { .. } | Session::Closing { .. } => false,
    };
    if fenced && node.boot == boot {
        let name = node.name.clone();
        let message = format!(
            "{name} was confirmed off and is back on the same boot: whoever confirmed it was wrong"
        );
        let life = node.newest();
        event::warn(state, at, "FenceLie", format!("node/{name}"), message);
        super::fence::disproved(state, at, id, life);
    }
}

/// R5: a new life is admitted once the executor has answered; an `off` that arrives late must not hit it.
fn refuse_running_off(state: &ClusterState, node: NodeId) -> Result<(), Refusal> {
    let running = super::fence::off_may_come(state, node);
    match running {
        None => Ok(()),
        Some(order) => Err(Refusal::stale(
            "FenceRunning",
            format!(
                "fence order {} against this node may still be executed",
                order.id
            ),
        )
        .fix("ask again; the order has a deadline")),
    }
}

/// Cancels every open order against `node`.
pub(super) fn close_orders(state: &mut ClusterState, at: At, node: NodeId, why: &str) {
    let open: Vec<OrderId> = state
        .orders
        .values()
        .filter(|order| order.node == node && order.phase.is_open())
        .map(|order| order.id)
        .collect();
    for id in open {
        super::fence::close(state, at, id, why);
    }
}

fn closing(
    state: &mut ClusterState,
    at: At,
    id: NodeId,
    incarnation: Incarnation,
) -> Result<Outcome, Refusal> {
    let node = node(state, id)?;
    let name = node.name.clone();
    match node.session {
        Session::Open { incarnation: open } if open == incarnation => {}
        Session::Never | Session::Open { .. } | Session::Closing { .. } | Session::Ended { .. } => {
            return Err(Refusal::stale(
                "SessionNotOpen",
                format!("incarnation {incarnation} of {name} is not open"),
            ));
        }
    }
    // A statement names the closing it answers and nothing else, so no two sessions share one.
    let taken = state.nodes.values().any(
        |other| matches!(other.session, Session::Closing { closing, .. } if closing == at.index),
    );
    if taken {
        return Err(Refusal::stale(
            "OneClosingPerEntry",
            "this entry closes another session already",
        ));
    }
    if let Some(node) = state.nodes.get_mut(&id) {
        node.session = Session::Closing {
            incarnation,
            closing: at.index,
        };
    }
    let subject = format!("node/{name}");
    if !series::goes_on(state, at, &subject) {
        let message = format!("{name} is silent; coordinators acknowledge it no more");
        event::warn(state, at, "SessionClosing", subject, message);
    }
    Ok(Outcome::Done)
}

fn require_closing(
    state: &ClusterState,
    id: NodeId,
    incarnation: Incarnation,
    closing: LogIndex,
) -> Result<(), Refusal> {
    let node = node(state, id)?;
    let asked = Session::Closing {
        incarnation,
        closing,
    };
    if node.session == asked {
        return Ok(());
    }
    Err(Refusal::stale(
        "OtherClosing",
        format!(
            "closing {closing} of incarnation {incarnation} of {} is not in force",
            node.name
        ),
    ))
}

fn reopened(
    state: &mut ClusterState,
    at: At,
    id: NodeId,
    incarnation: Incarnation,
    closing: LogIndex,
) -> Result<Outcome, Refusal> {
    require_closing(state, id, incarnation, closing)?;
    let Some(node) = state.nodes.get_mut(&id) else {
        return Err(Refusal::not_found("NoSuchNode", "no such node"));
    };
    node.session = Session::Open { incarnation };
    let name = node.name.clone();
    let subject = format!("node/{name}");
    if !series::goes_on(state, at, &subject) {
        let message = format!(
            "a majority still hears {name}, the leader does not; its session goes on, and while this does it is \
             told once in ten minutes"
        );
        event::note(state, at, series::REOPENED, subject, message);
    }
    Ok(Outcome::Done)
}

fn expired(
    state: &mut ClusterState,
    at: At,
    (id, incarnation): (NodeId, Incarnation),
    ages: &[StatedAge],
) -> Result<Outcome, Refusal> {
    // By the session's own timing, whatever the proposer believes of it (R2a).
    let judged = node(state, id)?.judged();
    if !evidence::majority_silent(ages, &state.membership, &judged) {
        return Err(Refusal::dangerous(
            "NoMajorityOfAges",
            format!(
                "the statements are not a majority of membership {} with ages of {} ms or more",
                state.membership.at,
                judged.ttl.as_millis()
            ),
        ));
    }
    end(state, id, incarnation, Ending::Expired);
    let name = node(state, id)?.name.clone();
    let message = format!("a majority has acknowledged {name} no more for its whole lease");
    event::warn(state, at, "SessionExpired", format!("node/{name}"), message);
    let proof = Proof::LeaseExpired {
        ages: evidence::attesting(ages, &state.membership),
    };
    for resource in ownership::held_by(state, id) {
        ownership::session_over(state, at, &resource, &proof);
    }
    Ok(Outcome::Done)
}

/// Marks the session of this life as over.
pub(super) fn end(state: &mut ClusterState, id: NodeId, incarnation: Incarnation, ending: Ending) {
    if let Some(node) = state.nodes.get_mut(&id) {
        node.session = Session::Ended {
            incarnation,
            ending,
        };
    }
}
