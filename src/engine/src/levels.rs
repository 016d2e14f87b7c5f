//! How a node is isolated: its levels of fence devices, in the order in which they are tried.
//!
//! The only reading of topologies and of the devices' own levels: orders, probes, placement, admission, advice and
//! `why` all ask here, so that they agree. Says nothing of whether a device works.

use crate::apply::ATTEMPT_MAX;
use crate::ids::{DeviceName, NodeName, TopologyName};
use crate::spec::FenceTopologySpec;
use crate::state::{ClusterState, Device, Topology};
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

impl Level {
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

/// The levels of the node of this name, first to last; none if nothing isolates it.
pub fn levels_of(state: &ClusterState, node: &NodeName) -> Vec<Level> {
    match topology_of(&state.topologies, node) {
        Some((_, topology)) => as_written(&topology.spec),
        None => by_own_level(&state.devices, node),
    }
}

/// Whether the node has any level at all, with devices that may not be in force: what [`levels_of`] would say.
pub(crate) fn is_isolated(
    devices: &BTreeMap<DeviceName, Device>,
    topologies: &BTreeMap<TopologyName, Topology>,
    node: &NodeName,
) -> bool {
    topology_of(topologies, node).is_some()
        || devices
            .values()
            .any(|device| device.spec.targets.contains_key(node))
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
