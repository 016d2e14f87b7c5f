//! Fence orders in the log (R5): intent, attempt, verdict, hold, cancellation, and a human's word.
//!
//! ```text
//! Intended -> Running{attempt} -> Confirmed
//!    |  ^          |
//!   Held           +-> Waiting (Refused or Unknown: opens nothing) -> Running{attempt+1} ...
//! ```
//! Touches no device and chooses none: the leader plans attempts, the executor runs them.

mod cause;
mod lie;
mod superseded;
mod word;

pub(super) use lie::disproved;
pub(crate) use lie::may_testify;
pub(super) use superseded::off_may_come;

use super::ownership::{self, Proven};
use super::quarantine;
use super::session::{self, newest_incarnation};
use super::victims::require_quorum;
use super::{At, Outcome, Refusal, event};
use crate::command::{Command, FenceAction, FenceAttemptPlan, FenceCause, HoldReason, Verdict};
use crate::ids::{Incarnation, NodeId, NodeName, OrderId};
use crate::plant::{self, Bug};
use crate::spec::{AfterFence, Isolation};
use crate::state::{
    CLOSED_ORDERS_MAX, ClusterState, Ending, FenceOrder, OrderPhase, Ownership, Proof, Session,
};
use crate::text::DETAIL_MAX;
use crate::witness::Lie;
use cause::require_cause;
use std::time::Duration;

/// Longest total time for one attempt; longer than any fence agent's own default (60 s).
pub(crate) const ATTEMPT_MAX: Duration = Duration::from_secs(600);

/// Applies a fencing command.
pub(super) fn apply(
    state: &mut ClusterState,
    at: At,
    command: &Command,
) -> Result<Outcome, Refusal> {
    match command {
        Command::FenceIntent {
            node,
            incarnation,
            action,
            cause,
            first,
            ..
        } => intent(state, at, (*node, *incarnation), (*action, cause), *first),
        Command::FenceAttempt {
            order,
            attempt,
            executor,
            level,
            deadline,
        } => {
            let plan = FenceAttemptPlan {
                executor: *executor,
                level: *level,
                deadline: *deadline,
            };
            start(state, at, *order, *attempt, plan)
        }
        Command::FenceVerdict {
            order,
            attempt,
            verdict,
            detail,
            lie,
        } => verdict_of(
            state,
            at,
            (*order, *attempt),
            (*verdict, detail, lie.as_ref()),
        ),
        Command::Witnessed {
            node,
            incarnation,
            witness,
        } => lie::witnessed(state, at, (*node, *incarnation), *witness),
        Command::FenceHeld { order, reason } => held(state, at, *order, *reason),
        Command::FenceCancelled { order, reason } => cancelled(state, at, *order, reason),
        Command::FenceTryOver {
            order,
            attempt,
            waited,
        } => superseded::over(state, (*order, *attempt), *waited),
        Command::ConfirmOff {
            node,
            incarnation,
            boot,
            by,
            reason,
            witnesses,
            overruled,
            request: _,
        } => {
            let word = word::Word {
                by,
                reason,
                witnesses,
                overruled,
            };
            word::confirm_off(state, at, (*node, *incarnation, *boot), &word)
        }
        other => Err(Refusal::invalid("NotAFenceCommand", format!("{other:?}"))),
    }
}

fn require_newest(
    state: &ClusterState,
    id: NodeId,
    incarnation: Incarnation,
) -> Result<(NodeName, Session), Refusal> {
    let Some(node) = state.nodes.get(&id) else {
        return Err(Refusal::not_found(
            "NoSuchNode",
            format!("no node {id} is registered"),
        ));
    };
    let newest = newest_incarnation(node);
    if newest != incarnation {
        return Err(Refusal::stale(
            "OtherIncarnation",
            format!(
                "{} stands at incarnation {newest}, not {incarnation}",
                node.name
            ),
        ));
    }
    Ok((node.name.clone(), node.session))
}

