//! What a fence topology amounts to, and what would keep it from working.

use super::{Lines, paths};
use crate::ids::{DeviceName, TopologyName};
use crate::levels::{levels_of, unused_for};
use crate::state::{ClusterState, Topology};
use std::collections::BTreeSet;

/// Explains one topology.
pub(super) fn explain(
    state: &ClusterState,
    name: &TopologyName,
    topology: &Topology,
    lines: &mut Lines,
) {
    let nodes: Vec<&str> = topology
        .spec
        .nodes
        .iter()
        .map(|node| node.as_str())
        .collect();
    lines.state(format!(
        "it alone says how these are fenced: {}",
        nodes.join(", ")
    ));
    // Its nodes have the same levels, by what a topology is.
    let levels = topology.spec.nodes.first();
    for level in levels
        .map(|node| levels_of(state, node))
        .unwrap_or_default()
    {
        lines.rule(format!(
            "{}; all of them must succeed",
            paths::one_level(state, &level)
        ));
    }
    for node in &topology.spec.nodes {
        let unused = unused_for(state, node);
        if !unused.is_empty() {
            let unused: Vec<&str> = unused.iter().map(DeviceName::as_str).collect();
            lines.rule(format!(
                "not used for {node}, since it does not name it: {}",
                unused.join(", ")
            ));
        }
    }
    let named: BTreeSet<&DeviceName> = topology
        .spec
        .levels
        .iter()
        .flat_map(|level| &level.devices)
        .collect();
    for device in named {
        let found = state.devices.get(device);
        if let Some(why) = found.and_then(|device| device.failing()) {
            lines.evidence(format!("{device} fails its probes: {why}"));
            lines.remedy(format!(
                "repair the path to {device}, or take it out: haftctl describe fencetopology/{name}"
            ));
        }
    }
}
