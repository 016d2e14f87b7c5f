//! Specs, registrations, keys, ages and causes, both ways.

use super::field::{
    Decoded, array, guard_from, guard_into, isolation_from, isolation_into, missing, nanos,
    required, resource_from,
};
use crate::pb::log as pb;
use haft_engine::command::{FenceCause, HeartbeatKey, NodeRole, Registration, StatedAge};
use haft_engine::ids::{DeviceName, EntryId, NodeId, NodeName, TopologyName};
use haft_engine::spec::{
    AfterFence, Domains, Failback, FenceDeviceSpec, FenceLevel, FenceTopologySpec, HostArgument,
    NodeSpec, ObjectRef, ObjectSpec, Observes, ResourceSpec, Scheduling, Unfenced, VirtualIpSpec,
};
use std::net::IpAddr;
use std::time::Duration;

pub(super) fn resource_into(spec: &ResourceSpec) -> pb::ResourceSpec {
    let ResourceSpec::VirtualIp(vip) = spec;
    let address = match vip.address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let vip = pb::VirtualIpSpec {
        address,
        interface: vip.interface.clone(),
        isolation: isolation_into(vip.isolation),
        unfenced_allowed: vip.unfenced == Unfenced::Allowed,
        preference: vip.preference.iter().map(|name| name.0.clone()).collect(),
        failback_auto: vip.failback == Failback::Auto,
    };
    pb::ResourceSpec {
        spec: Some(pb::resource_spec::Spec::VirtualIp(vip)),
    }
}

pub(super) fn resource_spec_from(form: Option<pb::ResourceSpec>) -> Decoded<ResourceSpec> {
    let pb::resource_spec::Spec::VirtualIp(vip) =
        required(required(form, "resource spec")?.spec, "resource spec")?;
    let address = match vip.address.len() {
        4 => IpAddr::from(array::<4>(&vip.address, "address")?),
        16 => IpAddr::from(array::<16>(&vip.address, "address")?),
        _ => return Err(missing("address")),
    };
    Ok(ResourceSpec::VirtualIp(VirtualIpSpec {
        address,
        interface: vip.interface,
        isolation: isolation_from(vip.isolation)?,
        unfenced: if vip.unfenced_allowed {
            Unfenced::Allowed
        } else {
            Unfenced::Refused
        },
        preference: vip.preference.into_iter().map(NodeName).collect(),
        failback: if vip.failback_auto {
            Failback::Auto
        } else {
            Failback::Never
        },
    }))
}

fn domains_into(domains: &Domains) -> Option<pb::Domains> {
    (*domains != Domains::default()).then(|| pb::Domains {
        power: domains.power.clone().unwrap_or_default(),
        network: domains.network.clone().unwrap_or_default(),
    })
}

fn domains_from(form: Option<pb::Domains>) -> Domains {
    let form = form.unwrap_or_default();
    let declared = |name: String| (!name.is_empty()).then_some(name);
    Domains {
        power: declared(form.power),
        network: declared(form.network),
    }
}

pub(super) fn node_into(spec: &NodeSpec) -> pb::NodeSpec {
    let scheduling = match spec.scheduling {
        Scheduling::Open => 1,
        Scheduling::Cordoned => 2,
        Scheduling::Standby => 3,
    };
    pb::NodeSpec {
        scheduling,
        labels: spec.labels.clone(),
        power_on_after_fence: spec.after_fence == AfterFence::PowerOn,
        domains: domains_into(&spec.domains),
    }
}

pub(super) fn node_from(form: pb::NodeSpec) -> Decoded<NodeSpec> {
    let scheduling = match form.scheduling {
        1 => Scheduling::Open,
        2 => Scheduling::Cordoned,
        3 => Scheduling::Standby,
        _ => return Err(missing("scheduling")),
    };
    Ok(NodeSpec {
        scheduling,
        labels: form.labels,
        after_fence: if form.power_on_after_fence {
            AfterFence::PowerOn
        } else {
            AfterFence::StayOff
        },
        domains: domains_from(form.domains),
    })
}

