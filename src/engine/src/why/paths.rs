//! Whether the fence devices of a node would work, as far as probes and declarations tell.
//!
//! Advice only: an order tries every device whatever is said here.

use super::Lines;
use crate::domains::shared_by;
use crate::ids::{DeviceName, NodeName};
use crate::state::{ClusterState, Device};

/// Explains what is wrong with the devices that cover `node`.
pub(super) fn explain(state: &ClusterState, node: &NodeName, lines: &mut Lines) {
    let covering: Vec<(&DeviceName, &Device)> = state
        .devices
        .iter()
        .filter(|(_, device)| device.spec.targets.contains_key(node))
        .collect();
    let word = match covering.len() {
        1 => "only fence device",
        _ => "fence device",
    };
    for (name, device) in &covering {
        if let Some(why) = device.failing() {
            lines.evidence(format!("its {word} {name} fails its probes: {why}"));
            lines.remedy(format!(
                "repair the path to {name}: haftctl get fencedevice {name} -o yaml"
            ));
        }
    }
    if let Some(node) = state.node_named(node) {
        for shared in shared_by(state, node) {
            lines.rule(shared.to_string());
        }
    }
    let mut levels: Vec<u8> = covering
        .iter()
        .map(|(_, device)| device.spec.level)
        .collect();
    levels.dedup();
    let broken = |level: &u8| {
        covering
            .iter()
            .any(|(_, device)| device.spec.level == *level && device.failing().is_some())
    };
    if covering.len() > 1 && levels.iter().all(broken) {
        lines.rule(format!(
            "every level has a device that fails its probes: {node} could not be fenced now"
        ));
    }
}
