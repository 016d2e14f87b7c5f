//! How a node is isolated: its levels of fence devices, in the order in which they are tried.
//!
//! The only reading of topologies and of the devices' own levels: orders, probes, placement, admission, advice and
//! `why` all ask here, so that they agree. Says nothing of whether a device works.

use crate::apply::ATTEMPT_MAX;
use crate::ids::{DeviceName, NodeName, TopologyName};
use crate::spec::{FenceTopologySpec, Observes};
use crate::state::{ClusterState, Device, Node, Session, Topology};
use std::collections::BTreeMap;
use std::time::Duration;

/// Devices that must all succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Level {
    /// Its number; lower ones are tried first.
    pub number: u8,
    /// Used in this order; never empty.
    pub devices: Vec<DeviceName>,
    /// Total time for one try, if the administrator has set it.
    pub timeout: Option<Duration>,
    /// Wait before the first device is called for an off.
    pub delay: Duration,
}

/// The number of the level that opens storage to a node that has joined; it isolates nobody.
pub const UNFENCING: u8 = 0;

impl Level {
    /// Whether success proves that the machine has stopped: one of its devices must observe that, and be trusted.
    pub fn isolates(&self, devices: &BTreeMap<DeviceName, Device>) -> bool {
        self.devices
            .iter()
            .filter_map(|name| devices.get(name))
            .any(Device::proves_a_stop)
    }

    /// Whether it has power over the machine, trusted or not.
    pub fn stops(&self, devices: &BTreeMap<DeviceName, Device>) -> bool {
        self.devices
            .iter()
            .filter_map(|name| devices.get(name))
            .any(|device| device.spec.observes.stops_the_machine())
    }

    /// Longest time for one try: as set, else what its devices may take one after the other, within
    /// the bound of any attempt.
    pub fn total(&self, devices: &BTreeMap<DeviceName, Device>) -> Duration {
        let one_by_one: Duration = self
            .devices
            .iter()
            .filter_map(|name| devices.get(name))
            .map(|device| device.spec.deadline + device.spec.delay)
            .sum();
        self.timeout
            .unwrap_or(self.delay + one_by_one)
            .min(ATTEMPT_MAX)
    }
}

/// The topology that speaks for the node of this name, if one does.
pub fn topology_of<'a>(
    topologies: &'a BTreeMap<TopologyName, Topology>,
    node: &NodeName,
) -> Option<(&'a TopologyName, &'a Topology)> {
    topologies
        .iter()
        .find(|(_, topology)| topology.spec.nodes.contains(node))
}

/// The levels of the node of this name, first to last, also such as isolate nobody.
pub fn levels_of(state: &ClusterState, node: &NodeName) -> Vec<Level> {
    levels(&state.devices, &state.topologies, node)
}

fn levels(
    devices: &BTreeMap<DeviceName, Device>,
    topologies: &BTreeMap<TopologyName, Topology>,
    node: &NodeName,
) -> Vec<Level> {
    match topology_of(topologies, node) {
        Some((_, topology)) => as_written(&topology.spec),
        None => by_own_level(devices, node),
    }
}

/// Whether the node has a level that isolates it, with devices that may not be in force.
pub(crate) fn is_isolated(
    devices: &BTreeMap<DeviceName, Device>,
    topologies: &BTreeMap<TopologyName, Topology>,
    node: &NodeName,
) -> bool {
    levels(devices, topologies, node)
        .iter()
        .any(|level| level.isolates(devices))
}

/// Every device that closes a port of the node of this name, as one level; `None` if there is none.
pub fn unfencing_of(state: &ClusterState, node: &NodeName) -> Option<Level> {
    let mut devices = Vec::new();
    for name in levels_of(state, node)
        .iter()
        .flat_map(|level| &level.devices)
    {
        let storage = state
            .devices
            .get(name)
            .is_some_and(|device| device.spec.observes == Observes::Storage);
        if storage && !devices.contains(name) {
            devices.push(name.clone());
        }
    }
    (!devices.is_empty()).then_some(Level {
        number: UNFENCING,
        devices,
        timeout: None,
        delay: Duration::ZERO,
    })
}

/// Whether this life of the node waits for its ports to be opened before it may be granted anything.
pub fn awaits_unfencing(state: &ClusterState, node: &Node) -> bool {
    match node.session {
        Session::Open { incarnation } => {
            node.unfenced != incarnation && unfencing_of(state, &node.name).is_some()
        }
        Session::Never | Session::Closing { .. } | Session::Ended { .. } => false,
    }
}

fn as_written(spec: &FenceTopologySpec) -> Vec<Level> {
    (1_u8..)
        .zip(&spec.levels)
        .map(|(number, level)| Level {
            number,
            devices: level.devices.clone(),
            timeout: level.timeout,
            delay: level.delay,
        })
        .collect()
}

/// Without a topology every device says itself at which level it stands; those of one level come by name.
fn by_own_level(devices: &BTreeMap<DeviceName, Device>, node: &NodeName) -> Vec<Level> {
    let mut levels: BTreeMap<u8, Vec<DeviceName>> = BTreeMap::new();
    for (name, device) in devices {
        if device.spec.targets.contains_key(node) {
            levels
                .entry(device.spec.level)
                .or_default()
                .push(name.clone());
        }
    }
    levels
        .into_iter()
        .map(|(number, devices)| Level {
            number,
            devices,
            timeout: None,
            delay: Duration::ZERO,
        })
        .collect()
}

/// Devices that target the node of this name and are not used for it, because its topology does not name them.
pub fn unused_for(state: &ClusterState, node: &NodeName) -> Vec<DeviceName> {
    let used = levels_of(state, node);
    state
        .devices
        .iter()
        .filter(|(name, device)| {
            device.spec.targets.contains_key(node)
                && !used.iter().any(|level| level.devices.contains(name))
        })
        .map(|(name, _)| name.clone())
        .collect()
}
