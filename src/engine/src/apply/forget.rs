//! A node that is deleted is forgotten by its fence devices and topologies, too: they name nodes, and what is called the
//! same later is another machine (R3b).
//!
//! So every name in a device or a topology stands for the node that was registered under it when it was written.

use super::{At, event};
use crate::ids::{DeviceName, Generation, NodeName, TopologyName};
use crate::state::ClusterState;

/// Takes the name out of all of them; what would be left for nobody goes.
pub(super) fn forget(state: &mut ClusterState, at: At, node: &NodeName) {
    let generation = Generation(at.index.0);
    let topologies: Vec<TopologyName> = state
        .topologies
        .iter()
        .filter(|(_, topology)| topology.spec.nodes.contains(node))
        .map(|(name, _)| name.clone())
        .collect();
    for name in topologies {
        let Some(topology) = state.topologies.get_mut(&name) else {
            continue;
        };
        topology.spec.nodes.retain(|other| other != node);
        topology.generation = generation;
        let gone = topology.spec.nodes.is_empty();
        if gone {
            state.topologies.remove(&name);
        }
        let (reason, message) = match gone {
            true => (
                "FenceTopologyDeleted",
                "it spoke only for a node that is gone",
            ),
            false => ("FenceTopologyChanged", "a node that is gone was taken out"),
        };
        event::note(
            state,
            at,
            reason,
            format!("fencetopology/{name}"),
            message.to_owned(),
        );
    }
    let devices: Vec<DeviceName> = state
        .devices
        .iter()
        .filter(|(_, device)| device.spec.targets.contains_key(node))
        .map(|(name, _)| name.clone())
        .collect();
    for name in devices {
        let Some(device) = state.devices.get_mut(&name) else {
            continue;
        };
        device.spec.targets.remove(node);
        device.generation = generation;
        // The spec that was probed stands no more.
        device.probed = None;
        let gone = device.spec.targets.is_empty();
        if gone {
            state.devices.remove(&name);
        }
        let (reason, message) = match gone {
            true => ("FenceDeviceDeleted", "it isolated only a node that is gone"),
            false => (
                "FenceDeviceChanged",
                "a node that is gone was taken out of its targets",
            ),
        };
        event::note(
            state,
            at,
            reason,
            format!("fencedevice/{name}"),
            message.to_owned(),
        );
    }
}
