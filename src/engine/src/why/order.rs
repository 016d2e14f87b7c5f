//! Why a fence order is where it is.

use super::{Lines, name_of};
use crate::command::{FenceAction, FenceCause, HoldReason, Verdict};
use crate::ids::{DeviceName, OrderId};
use crate::state::{ClusterState, FenceOrder, OrderPhase};

/// Explains one order.
pub(super) fn explain(state: &ClusterState, order: &FenceOrder, lines: &mut Lines) {
    let node = name_of(state, order.node);
    let action = match order.action {
        FenceAction::Off => "power off",
        FenceAction::On => "power on",
    };
    let phase = match &order.phase {
        OrderPhase::Intended => "intended",
        OrderPhase::Held(_) => "held",
        OrderPhase::Running { .. } => "running",
        OrderPhase::Waiting { .. } => "waiting to try again",
        OrderPhase::Confirmed => "confirmed",
        OrderPhase::Cancelled(_) => "ended without a verdict",
    };
    lines.state(format!(
        "{phase}: {action} {node} (incarnation {})",
        order.incarnation
    ));
    match &order.cause {
        FenceCause::Orphans => {
            lines.rule("what the lost incarnation held waits for proof that it is isolated");
        }
        FenceCause::StopFailed { resource } => {
            lines.rule(format!(
                "{node} cannot prove that it has stopped {resource}; what is not proven stopped counts as running"
            ));
            lines.remedy(format!("haftctl why {resource}"));
        }
        FenceCause::AfterFence => {
            lines.rule(format!(
                "{node} is proven off and its spec says afterFence: power-on"
            ));
        }
        FenceCause::Witnessed => {
            lines.rule(format!(
                "{node} was proven off, and something of it has answered since"
            ));
        }
        FenceCause::Unfence => {
            lines.rule(format!(
                "{node} has joined, and is granted nothing before the ports of its storage are open"
            ));
        }
        FenceCause::Administrator { by, reason } => {
            lines.rule(format!("{by} asked for it: {reason}"));
        }
    }
    progress(state, order, lines);
}

/// The tries that others have taken the place of.
pub(super) fn may_still_act(state: &ClusterState, order: &FenceOrder, lines: &mut Lines) {
    for kept in &order.superseded {
        lines.rule(format!(
            "attempt {} of {} may still act, for at most {} ms: {} is not admitted before that",
            kept.attempt,
            name_of(state, kept.executor),
            kept.deadline.as_millis(),
            name_of(state, order.node)
        ));
    }
}

/// What the order has come to, without naming it.
pub(super) fn progress(state: &ClusterState, order: &FenceOrder, lines: &mut Lines) {
    let node = name_of(state, order.node);
    if !order.detail.is_empty() {
        lines.evidence(format!("last attempt: {}", order.detail));
    }
    may_still_act(state, order, lines);
    match &order.phase {
        OrderPhase::Intended => lines.waits("the leader to start an attempt"),
        OrderPhase::Held(HoldReason::Quorum) => {
            lines.rule("fewer live voters than quorum would be left");
            let others = state.being_switched_off();
            match others.first() {
                Some(other) => lines.waits(format!(
                    "the order against {} to end, or another coordinator to come back",
                    name_of(state, *other)
                )),
                None => lines.waits("another coordinator to come back"),
            }
            lines.remedy("start haftd on the coordinators that are down");
        }
        OrderPhase::Held(HoldReason::NoDevice) => {
            no_device(state, &node, lines);
        }
        OrderPhase::Running {
            attempt,
            executor,
            level,
            deadline,
        } => lines.waits(format!(
            "attempt {attempt} at level {level}, run by {} for at most {} ms",
            name_of(state, *executor),
            deadline.as_millis()
        )),
        OrderPhase::Waiting { last, .. } => {
            lines.rule(match last {
                Verdict::Refused => "the device refused; that proves nothing",
                Verdict::Unknown | Verdict::Confirmed => {
                    "the outcome is unknown; unknown opens nothing"
                }
            });
            lines.waits(format!("the next attempt, after {} so far", order.attempts));
            lines.remedy(format!(
                "make the fence devices of {node} reachable; the order goes on by itself"
            ));
        }
        OrderPhase::Confirmed => {}
        OrderPhase::Cancelled(reason) => lines.evidence(reason.clone()),
    }
}

/// Why no device isolates this node: none covers it, or those that do are distrusted.
fn no_device(state: &ClusterState, node: &str, lines: &mut Lines) {
    let liars = distrusted(state, node);
    if liars.is_empty() {
        lines.rule(format!("no fence device covers {node}"));
        lines.remedy(format!("apply a FenceDevice that targets {node}"));
    }
    for (device, order) in liars {
        lines.rule(format!(
            "{device} is distrusted since order {order}: it said off of a machine that answered"
        ));
        lines.remedy(format!(
            "find out why, then apply fencedevice/{device} again as it is; or haftctl confirm-off {node}"
        ));
    }
}

/// The devices of this node that a witness has contradicted.
pub(super) fn distrusted<'a>(
    state: &'a ClusterState,
    node: &'a str,
) -> Vec<(&'a DeviceName, OrderId)> {
    let devices = state.devices.iter();
    devices
        .filter(|(_, device)| device.spec.targets.keys().any(|target| target.0 == node))
        .filter_map(|(name, device)| Some((name, device.distrusted?)))
        .collect()
}
