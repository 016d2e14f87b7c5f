//! Fence devices both ways.

use super::{FieldError, domains_from, domains_into, wrong};
use crate::pb::v1;
use haft_engine::domains::all_shared;
use haft_engine::ids::{DeviceName, NodeName};
use haft_engine::levels::{topology_of, unused_for};
use haft_engine::spec::{FenceDeviceSpec, HostArgument, Observes};
use haft_engine::state::{ClusterState, Device};
use std::collections::BTreeMap;
use std::time::Duration;

/// How "the agent takes no host argument" is written.
const WITHOUT: &str = "none";

/// The object as users see it.
pub fn device_into(state: &ClusterState, name: &DeviceName, device: &Device) -> v1::FenceDevice {
    v1::FenceDevice {
        metadata: Some(v1::ObjectMeta {
            name: name.0.clone(),
            resource_version: device.generation.to_string(),
            labels: BTreeMap::new(),
        }),
        spec: Some(device_spec_into(&device.spec)),
        status: Some(status_into(state, name, device)),
    }
}

fn status_into(state: &ClusterState, name: &DeviceName, device: &Device) -> v1::FenceDeviceStatus {
    let detail = device.failing().unwrap_or_default().to_owned();
    let health = match &device.probed {
        None => "Unprobed",
        Some(_) if device.failing().is_some() => "Failing",
        Some(_) => "Healthy",
    };
    let mut attention = Vec::new();
    if let Some(why) = device.failing() {
        attention.push(format!("fails its probes: {why}"));
    }
    let shared = all_shared(state)
        .into_iter()
        .filter(|shared| shared.devices.contains(name));
    attention.extend(shared.map(|shared| shared.to_string()));
    attention.extend(device.distrusted.map(|order| {
        format!(
            "distrusted since order {order}: it said off of a machine that answered; find out why, then apply it again"
        )
    }));
    attention.extend(unused(state, name, device));
    let naming = state.topologies.iter().filter(|(_, topology)| {
        let mut levels = topology.spec.levels.iter();
        levels.any(|level| level.devices.contains(name))
    });
    let since = device.probed.as_ref().map(|probed| probed.since_unix_ms);
    v1::FenceDeviceStatus {
        message: attention.join("; "),
        health: health.to_owned(),
        detail,
        health_since_unix_ms: since.unwrap_or_default(),
        topologies: naming.map(|(topology, _)| topology.0.clone()).collect(),
    }
}

/// Targets that have a topology without this device.
fn unused(state: &ClusterState, name: &DeviceName, device: &Device) -> Vec<String> {
    let overruled = |node: &NodeName| {
        let (topology, _) = topology_of(&state.topologies, node)?;
        unused_for(state, node)
            .contains(name)
            .then(|| format!("not used for {node}: fencetopology/{topology} does not name it"))
    };
    device.spec.targets.keys().filter_map(overruled).collect()
}

/// The spec alone.
pub fn device_spec_into(spec: &FenceDeviceSpec) -> v1::FenceDeviceSpec {
    let observes = match spec.observes {
        Observes::Power => v1::Observes::Power,
        Observes::Poison => v1::Observes::Poison,
        Observes::Storage => v1::Observes::Storage,
    };
    v1::FenceDeviceSpec {
        agent: spec.agent.clone(),
        observes: observes.into(),
        targets: spec
            .targets
            .iter()
            .map(|(node, plug)| (node.0.clone(), plug.clone()))
            .collect(),
        parameters: spec.parameters.clone(),
        secret_files: spec.secret_files.clone(),
        deadline_ms: u64::try_from(spec.deadline.as_millis()).unwrap_or(u64::MAX),
        level: u32::from(spec.level),
        delay_ms: u64::try_from(spec.delay.as_millis()).unwrap_or(u64::MAX),
        domains: domains_into(&spec.domains),
        host_argument: match &spec.host_argument {
            HostArgument::Unsaid => String::new(),
            HostArgument::Named(name) => name.clone(),
            HostArgument::Without => WITHOUT.to_owned(),
        },
    }
}

/// The object that a user applies. Deadline 0 is 20 s, level 0 is 1.
pub fn device_from(object: v1::FenceDevice) -> Result<(DeviceName, FenceDeviceSpec), FieldError> {
    let name = object.metadata.map(|meta| meta.name).unwrap_or_default();
    if name.is_empty() {
        return Err(wrong("metadata.name", "missing", "name the device"));
    }
    let spec = object
        .spec
        .ok_or_else(|| wrong("spec", "missing", "write a spec"))?;
    let level = u8::try_from(spec.level)
        .map_err(|_| wrong("spec.level", "above 255", "number levels from 1"))?;
    let deadline_ms = if spec.deadline_ms == 0 {
        20_000
    } else {
        spec.deadline_ms
    };
    let observes = match spec.observes() {
        v1::Observes::Unspecified | v1::Observes::Power => Observes::Power,
        v1::Observes::Poison => Observes::Poison,
        v1::Observes::Storage => Observes::Storage,
    };
    let spec = FenceDeviceSpec {
        agent: spec.agent,
        observes,
        targets: spec
            .targets
            .into_iter()
            .map(|(node, plug)| (NodeName(node), plug))
            .collect(),
        parameters: spec.parameters,
        secret_files: spec.secret_files,
        deadline: Duration::from_millis(deadline_ms),
        level: level.max(1),
        delay: Duration::from_millis(spec.delay_ms),
        domains: domains_from(spec.domains),
        host_argument: match spec.host_argument.as_str() {
            "" => HostArgument::Unsaid,
            WITHOUT => HostArgument::Without,
            name => HostArgument::Named(name.to_owned()),
        },
    };
    Ok((DeviceName(name), spec))
}