/// Whether this node left something that only proof of isolation can open.
pub(crate) fn leaves_orphans(state: &ClusterState, node: NodeId) -> bool {
    state
        .resources
        .values()
        .any(|resource| match &resource.ownership {
            // `lease` and `watchdog` orphans open by the passing of time.
            Ownership::Orphaned(holding) => {
                holding.node == node && holding.isolation == Isolation::Stonith
            }
            Ownership::Unowned
            | Ownership::Granted(_)
            | Ownership::Active(_)
            | Ownership::Releasing(..) => false,
        })
}

/// Whether this node is off by its newest order and its spec wants it on again. Any later order against this
/// life, also a power on that came to nothing, ends that: nobody is switched on twice.
pub(crate) fn wants_power(state: &ClusterState, id: NodeId) -> bool {
    let Some(node) = state.nodes.get(&id) else {
        return false;
    };
    let fenced = match node.session {
        Session::Ended {
            incarnation,
            ending: Ending::Fenced,
        } => incarnation,
        Session::Ended {
            ending: Ending::Expired,
            ..
        }
        | Session::Never
        | Session::Open { .. }
        | Session::Closing { .. } => return false,
    };
    let newest = state.orders.values().rfind(|order| order.node == id);
    let off = newest.is_some_and(|order| {
        order.incarnation == fenced
            && order.action == FenceAction::Off
            && order.phase == OrderPhase::Confirmed
    });
    off && node.spec.after_fence == AfterFence::PowerOn
        && !node.quarantined
        && !leaves_orphans(state, id)
}

fn intent(
    state: &mut ClusterState,
    at: At,
    (node, incarnation): (NodeId, Incarnation),
    (action, cause): (FenceAction, &FenceCause),
    first: Option<FenceAttemptPlan>,
) -> Result<Outcome, Refusal> {
    let (name, session) = require_newest(state, node, incarnation)?;
    if let Some(open) = state
        .orders
        .values()
        .find(|order| order.phase.is_open() && order.node == node)
        .filter(|_| !(plant::is(Bug::PowerOnBesideOff) && action == FenceAction::On))
        .cloned()
    {
        if open.action == action {
            return Ok(Outcome::Ordered(open.id));
        }
        if yields(&open) {
            require_cause(state, (node, &name, session), action, cause)?;
            close(state, at, open.id, "an order to power off takes its place");
            return intent(state, at, (node, incarnation), (action, cause), first);
        }
        return Err(Refusal::stale(
            "FenceOrderOpen",
            format!("fence order {} against {name} is still open", open.id),
        )
        .fix(format!("haftctl why order/{}", open.id)));
    }
    require_cause(state, (node, &name, session), action, cause)?;
    let order = OrderId(at.index.0);
    if state.orders.contains_key(&order) {
        return Err(Refusal::stale(
            "OneOrderPerEntry",
            "this entry has opened an order already",
        ));
    }
    trim_closed_orders(state);
    state.orders.insert(
        order,
        FenceOrder {
            id: order,
            node,
            incarnation,
            action,
            cause: cause.clone(),
            phase: OrderPhase::Intended,
            attempts: 0,
            detail: String::new(),
            since_unix_ms: at.stamp_unix_ms,
            level: 0,
            superseded: Vec::new(),
        },
    );
    let message = format!("order {order}: {} {name}", action_word(action));
    event::warn(state, at, "FenceIntended", format!("node/{name}"), message);
    if let Some(plan) = first {
        // A bad plan leaves the order as intended; the leader plans again.
        let _ = start(state, at, order, 1, plan);
    }
    Ok(Outcome::Ordered(order))
}

/// Whether an order gives way to one of the opposite kind. Only the opening of ports does, and not while an
/// agent may be at work on it.
fn yields(order: &FenceOrder) -> bool {
    let working = match order.phase {
        OrderPhase::Running { .. } => true,
        OrderPhase::Intended
        | OrderPhase::Held(_)
        | OrderPhase::Waiting { .. }
        | OrderPhase::Confirmed
        | OrderPhase::Cancelled(_) => false,
    };
    order.cause == FenceCause::Unfence && !working
}

fn action_word(action: FenceAction) -> &'static str {
    match action {
        FenceAction::Off => "power off",
        FenceAction::On => "power on",
    }
}

