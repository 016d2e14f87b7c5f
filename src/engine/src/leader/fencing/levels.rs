//! Which level of its devices an order on a node uses next.
//!
//! What the levels are is [`crate::levels`]' business; whether they work is found out by using them.

use crate::command::{FenceAction, FenceCause};
use crate::ids::{DeviceName, NodeId};
use crate::levels::{Level, UNFENCING, levels_of, unfencing_of};
use crate::spec::Observes;
use crate::state::{ClusterState, FenceOrder};

/// What an order is for, as far as the choice of its devices goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// To prove that the machine has stopped.
    Isolate,
    /// To switch it on.
    PowerOn,
    /// To open the ports of its storage.
    Unfence,
}

impl Purpose {
    /// Of an order with this action and cause.
    pub(super) fn new(action: FenceAction, cause: &FenceCause) -> Purpose {
        match (action, cause) {
            (FenceAction::Off, _) => Purpose::Isolate,
            (FenceAction::On, FenceCause::Unfence) => Purpose::Unfence,
            (
                FenceAction::On,
                FenceCause::Orphans
                | FenceCause::StopFailed { .. }
                | FenceCause::AfterFence
                | FenceCause::Witnessed
                | FenceCause::Administrator { .. },
            ) => Purpose::PowerOn,
        }
    }

    /// Of this order.
    pub(super) fn of(order: &FenceOrder) -> Purpose {
        Purpose::new(order.action, &order.cause)
    }
}

fn all(state: &ClusterState, node: NodeId) -> Vec<Level> {
    let Some(node) = state.nodes.get(&node) else {
        return Vec::new();
    };
    let unfencing = unfencing_of(state, &node.name);
    unfencing
        .into_iter()
        .chain(levels_of(state, &node.name))
        .collect()
}

/// The level of this number, if the node still has it.
pub(super) fn level_at(state: &ClusterState, node: NodeId, number: u8) -> Option<Level> {
    all(state, node)
        .into_iter()
        .find(|level| level.number == number)
}

/// The devices of one level of `node`, in order.
pub(in crate::leader) fn devices_at(
    state: &ClusterState,
    node: NodeId,
    number: u8,
) -> Vec<DeviceName> {
    level_at(state, node, number).map_or_else(Vec::new, |level| level.devices)
}

/// Whether a level is of use: one without a device that stops the machine isolates nobody, and a pill's device
/// cannot switch on.
pub(super) fn serves(state: &ClusterState, level: &Level, purpose: Purpose) -> bool {
    let poisons = |name: &DeviceName| {
        let device = state.devices.get(name);
        device.is_some_and(|device| device.spec.observes == Observes::Poison)
    };
    let real = level.number != UNFENCING;
    match purpose {
        Purpose::Unfence => level.number == UNFENCING,
        Purpose::Isolate => real && level.isolates(&state.devices),
        // Opens nothing, so that its word need not be trusted.
        Purpose::PowerOn => {
            real && level.stops(&state.devices) && !level.devices.iter().any(poisons)
        }
    }
}

fn able(state: &ClusterState, node: NodeId, purpose: Purpose) -> impl Iterator<Item = u8> {
    all(state, node)
        .into_iter()
        .filter(move |level| serves(state, level, purpose))
        .map(|level| level.number)
}

/// The level that is tried first.
pub(super) fn first_level(state: &ClusterState, node: NodeId, purpose: Purpose) -> Option<u8> {
    able(state, node, purpose).next()
}

/// The level after `number`, or the first again.
pub(super) fn next_level(
    state: &ClusterState,
    node: NodeId,
    purpose: Purpose,
    number: u8,
) -> Option<u8> {
    able(state, node, purpose)
        .find(|at| *at > number)
        .or_else(|| first_level(state, node, purpose))
}

/// The level `number` again; where an edit has taken it away, the one after it, or the first.
pub(super) fn same_level(
    state: &ClusterState,
    node: NodeId,
    purpose: Purpose,
    number: u8,
) -> Option<u8> {
    able(state, node, purpose)
        .find(|at| *at >= number)
        .or_else(|| first_level(state, node, purpose))
}