pub(super) fn device_into(spec: &FenceDeviceSpec) -> pb::FenceDeviceSpec {
    let observes = match spec.observes {
        Observes::Power => 1,
        Observes::Poison => 2,
        Observes::Storage => 3,
    };
    pb::FenceDeviceSpec {
        agent: spec.agent.clone(),
        observes,
        targets: spec
            .targets
            .iter()
            .map(|(node, plug)| (node.0.clone(), plug.clone()))
            .collect(),
        parameters: spec.parameters.clone(),
        secret_files: spec.secret_files.clone(),
        deadline_ns: nanos(spec.deadline),
        level: u32::from(spec.level),
        delay_ns: nanos(spec.delay),
        domains: domains_into(&spec.domains),
        host_argument: match &spec.host_argument {
            HostArgument::Named(name) => name.clone(),
            HostArgument::Unsaid | HostArgument::Without => String::new(),
        },
        without_host_argument: spec.host_argument == HostArgument::Without,
    }
}

pub(super) fn device_from(form: pb::FenceDeviceSpec) -> Decoded<FenceDeviceSpec> {
    let observes = match form.observes {
        1 => Observes::Power,
        2 => Observes::Poison,
        3 => Observes::Storage,
        _ => return Err(missing("observes")),
    };
    Ok(FenceDeviceSpec {
        agent: form.agent,
        observes,
        targets: form
            .targets
            .into_iter()
            .map(|(node, plug)| (NodeName(node), plug))
            .collect(),
        parameters: form.parameters,
        secret_files: form.secret_files,
        deadline: Duration::from_nanos(form.deadline_ns),
        level: u8::try_from(form.level).map_err(|_| missing("level"))?,
        delay: Duration::from_nanos(form.delay_ns),
        domains: domains_from(form.domains),
        host_argument: match (form.without_host_argument, form.host_argument.is_empty()) {
            (true, _) => HostArgument::Without,
            (false, true) => HostArgument::Unsaid,
            (false, false) => HostArgument::Named(form.host_argument),
        },
    })
}

pub(super) fn topology_into(spec: &FenceTopologySpec) -> pb::FenceTopologySpec {
    let levels = spec.levels.iter().map(|level| pb::FenceLevel {
        devices: level.devices.iter().map(|name| name.0.clone()).collect(),
        timeout_ns: level.timeout.map(nanos),
        delay_ns: nanos(level.delay),
    });
    pb::FenceTopologySpec {
        nodes: spec.nodes.iter().map(|name| name.0.clone()).collect(),
        levels: levels.collect(),
    }
}

pub(super) fn topology_from(form: pb::FenceTopologySpec) -> FenceTopologySpec {
    let levels = form.levels.into_iter().map(|level| FenceLevel {
        devices: level.devices.into_iter().map(DeviceName).collect(),
        timeout: level.timeout_ns.map(Duration::from_nanos),
        delay: Duration::from_nanos(level.delay_ns),
    });
    FenceTopologySpec {
        nodes: form.nodes.into_iter().map(NodeName).collect(),
        levels: levels.collect(),
    }
}

pub(super) fn object_into(object: &ObjectSpec) -> pb::ObjectSpec {
    use pb::object_spec::Spec;
    let (name, spec) = match object {
        ObjectSpec::Node(name, spec) => (name.0.clone(), Spec::Node(node_into(spec))),
        ObjectSpec::Resource(id, spec) => (id.to_string(), Spec::Resource(resource_into(spec))),
        ObjectSpec::Device(name, spec) => (name.0.clone(), Spec::Device(device_into(spec))),
        ObjectSpec::Topology(name, spec) => (name.0.clone(), Spec::Topology(topology_into(spec))),
    };
    pb::ObjectSpec {
        name,
        spec: Some(spec),
    }
}

pub(super) fn object_from(form: Option<pb::ObjectSpec>) -> Decoded<ObjectSpec> {
    use pb::object_spec::Spec;
    let form = required(form, "object")?;
    Ok(match required(form.spec, "object")? {
        Spec::Node(spec) => ObjectSpec::Node(NodeName(form.name), node_from(spec)?),
        Spec::Resource(spec) => {
            ObjectSpec::Resource(resource_from(&form.name)?, resource_spec_from(Some(spec))?)
        }
        Spec::Device(spec) => ObjectSpec::Device(DeviceName(form.name), device_from(spec)?),
        Spec::Topology(spec) => ObjectSpec::Topology(TopologyName(form.name), topology_from(spec)),
    })
}

pub(super) fn reference_into(object: &ObjectRef) -> pb::ObjectRef {
    use pb::object_ref::Object;
    let object = match object {
        ObjectRef::Node(name) => Object::Node(name.0.clone()),
        ObjectRef::Resource(id) => Object::Resource(id.to_string()),
        ObjectRef::Device(name) => Object::Device(name.0.clone()),
        ObjectRef::Topology(name) => Object::Topology(name.0.clone()),
    };
    pb::ObjectRef {
        object: Some(object),
    }
}

