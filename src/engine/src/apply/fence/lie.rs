//! What a machine says against the word that it is off (R3a).
//!
//! Before the verdict is taken, it makes it `Unknown`; after what it held was given away, it changes no ownership: people
//! are told, and an order against the same life goes to the devices that are still trusted.

use super::{bounded, open_order, warn_node};
use crate::apply::{At, Outcome, Refusal, event};
use crate::command::FenceAction;
use crate::ids::{DeviceName, Incarnation, NodeId, OrderId};
use crate::levels::levels_of;
use crate::plant::{self, Bug};
use crate::state::{ClusterState, Ending, FenceOrder, OrderPhase, Session};
use crate::witness::{Lie, Witness};

/// Whether the devices' word that the order's target is off does not stand: something of it has answered, or none of
/// them is trusted by now. Notes what follows from that.
pub(super) fn contradicts(
    state: &mut ClusterState,
    at: At,
    id: OrderId,
    level: u8,
    lie: Option<&Lie>,
) -> bool {
    let Ok(order) = open_order(state, id) else {
        return false;
    };
    let (node, incarnation) = (order.node, order.incarnation);
    if order.action == FenceAction::On {
        return false;
    }
    let known = state.nodes.get(&node);
    let lie = lie.filter(|lie| {
        known.is_some_and(|node| node.newest() == incarnation && node.boot == lie.witness.boot)
    });
    if let Some(lie) = lie.filter(|_| !plant::is(Bug::IgnoreWitness)) {
        let said = testimony(state, node, &lie.witness);
        let message = format!("order {id}: said to be off, and {said}");
        distrust(state, at, id, &lie.devices);
        if let Ok(order) = open_order(state, id) {
            order.detail = bounded(&format!("{said}, against {}", order.detail));
        }
        warn_node(state, at, node, "FenceLie", message);
        return true;
    }
    let Some(name) = known.map(|node| node.name.clone()) else {
        return false;
    };
    let levels = levels_of(state, &name);
    let used = levels.iter().find(|used| used.number == level);
    // One that an edit has taken away was trusted when the try began.
    used.is_some_and(|used| used.stops(&state.devices) && !used.isolates(&state.devices))
}

/// Who answered, in words.
pub(super) fn testimony(state: &ClusterState, node: NodeId, witness: &Witness) -> String {
    let name = |id: NodeId| {
        let known = state.nodes.get(&id);
        known.map_or_else(|| id.to_string(), |node| node.name.to_string())
    };
    format!(
        "{} of {} has answered a challenge of {}",
        witness.speaker,
        name(node),
        name(witness.by)
    )
}

fn distrust(state: &mut ClusterState, at: At, order: OrderId, devices: &[DeviceName]) {
    for name in devices {
        let Some(device) = state.devices.get_mut(name) else {
            continue;
        };
        device.distrusted = Some(order);
        let message = format!(
            "order {order}: it said off of a machine that answered; its word alone proves nothing until it is applied anew"
        );
        let subject = format!("fencedevice/{name}");
        event::warn(state, at, "FenceDeviceDistrusted", subject, message);
    }
}

/// Whether this life of this node is held for proven off, so that an answer of it contradicts the log.
pub(crate) fn may_testify(state: &ClusterState, node: NodeId, life: Incarnation) -> bool {
    let over = Session::Ended {
        incarnation: life,
        ending: Ending::Fenced,
    };
    state
        .nodes
        .get(&node)
        .is_some_and(|node| node.session == over && node.witnessed.is_none())
}

/// Something of a machine that is proven off has answered.
///
/// # Errors
/// When that life is not held for proven off, another boot answers, or it is known already.
pub(super) fn witnessed(
    state: &mut ClusterState,
    at: At,
    (node, life): (NodeId, Incarnation),
    witness: Witness,
) -> Result<Outcome, Refusal> {
    if !may_testify(state, node, life) {
        return Err(Refusal::stale(
            "NotProvenOff",
            format!(
                "incarnation {life} of node {node} is not held for proven off, or is known to answer"
            ),
        ));
    }
    let said = testimony(state, node, &witness);
    let Some(known) = state.nodes.get_mut(&node) else {
        return Err(Refusal::not_found("NoSuchNode", "no such node"));
    };
    if known.boot != witness.boot {
        return Err(Refusal::stale(
            "OtherBoot",
            format!("{} has rebooted, which is no lie", known.name),
        ));
    }
    known.witnessed = Some(witness);
    disproved(state, at, node, life);
    let message = format!("proven off, and {said}: what it held may be owned twice");
    warn_node(state, at, node, "FenceLie", message);
    Ok(Outcome::Done)
}

/// This life was proven off, and its machine is back on the same boot: the devices whose word that was are not trusted.
pub(in crate::apply) fn disproved(
    state: &mut ClusterState,
    at: At,
    node: NodeId,
    life: Incarnation,
) {
    if let Some((order, devices)) = liars(state, node, life) {
        distrust(state, at, order, &devices);
    }
}

/// The order that was confirmed against this life, with the devices whose word that was.
fn liars(
    state: &ClusterState,
    node: NodeId,
    life: Incarnation,
) -> Option<(OrderId, Vec<DeviceName>)> {
    let confirmed = |order: &&FenceOrder| {
        (order.node, order.incarnation, order.action) == (node, life, FenceAction::Off)
            && order.phase == OrderPhase::Confirmed
    };
    let order = state.orders.values().rfind(confirmed)?;
    let name = &state.nodes.get(&node)?.name;
    let levels = levels_of(state, name);
    let level = levels.iter().find(|level| level.number == order.level)?;
    let devices = level.devices.iter().filter(|name| {
        let device = state.devices.get(*name);
        device.is_some_and(|device| device.spec.observes.stops_the_machine())
    });
    Some((order.id, devices.cloned().collect()))
}
