//! Which devices and levels an order on a node may use.
//!
//! Reads the configured devices alone; whether they work is found out by using them.

use crate::command::FenceAction;
use crate::ids::{DeviceName, NodeId};
use crate::spec::Observes;
use crate::state::ClusterState;
use std::collections::BTreeSet;

/// The devices of one level that isolate `node`, in order.
pub(in crate::leader) fn devices_at(
    state: &ClusterState,
    node: NodeId,
    level: u8,
) -> Vec<DeviceName> {
    covering(state, node)
        .filter(|(_, at)| *at == level)
        .map(|(name, _)| name.clone())
        .collect()
}

fn covering(state: &ClusterState, node: NodeId) -> impl Iterator<Item = (&DeviceName, u8)> {
    let name = state.nodes.get(&node).map(|node| &node.name);
    state
        .devices
        .iter()
        .filter(move |(_, device)| name.is_some_and(|name| device.spec.targets.contains_key(name)))
        .map(|(device_name, device)| (device_name, device.spec.level))
}

/// Levels that can carry out `action`: a pill's device cannot switch on, so a level with one is left out.
fn levels(state: &ClusterState, node: NodeId, action: FenceAction) -> BTreeSet<u8> {
    let mut levels: BTreeSet<u8> = covering(state, node).map(|(_, level)| level).collect();
    match action {
        FenceAction::Off => {}
        FenceAction::On => {
            for (name, level) in covering(state, node) {
                if state.devices[name].spec.observes == Observes::Poison {
                    levels.remove(&level);
                }
            }
        }
    }
    levels
}

/// The level that is tried first.
pub(super) fn first_level(state: &ClusterState, node: NodeId, action: FenceAction) -> Option<u8> {
    levels(state, node, action).first().copied()
}

/// The level after `level`, or the first again.
pub(super) fn next_level(
    state: &ClusterState,
    node: NodeId,
    action: FenceAction,
    level: u8,
) -> Option<u8> {
    levels(state, node, action)
        .into_iter()
        .find(|at| *at > level)
        .or_else(|| first_level(state, node, action))
}