pub(super) fn reference_from(form: Option<pb::ObjectRef>) -> Decoded<ObjectRef> {
    use pb::object_ref::Object;
    let form = required(form, "object")?;
    Ok(match required(form.object, "object")? {
        Object::Node(name) => ObjectRef::Node(NodeName(name)),
        Object::Resource(text) => ObjectRef::Resource(resource_from(&text)?),
        Object::Device(name) => ObjectRef::Device(DeviceName(name)),
        Object::Topology(name) => ObjectRef::Topology(TopologyName(name)),
    })
}

pub(super) fn registration_into(node: &Registration) -> pb::Registration {
    pb::Registration {
        name: node.name.0.clone(),
        agent_only: node.role == NodeRole::AgentOnly,
        host: node.host.clone(),
        key_sha256: node.key_sha256.to_vec(),
    }
}

pub(super) fn registration_from(form: Option<pb::Registration>) -> Decoded<Registration> {
    let form = required(form, "registration")?;
    Ok(Registration {
        name: NodeName(form.name),
        role: if form.agent_only {
            NodeRole::AgentOnly
        } else {
            NodeRole::Coordinator
        },
        host: form.host,
        key_sha256: array(&form.key_sha256, "key_sha256")?,
    })
}

pub(super) fn key_into(key: &HeartbeatKey) -> pb::HeartbeatKey {
    pb::HeartbeatKey {
        generation: u32::from(key.generation),
        secret: key.secret.to_vec(),
    }
}

pub(super) fn key_from(form: pb::HeartbeatKey) -> Decoded<HeartbeatKey> {
    let generation = u8::try_from(form.generation).map_err(|_| missing("key generation"))?;
    Ok(HeartbeatKey {
        generation,
        secret: array(&form.secret, "heartbeat key")?,
    })
}

pub(super) fn age_into(age: &StatedAge) -> pb::StatedAge {
    pb::StatedAge {
        by: age.by.0,
        membership: age.membership.index.0,
        membership_term: age.membership.term.0,
        sequence: age.sequence,
        age_ns: nanos(age.age),
        heard_ns: nanos(age.heard),
        guards: guard_into(age.guards),
    }
}

pub(super) fn age_from(form: pb::StatedAge) -> Decoded<StatedAge> {
    Ok(StatedAge {
        by: NodeId(form.by),
        membership: EntryId::new(form.membership_term, form.membership),
        sequence: form.sequence,
        age: Duration::from_nanos(form.age_ns),
        heard: Duration::from_nanos(form.heard_ns),
        guards: guard_from(form.guards)?,
    })
}

pub(super) fn ages_from(forms: Vec<pb::StatedAge>) -> Decoded<Vec<StatedAge>> {
    forms.into_iter().map(age_from).collect()
}

pub(super) fn fence_cause_into(cause: &FenceCause) -> pb::FenceCause {
    match cause {
        FenceCause::Orphans => pb::FenceCause::default(),
        FenceCause::StopFailed { resource } => pb::FenceCause {
            stop_failed: resource.to_string(),
            ..pb::FenceCause::default()
        },
        FenceCause::Administrator { by, reason } => pb::FenceCause {
            administrator: true,
            by: by.clone(),
            reason: reason.clone(),
            ..pb::FenceCause::default()
        },
        FenceCause::AfterFence => pb::FenceCause {
            after_fence: true,
            ..pb::FenceCause::default()
        },
        FenceCause::Witnessed => pb::FenceCause {
            witnessed: true,
            ..pb::FenceCause::default()
        },
        FenceCause::Unfence => pb::FenceCause {
            unfence: true,
            ..pb::FenceCause::default()
        },
    }
}

pub(super) fn fence_cause_from(form: Option<pb::FenceCause>) -> Decoded<FenceCause> {
    let form = required(form, "cause")?;
    Ok(if form.administrator {
        FenceCause::Administrator {
            by: form.by,
            reason: form.reason,
        }
    } else if form.after_fence {
        FenceCause::AfterFence
    } else if form.witnessed {
        FenceCause::Witnessed
    } else if form.unfence {
        FenceCause::Unfence
    } else if form.stop_failed.is_empty() {
        FenceCause::Orphans
    } else {
        FenceCause::StopFailed {
            resource: resource_from(&form.stop_failed)?,
        }
    })
}