fn trim_closed_orders(state: &mut ClusterState) {
    let closed: Vec<OrderId> = state
        .orders
        .values()
        .filter(|order| !order.phase.is_open() && order.superseded.is_empty())
        .map(|order| order.id)
        .collect();
    let surplus = (closed.len() + 1).saturating_sub(CLOSED_ORDERS_MAX);
    for id in closed.into_iter().take(surplus) {
        state.orders.remove(&id);
    }
}

fn open_order(state: &mut ClusterState, id: OrderId) -> Result<&mut FenceOrder, Refusal> {
    match state.orders.get_mut(&id) {
        Some(order) if order.phase.is_open() => Ok(order),
        Some(_) => Err(Refusal::stale(
            "OrderClosed",
            format!("fence order {id} is closed"),
        )),
        None => Err(Refusal::not_found(
            "NoSuchOrder",
            format!("there is no fence order {id}"),
        )),
    }
}

fn start(
    state: &mut ClusterState,
    at: At,
    id: OrderId,
    attempt: u32,
    plan: FenceAttemptPlan,
) -> Result<Outcome, Refusal> {
    let order = open_order(state, id)?;
    let (node, incarnation, action) = (order.node, order.incarnation, order.action);
    let next = order.attempts + 1;
    if attempt != next {
        return Err(Refusal::stale(
            "OtherAttempt",
            format!("the next attempt of order {id} is {next}, not {attempt}"),
        ));
    }
    if plan.deadline.is_zero() || plan.deadline > ATTEMPT_MAX {
        return Err(Refusal::invalid(
            "BadDeadline",
            format!("a deadline of {:?} is out of bounds", plan.deadline),
        ));
    }
    let (name, _) = require_newest(state, node, incarnation)?;
    if !state.nodes.contains_key(&plan.executor) {
        return Err(Refusal::not_found(
            "NoSuchNode",
            format!("no node {} is registered", plan.executor),
        ));
    }
    require_quorum(state, node, action)?;
    let order = open_order(state, id)?;
    superseded::keep(order);
    order.attempts = attempt;
    order.level = plan.level;
    order.phase = OrderPhase::Running {
        attempt,
        executor: plan.executor,
        level: plan.level,
        deadline: plan.deadline,
    };
    if action == FenceAction::Off
        && let Some(node) = state.nodes.get_mut(&node)
    {
        // Whatever becomes of it, some of its ports may be closed from here on.
        node.unfenced = Incarnation::default();
    }
    let message = format!("order {id}: attempt {attempt} at level {}", plan.level);
    event::note(state, at, "FenceAttempted", format!("node/{name}"), message);
    Ok(Outcome::Done)
}

fn verdict_of(
    state: &mut ClusterState,
    at: At,
    (id, attempt): (OrderId, u32),
    (verdict, detail, lie): (Verdict, &str, Option<&Lie>),
) -> Result<Outcome, Refusal> {
    let order = open_order(state, id)?;
    let level = match order.phase {
        OrderPhase::Running {
            attempt: running,
            level,
            ..
        } if running == attempt => level,
        OrderPhase::Intended
        | OrderPhase::Held(_)
        | OrderPhase::Running { .. }
        | OrderPhase::Waiting { .. }
        | OrderPhase::Confirmed
        | OrderPhase::Cancelled(_) => {
            return Err(Refusal::stale(
                "OtherAttempt",
                format!("attempt {attempt} of order {id} is not running"),
            ));
        }
    };
    order.detail = bounded(detail);
    let node = order.node;
    let confirmed = match verdict {
        Verdict::Confirmed => true,
        Verdict::Unknown => plant::is(Bug::UnknownAsOff),
        Verdict::Refused => false,
    };
    let contradicted = confirmed && lie::contradicts(state, at, id, level, lie);
    if confirmed && !contradicted {
        return Ok(confirm(state, at, id));
    }
    let verdict = match contradicted {
        true => Verdict::Unknown,
        false => verdict,
    };
    let order = open_order(state, id)?;
    order.phase = OrderPhase::Waiting {
        last: verdict,
        level,
    };
    let detail = order.detail.clone();
    let message = format!("order {id}: attempt {attempt} proved nothing: {detail}");
    warn_node(state, at, node, "FenceUnproven", message);
    Ok(Outcome::Done)
}

