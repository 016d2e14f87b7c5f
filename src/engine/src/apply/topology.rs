//! Fence topologies: put and delete, and what they demand of the devices they name.
//!
//! What a topology means for an order is read in [`crate::levels`]; orders under way are left alone.

use super::admission::{self, DEADLINE_MIN, LEVEL_MAX};
use super::fence::ATTEMPT_MAX;
use super::joining::check_name;
use super::object::{check_version, no_such, warn_of_shared};
use super::{At, Outcome, Refusal, event};
use crate::domains::all_shared;
use crate::ids::{DeviceName, Generation, Incarnation, NodeName, TopologyName};
use crate::levels::topology_of;
use crate::spec::{FenceLevel, FenceTopologySpec};
use crate::state::{ClusterState, Device, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Most topologies: one per node of the largest group.
const TOPOLOGIES_MAX: usize = 4_096;
/// Most devices of one level; each is a power supply or a disk of one machine, worked one after the other.
const DEVICES_MAX: usize = 16;

/// Creates or replaces a topology.
pub(super) fn put(
    state: &mut ClusterState,
    at: At,
    name: &TopologyName,
    spec: &FenceTopologySpec,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    let what = format!("fencetopology/{name}");
    let present = state.topologies.get(name);
    check_version(&what, present.map(|topology| topology.generation), expected)?;
    let since_unix_ms = match present {
        Some(topology) if topology.spec == *spec => {
            return Ok(Outcome::Written(topology.generation));
        }
        Some(topology) => topology.since_unix_ms,
        None if state.topologies.len() >= TOPOLOGIES_MAX => {
            return Err(Refusal::dangerous(
                "TooManyTopologies",
                format!("{TOPOLOGIES_MAX} fence topologies exist"),
            ));
        }
        None => at.stamp_unix_ms,
    };
    check_name(name.as_str())?;
    check_nodes(state, name, spec)?;
    check_levels(spec)?;
    fault(&state.devices, spec)?;
    let shared = all_shared(state);
    let generation = Generation(at.index.0);
    let topology = Topology {
        spec: spec.clone(),
        generation,
        since_unix_ms,
    };
    if let Some(before) = state.topologies.insert(name.clone(), topology) {
        close_again(state, &before.spec);
    }
    close_again(state, spec);
    event::note(state, at, "FenceTopologyChanged", what, told(spec));
    warn_of_shared(state, at, &shared);
    Ok(Outcome::Written(generation))
}

/// Deletes a topology: its nodes are isolated by the levels that their devices say of themselves.
pub(super) fn delete(
    state: &mut ClusterState,
    at: At,
    name: &TopologyName,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    let what = format!("fencetopology/{name}");
    let Some(topology) = state.topologies.get(name) else {
        return Err(no_such(&what));
    };
    check_version(&what, Some(topology.generation), expected)?;
    let shared = all_shared(state);
    if let Some(before) = state.topologies.remove(name) {
        close_again(state, &before.spec);
    }
    let message = "it is gone; the devices' own levels count".to_owned();
    event::note(state, at, "FenceTopologyDeleted", what, message);
    warn_of_shared(state, at, &shared);
    Ok(Outcome::Done)
}

fn told(spec: &FenceTopologySpec) -> String {
    let nodes: Vec<&str> = spec.nodes.iter().map(NodeName::as_str).collect();
    let levels = match spec.levels.len() {
        1 => "1 level".to_owned(),
        many => format!("{many} levels"),
    };
    format!("{}: {levels}", nodes.join(", "))
}

fn check_nodes(
    state: &ClusterState,
    name: &TopologyName,
    spec: &FenceTopologySpec,
) -> Result<(), Refusal> {
    if spec.nodes.is_empty() {
        return Err(
            Refusal::invalid("NoNodes", "the topology speaks for no node")
                .fix("name the nodes that its levels isolate"),
        );
    }
    for node in &spec.nodes {
        if state.node_named(node).is_none() {
            return Err(admission::unknown_node(state, node));
        }
        if let Some((other, _)) = topology_of(&state.topologies, node)
            && other != name
        {
            return Err(Refusal::exists(
                "NodeInTopology",
                format!("{node} is in fencetopology/{other} already"),
            )
            .fix(format!(
                "take {node} out of one of the two; a node is in at most one topology"
            )));
        }
    }
    Ok(())
}

fn check_levels(spec: &FenceTopologySpec) -> Result<(), Refusal> {
    if spec.levels.is_empty() || spec.levels.len() > usize::from(LEVEL_MAX) {
        return Err(Refusal::invalid(
            "BadLevel",
            format!("{} levels are out of bounds", spec.levels.len()),
        )
        .fix(format!(
            "write 1 to {LEVEL_MAX} levels; the first is tried first"
        )));
    }
    for (number, level) in (1..).zip(&spec.levels) {
        check_level(number, level)?;
    }
    Ok(())
}

fn check_level(number: usize, level: &FenceLevel) -> Result<(), Refusal> {
    if level.devices.is_empty() || level.devices.len() > DEVICES_MAX {
        return Err(Refusal::invalid(
            "BadLevel",
            format!("level {number} names {} devices", level.devices.len()),
        )
        .fix(format!("name 1 to {DEVICES_MAX} fence devices")));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = level.devices.iter().find(|name| !seen.insert(*name)) {
        return Err(Refusal::invalid(
            "DuplicateDevice",
            format!("level {number} names {twice} twice"),
        )
        .fix("name each device once in a level"));
    }
    admission::check_delay(level.delay)?;
    match level.timeout {
        Some(timeout) if timeout < DEADLINE_MIN || timeout > ATTEMPT_MAX => Err(Refusal::invalid(
            "BadTimeout",
            format!("a timeout of {timeout:?} for level {number} is out of bounds"),
        )
        .fix(format!(
            "write between {} ms and {} s, or leave it out",
            DEADLINE_MIN.as_millis(),
            ATTEMPT_MAX.as_secs()
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Whether every level can isolate every node of the topology with these devices.
fn fault(devices: &BTreeMap<DeviceName, Device>, spec: &FenceTopologySpec) -> Result<(), Refusal> {
    for (number, level) in (1..).zip(&spec.levels) {
        let mut waits = level.delay;
        for name in &level.devices {
            let Some(device) = devices.get(name) else {
                return Err(no_device(devices, number, name));
            };
            let targets = &device.spec.targets;
            if let Some(node) = spec.nodes.iter().find(|node| !targets.contains_key(node)) {
                return Err(Refusal::invalid(
                    "DeviceDoesNotTarget",
                    format!("level {number} names {name}, which does not target {node}"),
                )
                .fix(format!(
                    "write a topology of its own for {node}, or add {node} to the targets of fencedevice/{name}"
                )));
            }
            waits += device.spec.delay;
        }
        check_room(number, level.timeout, waits)?;
        let stops = |name: &DeviceName| devices[name].spec.observes.stops_the_machine();
        if !level.devices.iter().any(stops) {
            return Err(Refusal::invalid(
                "IsolatesNobody",
                format!(
                    "level {number} has no device that stops a machine, only such as close ports"
                ),
            )
            .fix("name a device that observes power or poison beside them"));
        }
    }
    Ok(())
}

/// What a topology brings into use has opened no port yet.
fn close_again(state: &mut ClusterState, spec: &FenceTopologySpec) {
    for node in state.nodes.values_mut() {
        if spec.nodes.contains(&node.name) {
            node.unfenced = Incarnation::default();
        }
    }
}

fn check_room(number: usize, timeout: Option<Duration>, waits: Duration) -> Result<(), Refusal> {
    match timeout {
        Some(timeout) if timeout <= waits => Err(Refusal::invalid(
            "BadTimeout",
            format!(
                "the timeout of level {number} ({timeout:?}) is over before its delays ({waits:?}) are"
            ),
        )
        .fix("raise the timeout, lower the delays, or leave the timeout out")),
        Some(_) | None => Ok(()),
    }
}

fn no_device(devices: &BTreeMap<DeviceName, Device>, number: usize, name: &DeviceName) -> Refusal {
    let known: Vec<&str> = devices.keys().take(16).map(DeviceName::as_str).collect();
    Refusal::not_found(
        "NoSuchDevice",
        format!("level {number} names {name}, and no fence device is called so"),
    )
    .fix(if known.is_empty() {
        "apply the FenceDevice first".to_owned()
    } else {
        format!("apply it first, or name one of: {}", known.join(", "))
    })
}

/// Refuses a change of the device `changed` after which a topology that names it could not stand.
pub(super) fn keep_standing(
    state: &ClusterState,
    devices: &BTreeMap<DeviceName, Device>,
    changed: &DeviceName,
) -> Result<(), Refusal> {
    for (name, topology) in &state.topologies {
        let mut named = topology.spec.levels.iter();
        if !named.any(|level| level.devices.contains(changed)) {
            continue;
        }
        if let Err(why) = fault(devices, &topology.spec) {
            return Err(Refusal::dangerous(
                "DeviceInTopology",
                format!(
                    "fencetopology/{name} names fencedevice/{changed} and could not stand: {}",
                    why.message
                ),
            )
            .fix(format!(
                "take {changed} out of fencetopology/{name} first, or delete that topology"
            )));
        }
    }
    Ok(())
}
