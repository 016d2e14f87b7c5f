//! For which nodes a fence device is used, at which level and by whose word, and whether it answers.

use super::Lines;
use crate::ids::{DeviceName, NodeName};
use crate::levels::{levels_of, topology_of};
use crate::state::{ClusterState, Device};

/// Explains one device.
pub(super) fn explain(state: &ClusterState, name: &DeviceName, device: &Device, lines: &mut Lines) {
    match (&device.probed, device.failing()) {
        (None, _) => lines.state("not probed yet"),
        (Some(_), None) => lines.state("it answers its probes"),
        (Some(_), Some(why)) => {
            lines.state("it fails its probes");
            lines.evidence(why.to_owned());
            lines.remedy(format!(
                "repair the path to it: haftctl get fencedevice {name} -o yaml"
            ));
        }
    }
    if let Some(order) = device.distrusted {
        lines.rule(format!(
            "it is distrusted since order {order}: it said off of a machine that answered, and proves nothing by itself"
        ));
        lines.remedy(format!(
            "find out why, then apply fencedevice/{name} again as it is"
        ));
    }
    for node in device.spec.targets.keys() {
        lines.rule(used_for(state, name, device.spec.level, node));
    }
}

fn used_for(state: &ClusterState, name: &DeviceName, own_level: u8, node: &NodeName) -> String {
    let Some((topology, _)) = topology_of(&state.topologies, node) else {
        return format!("used for {node} at its own level, {own_level}");
    };
    let levels: Vec<String> = levels_of(state, node)
        .iter()
        .filter(|level| level.devices.contains(name))
        .map(|level| level.number.to_string())
        .collect();
    if levels.is_empty() {
        return format!("not used for {node}, since fencetopology/{topology} does not name it");
    }
    format!(
        "used for {node} at level {} of fencetopology/{topology}; its own level has no effect",
        levels.join(" and ")
    )
}
