//! When an order has lost its purpose, and is dropped.

use super::ADMINISTRATOR_ORDER_LIFE;
use crate::apply::leaves_orphans;
use crate::clock::Moment;
use crate::command::{FenceAction, FenceCause};
use crate::ids::NodeId;
use crate::leader::View;
use crate::levels::awaits_unfencing;
use crate::spec::AfterFence;
use crate::state::{ClusterState, FenceOrder, Session};

/// Why an order has no purpose any more.
pub(super) fn void_reason(
    view: &View<'_>,
    state: &ClusterState,
    order: &FenceOrder,
    seen: Moment,
) -> Option<&'static str> {
    // One order a node at a time: a power on that cannot be carried out would keep waiting the off that a live
    // node needs once it is lost.
    let opens = order.cause == FenceCause::Unfence;
    if order.action == FenceAction::On && !opens && state.live_incarnation(order.node).is_some() {
        return Some("its target is running");
    }
    match &order.cause {
        FenceCause::Orphans if !leaves_orphans(state, order.node) => {
            Some("nothing is left that needs proof of isolation")
        }
        FenceCause::Orphans => None,
        // The target may have been lost meanwhile: the order then serves its orphans.
        FenceCause::StopFailed { .. }
            if state.unstoppable(order.node).is_none() && !leaves_orphans(state, order.node) =>
        {
            Some("its target has stopped after all")
        }
        FenceCause::StopFailed { .. } => None,
        FenceCause::Witnessed
            if state
                .nodes
                .get(&order.node)
                .is_none_or(|node| node.witnessed.is_none()) =>
        {
            Some("nothing contradicts that it is off any more")
        }
        FenceCause::Witnessed => None,
        FenceCause::AfterFence if !stays_off(state, order.node) => {
            Some("it is back, quarantined or to stay off")
        }
        FenceCause::Unfence
            if !state
                .nodes
                .get(&order.node)
                .is_some_and(|node| awaits_unfencing(state, node)) =>
        {
            Some("it is not online, or nothing waits to be opened")
        }
        // What it cannot stop comes first.
        FenceCause::Unfence if state.unstoppable(order.node).is_some() => {
            Some("an order to power off takes its place")
        }
        FenceCause::Unfence => None,
        FenceCause::AfterFence | FenceCause::Administrator { .. } => (view.now.since(seen)
            >= ADMINISTRATOR_ORDER_LIFE)
            .then_some("it could not be carried out in time"),
    }
}

/// Whether a power on after a fence still has a purpose.
fn stays_off(state: &ClusterState, node: NodeId) -> bool {
    state.nodes.get(&node).is_some_and(|node| {
        node.spec.after_fence == AfterFence::PowerOn
            && !node.quarantined
            && matches!(node.session, Session::Ended { .. })
    })
}