pub(super) fn warn_node(
    state: &mut ClusterState,
    at: At,
    node: NodeId,
    reason: &str,
    message: String,
) {
    let subject = match state.nodes.get(&node) {
        Some(node) => format!("node/{}", node.name),
        None => format!("node/{node}"),
    };
    event::warn(state, at, reason, subject, message);
}

/// What is kept of a text about an order.
pub(super) fn bounded(text: &str) -> String {
    crate::text::bounded(text, DETAIL_MAX)
}

/// The running attempt observed what it was asked for.
fn confirm(state: &mut ClusterState, at: At, id: OrderId) -> Outcome {
    let Some(order) = state.orders.get_mut(&id) else {
        return Outcome::Done;
    };
    order.phase = OrderPhase::Confirmed;
    let order = order.clone();
    let message = format!("order {id}: {}", order.detail);
    match order.action {
        FenceAction::On if order.cause == FenceCause::Unfence => {
            if let Some(node) = state.nodes.get_mut(&order.node) {
                node.unfenced = order.incarnation;
            }
            warn_node(state, at, order.node, "Unfenced", message);
        }
        FenceAction::On => warn_node(state, at, order.node, "PowerOnConfirmed", message),
        FenceAction::Off => {
            warn_node(state, at, order.node, "FenceConfirmed", message);
            let proof = Proof::Fenced {
                order: id,
                detail: order.detail,
            };
            isolated(state, at, (order.node, order.incarnation), &proof);
            quarantine::count_fence(state, at, order.node);
        }
    }
    Outcome::Done
}

/// This life of this node is proven isolated: its session is over and its holdings are open.
fn isolated(state: &mut ClusterState, at: At, life: (NodeId, Incarnation), proof: &Proof) {
    let (id, incarnation) = life;
    let newest = state.nodes.get(&id).map(newest_incarnation);
    if newest != Some(incarnation) {
        return;
    }
    if let Some(node) = state.nodes.get_mut(&id) {
        node.witnessed = None;
    }
    if incarnation != Incarnation::default() {
        session::end(state, id, incarnation, Ending::Fenced);
    }
    for resource in ownership::held_by(state, id) {
        ownership::open(state, at, &resource, Proven::OrOrphan(proof.clone()));
    }
}

fn held(
    state: &mut ClusterState,
    at: At,
    id: OrderId,
    reason: HoldReason,
) -> Result<Outcome, Refusal> {
    let order = open_order(state, id)?;
    let node = order.node;
    match order.phase {
        OrderPhase::Running { .. } => {
            return Err(Refusal::stale(
                "AttemptRunning",
                format!("an attempt of order {id} is running"),
            ));
        }
        OrderPhase::Held(already) if already == reason => return Ok(Outcome::Done),
        OrderPhase::Intended
        | OrderPhase::Held(_)
        | OrderPhase::Waiting { .. }
        | OrderPhase::Confirmed
        | OrderPhase::Cancelled(_) => order.phase = OrderPhase::Held(reason),
    }
    let why = match reason {
        HoldReason::Quorum => "fewer live voters than quorum would be left",
        HoldReason::NoDevice => "no fence device covers it",
    };
    warn_node(state, at, node, "FenceHeld", format!("order {id}: {why}"));
    Ok(Outcome::Done)
}

fn cancelled(
    state: &mut ClusterState,
    at: At,
    id: OrderId,
    reason: &str,
) -> Result<Outcome, Refusal> {
    let order = open_order(state, id)?;
    if matches!(order.phase, OrderPhase::Running { .. }) {
        return Err(Refusal::stale(
            "AttemptRunning",
            format!("an attempt of order {id} is running and must be answered first"),
        ));
    }
    close(state, at, id, reason);
    Ok(Outcome::Done)
}

/// Closes an open order without a verdict.
pub(super) fn close(state: &mut ClusterState, at: At, id: OrderId, reason: &str) {
    let Some(order) = state.orders.get_mut(&id) else {
        return;
    };
    order.phase = OrderPhase::Cancelled(bounded(reason));
    let node = order.node;
    let message = format!("order {id} ended without a verdict: {}", bounded(reason));
    warn_node(state, at, node, "FenceCancelled", message);
}
