//! Whether the fence devices of a node would work, as far as probes and declarations tell.
//!
//! Advice only: an order tries every device of its levels whatever is said here.

use super::Lines;
use crate::domains::shared_by;
use crate::ids::{DeviceName, NodeName};
use crate::levels::{Level, levels_of, topology_of, unused_for};
use crate::state::ClusterState;
use std::collections::BTreeSet;

/// Explains what is wrong with the devices that isolate `node`.
pub(super) fn explain(state: &ClusterState, node: &NodeName, lines: &mut Lines) {
    let levels = levels_of(state, node);
    by_topology(state, node, &levels, lines);
    let used: BTreeSet<&DeviceName> = levels.iter().flat_map(|level| &level.devices).collect();
    let word = match used.len() {
        1 => "only fence device",
        _ => "fence device",
    };
    for name in &used {
        if let Some(why) = failing(state, name) {
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
    if used.len() > 1 && levels.iter().all(|level| is_broken(state, level)) {
        lines.rule(format!(
            "every level has a device that fails its probes: {node} could not be fenced now"
        ));
    }
}

fn failing<'a>(state: &'a ClusterState, name: &DeviceName) -> Option<&'a str> {
    state.devices.get(name)?.failing()
}

fn is_broken(state: &ClusterState, level: &Level) -> bool {
    let mut devices = level.devices.iter();
    devices.any(|name| failing(state, name).is_some())
}

/// A topology overrules what the devices say of themselves; whoever wonders is told.
fn by_topology(state: &ClusterState, node: &NodeName, levels: &[Level], lines: &mut Lines) {
    let Some((topology, _)) = topology_of(&state.topologies, node) else {
        return;
    };
    let told: Vec<String> = levels.iter().map(|level| one_level(state, level)).collect();
    lines.rule(format!(
        "fencetopology/{topology} says how {node} is fenced: {}",
        told.join("; ")
    ));
    let unused = unused_for(state, node);
    if !unused.is_empty() {
        let names: Vec<&str> = unused.iter().map(DeviceName::as_str).collect();
        lines.rule(format!(
            "not used for {node}, since fencetopology/{topology} does not name it: {}",
            names.join(", ")
        ));
    }
}

/// `level 2 pdu-a and pdu-b within 15000 ms`
pub(super) fn one_level(state: &ClusterState, level: &Level) -> String {
    let names: Vec<&str> = level.devices.iter().map(DeviceName::as_str).collect();
    let within = level.total(&state.devices).as_millis();
    let delay = level.delay.as_millis();
    let after = match delay {
        0 => String::new(),
        delay => format!(" after {delay} ms"),
    };
    format!(
        "level {} {} within {within} ms{after}",
        level.number,
        names.join(" and ")
    )
}
