//! Which level of its devices an order on a node uses next.
//!
//! What the levels are is [`crate::levels`]' business; whether they work is found out by using them.

use crate::command::FenceAction;
use crate::ids::{DeviceName, NodeId};
use crate::levels::{Level, levels_of};
use crate::spec::Observes;
use crate::state::ClusterState;

fn all(state: &ClusterState, node: NodeId) -> Vec<Level> {
    state
        .nodes
        .get(&node)
        .map(|node| levels_of(state, &node.name))
        .unwrap_or_default()
}

/// The level of this number, if the node still has it.
pub(super) fn level_at(state: &ClusterState, node: NodeId, number: u8) -> Option<Level> {
    all(state, node)
        .into_iter()
        .find(|level| level.number == number)
}

/// The devices of one level that isolate `node`, in order.
pub(in crate::leader) fn devices_at(
    state: &ClusterState,
    node: NodeId,
    number: u8,
) -> Vec<DeviceName> {
    level_at(state, node, number).map_or_else(Vec::new, |level| level.devices)
}

/// Levels that can carry out `action`: a pill's device cannot switch on, so a level with one is left out.
fn able(state: &ClusterState, node: NodeId, action: FenceAction) -> impl Iterator<Item = u8> {
    let poisons = |name: &DeviceName| {
        let device = state.devices.get(name);
        device.is_some_and(|device| device.spec.observes == Observes::Poison)
    };
    all(state, node)
        .into_iter()
        .filter(move |level| match action {
            FenceAction::Off => true,
            FenceAction::On => !level.devices.iter().any(poisons),
        })
        .map(|level| level.number)
}

/// The level that is tried first.
pub(super) fn first_level(state: &ClusterState, node: NodeId, action: FenceAction) -> Option<u8> {
    able(state, node, action).next()
}

/// The level after `number`, or the first again.
pub(super) fn next_level(
    state: &ClusterState,
    node: NodeId,
    action: FenceAction,
    number: u8,
) -> Option<u8> {
    able(state, node, action)
        .find(|at| *at > number)
        .or_else(|| first_level(state, node, action))
}

/// The level `number` again; where an edit has taken it away, the one after it, or the first.
pub(super) fn same_level(
    state: &ClusterState,
    node: NodeId,
    action: FenceAction,
    number: u8,
) -> Option<u8> {
    able(state, node, action)
        .find(|at| *at >= number)
        .or_else(|| first_level(state, node, action))
}
