//! Fence topologies both ways.

use super::{FieldError, wrong};
use crate::pb::v1;
use haft_engine::ids::{DeviceName, NodeName, TopologyName};
use haft_engine::spec::{FenceLevel, FenceTopologySpec};
use haft_engine::state::{ClusterState, Topology};
use std::collections::BTreeMap;
use std::time::Duration;

/// The object as users see it.
pub fn topology_into(
    state: &ClusterState,
    name: &TopologyName,
    topology: &Topology,
) -> v1::FenceTopology {
    v1::FenceTopology {
        metadata: Some(v1::ObjectMeta {
            name: name.0.clone(),
            resource_version: topology.generation.to_string(),
            labels: BTreeMap::new(),
        }),
        spec: Some(topology_spec_into(&topology.spec)),
        status: Some(v1::FenceTopologyStatus {
            message: attention(state, &topology.spec),
            since_unix_ms: topology.since_unix_ms,
        }),
    }
}

/// Devices that fail their probes, by level.
fn attention(state: &ClusterState, spec: &FenceTopologySpec) -> String {
    let mut parts = Vec::new();
    for (number, level) in (1..).zip(&spec.levels) {
        for name in &level.devices {
            let device = state.devices.get(name);
            if let Some(why) = device.and_then(|device| device.failing()) {
                parts.push(format!("level {number}: {name} fails its probes: {why}"));
            }
        }
    }
    parts.join("; ")
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The spec alone.
pub fn topology_spec_into(spec: &FenceTopologySpec) -> v1::FenceTopologySpec {
    v1::FenceTopologySpec {
        nodes: spec.nodes.iter().map(|node| node.0.clone()).collect(),
        levels: spec
            .levels
            .iter()
            .map(|level| v1::FenceLevel {
                devices: level.devices.iter().map(|name| name.0.clone()).collect(),
                timeout_ms: level.timeout.map(millis),
                delay_ms: millis(level.delay),
            })
            .collect(),
    }
}

/// The object that a user applies.
pub fn topology_from(
    object: v1::FenceTopology,
) -> Result<(TopologyName, FenceTopologySpec), FieldError> {
    let name = object.metadata.map(|meta| meta.name).unwrap_or_default();
    if name.is_empty() {
        return Err(wrong("metadata.name", "missing", "name the topology"));
    }
    let spec = object
        .spec
        .ok_or_else(|| wrong("spec", "missing", "write a spec"))?;
    let count = spec.nodes.len();
    let spec = FenceTopologySpec {
        nodes: spec.nodes.into_iter().map(NodeName).collect(),
        levels: spec
            .levels
            .into_iter()
            .map(|level| FenceLevel {
                devices: level.devices.into_iter().map(DeviceName).collect(),
                timeout: level.timeout_ms.map(Duration::from_millis),
                delay: Duration::from_millis(level.delay_ms),
            })
            .collect(),
    };
    if spec.nodes.len() != count {
        return Err(wrong(
            "spec.nodes",
            "a node is named twice",
            "name each node once",
        ));
    }
    Ok((TopologyName(name), spec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use haft_engine::ids::Generation;

    fn object() -> v1::FenceTopology {
        let level = |devices: &[&str], timeout_ms, delay_ms| v1::FenceLevel {
            devices: devices.iter().map(|name| (*name).to_owned()).collect(),
            timeout_ms,
            delay_ms,
        };
        v1::FenceTopology {
            metadata: Some(v1::ObjectMeta {
                name: "racks".to_owned(),
                ..v1::ObjectMeta::default()
            }),
            spec: Some(v1::FenceTopologySpec {
                nodes: vec!["n1".to_owned(), "n2".to_owned()],
                levels: vec![
                    level(&["bmc"], None, 1_500),
                    level(&["pdu-b", "pdu-a"], Some(15_000), 0),
                ],
            }),
            status: None,
        }
    }

    #[test]
    fn what_a_user_applies_is_what_a_user_reads() {
        let (name, spec) = topology_from(object()).expect("a good topology");
        let topology = Topology {
            spec,
            generation: Generation(7),
            since_unix_ms: 12,
        };
        let shown = topology_into(&ClusterState::default(), &name, &topology);
        assert_eq!(shown.spec, object().spec);
        assert_eq!(shown.metadata.expect("metadata").resource_version, "7");
    }

    #[test]
    fn a_node_named_twice_and_a_topology_without_a_name_are_refused() {
        let mut twice = object();
        let spec = twice.spec.as_mut().expect("a spec");
        spec.nodes.push("n1".to_owned());
        assert_eq!(topology_from(twice).unwrap_err().field, "spec.nodes");
        let mut nameless = object();
        nameless.metadata = None;
        assert_eq!(topology_from(nameless).unwrap_err().field, "metadata.name");
        let without = v1::FenceTopology {
            spec: None,
            ..object()
        };
        assert_eq!(topology_from(without).unwrap_err().field, "spec");
    }
}
