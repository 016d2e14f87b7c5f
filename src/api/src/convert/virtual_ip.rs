//! VirtualIP: spec both ways, and the whole object from the state.

use super::{FieldError, evidence_into, token_text, wrong};
use crate::pb::v1;
use haft_engine::command::Difficulty;
use haft_engine::ids::{NodeId, NodeName, ResourceId};
use haft_engine::machine::Obstacle;
use haft_engine::spec::{Failback, Isolation, ResourceSpec, Unfenced, VirtualIpSpec};
use haft_engine::state::{ClusterState, Ownership, Resource};
use std::collections::BTreeMap;

/// The object as users see it.
pub fn vip_into(state: &ClusterState, resource: &Resource) -> v1::VirtualIp {
    let ResourceSpec::VirtualIp(spec) = &resource.spec;
    v1::VirtualIp {
        metadata: Some(v1::ObjectMeta {
            name: resource.id.name.clone(),
            resource_version: resource.generation.to_string(),
            labels: BTreeMap::new(),
        }),
        spec: Some(vip_spec_into(spec)),
        status: Some(status(state, resource)),
    }
}

fn status(state: &ClusterState, resource: &Resource) -> v1::VirtualIpStatus {
    let phase = match &resource.ownership {
        Ownership::Unowned => "Unowned",
        Ownership::Granted(_) => "Granted",
        Ownership::Active(held) if has_no_carrier(state, resource, held.node) => "Unreachable",
        Ownership::Active(_) => "Active",
        Ownership::Releasing(..) => "Releasing",
        Ownership::Orphaned(_) => "Orphaned",
    };
    let holding = resource.ownership.holding();
    let name = |id: NodeId| {
        state
            .nodes
            .get(&id)
            .map_or_else(String::new, |n| n.name.0.clone())
    };
    v1::VirtualIpStatus {
        state: phase.to_owned(),
        owner: holding.map_or_else(String::new, |holding| name(holding.node)),
        token: token_text(holding.map_or(resource.last_token, |holding| holding.token)),
        incarnation: holding.map_or(0, |holding| holding.incarnation.0),
        granted_isolation: holding.map_or(0, |holding| isolation_into(holding.isolation).into()),
        since_unix_ms: holding.map_or(0, |holding| holding.since_unix_ms),
        evidence: resource
            .evidence
            .as_ref()
            .map(|evidence| evidence_into(state, evidence)),
        moving_to: resource.move_to.map_or_else(String::new, name),
        deleting: resource.deleting,
        message: message(state, resource),
    }
}

/// Whether what the owner acts on cannot be heard of: it gives up by itself after a while, and until then waits for
/// the link to come back.
fn has_no_carrier(state: &ClusterState, resource: &Resource, owner: NodeId) -> bool {
    let obstacles = state.obstacles.get(&resource.id);
    match obstacles.and_then(|obstacles| obstacles.get(&owner)) {
        Some(Obstacle::NoCarrier | Obstacle::NoInterface) => true,
        Some(Obstacle::Foreign(_) | Obstacle::Refused(_) | Obstacle::Ungated(_)) | None => false,
    }
}

/// The first thing that someone should know; `why` has the rest.
fn message(state: &ClusterState, resource: &Resource) -> String {
    let name = |id: &NodeId| {
        let node = state.nodes.get(id);
        node.map_or_else(|| id.to_string(), |node| node.name.to_string())
    };
    let obstacles = || state.obstacles.get(&resource.id).into_iter().flatten();
    let owner = resource.ownership.holding().map(|holding| holding.node);
    let foreign = obstacles().find(|(_, obstacle)| matches!(obstacle, Obstacle::Foreign(_)));
    let owners = obstacles().find(|(node, _)| Some(**node) == owner);
    let unowned = obstacles().find(|_| owner.is_none());
    if let Some((node, obstacle)) = foreign.or(owners) {
        return format!("{}: {}", name(node), obstacle.words(&resource.spec));
    }
    if let Some(rival) = state.rivals.get(&resource.id) {
        return format!("claimed by another machine: {}", rival.claim);
    }
    let acts = matches!(resource.ownership, Ownership::Active(_));
    if let Some(trouble) = &resource.trouble {
        match trouble.difficulty {
            Difficulty::Start if acts => {}
            Difficulty::Start => {
                return format!("{} cannot act: {}", name(&trouble.node), trouble.why);
            }
            Difficulty::Stop => {
                return format!("{} cannot stop: {}", name(&trouble.node), trouble.why);
            }
        }
    }
    match unowned {
        Some((node, obstacle)) => format!("{}: {}", name(node), obstacle.words(&resource.spec)),
        None => String::new(),
    }
}

/// The spec alone.
pub fn vip_spec_into(spec: &VirtualIpSpec) -> v1::VirtualIpSpec {
    let failback = match spec.failback {
        Failback::Never => v1::Failback::Never,
        Failback::Auto => v1::Failback::Auto,
    };
    v1::VirtualIpSpec {
        address: spec.address.to_string(),
        interface: spec.interface.clone(),
        isolation: isolation_into(spec.isolation).into(),
        preference: spec.preference.iter().map(|name| name.0.clone()).collect(),
        failback: failback.into(),
        allow_unfenced: spec.unfenced == Unfenced::Allowed,
    }
}

fn isolation_into(isolation: Isolation) -> v1::Isolation {
    match isolation {
        Isolation::Lease => v1::Isolation::Lease,
        Isolation::Watchdog => v1::Isolation::Watchdog,
        Isolation::Stonith => v1::Isolation::Stonith,
    }
}

/// The object that a user applies.
pub fn vip_from(object: v1::VirtualIp) -> Result<(ResourceId, ResourceSpec), FieldError> {
    let name = object.metadata.map(|meta| meta.name).unwrap_or_default();
    if name.is_empty() {
        return Err(wrong("metadata.name", "missing", "name the address"));
    }
    let spec = object
        .spec
        .ok_or_else(|| wrong("spec", "missing", "write a spec"))?;
    Ok((
        ResourceId::vip(&name),
        ResourceSpec::VirtualIp(vip_spec_from(spec)?),
    ))
}

/// The spec alone. An unspecified isolation is `lease`, the default of a bare address (R4).
pub fn vip_spec_from(spec: v1::VirtualIpSpec) -> Result<VirtualIpSpec, FieldError> {
    let isolation = match spec.isolation() {
        v1::Isolation::Unspecified | v1::Isolation::Lease => Isolation::Lease,
        v1::Isolation::Watchdog => Isolation::Watchdog,
        v1::Isolation::Stonith => Isolation::Stonith,
    };
    let failback = match spec.failback() {
        v1::Failback::Unspecified | v1::Failback::Never => Failback::Never,
        v1::Failback::Auto => Failback::Auto,
    };
    let address = spec.address.parse().map_err(|_| {
        wrong(
            "spec.address",
            format!("{:?} is no IPv4 or IPv6 address", spec.address),
            "write the address alone, without a prefix length",
        )
    })?;
    Ok(VirtualIpSpec {
        address,
        interface: spec.interface,
        isolation,
        unfenced: if spec.allow_unfenced {
            Unfenced::Allowed
        } else {
            Unfenced::Refused
        },
        preference: spec.preference.into_iter().map(NodeName).collect(),
        failback,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use haft_engine::command::Attestation;
    use haft_engine::ids::{Generation, Incarnation, Token};
    use haft_engine::state::{Holding, Progress};

    fn web(owner: NodeId) -> Resource {
        let spec = ResourceSpec::VirtualIp(VirtualIpSpec {
            address: [192, 0, 2, 7].into(),
            interface: "eth0".to_owned(),
            isolation: Isolation::Lease,
            unfenced: Unfenced::Refused,
            preference: Vec::new(),
            failback: Failback::Never,
        });
        Resource {
            id: ResourceId::vip("web"),
            spec: spec.clone(),
            generation: Generation(1),
            ownership: Ownership::Active(Holding {
                node: owner,
                incarnation: Incarnation(20),
                token: Token::default(),
                isolation: Isolation::Lease,
                spec,
                guard: Attestation::Intact,
                address_life: std::time::Duration::from_secs(2),
                since_unix_ms: 0,
                watchdog: None,
                progress: Progress::Begun,
            }),
            last_token: Token::default(),
            evidence: None,
            move_to: None,
            deleting: false,
            trouble: None,
        }
    }

    #[test]
    fn active_is_not_said_of_an_owner_without_carrier() {
        let owner = NodeId(1);
        let resource = web(owner);
        let said = |node: NodeId, obstacle: Option<Obstacle>| {
            let obstacles = obstacle.map(|obstacle| (node, obstacle)).into_iter();
            let state = ClusterState {
                obstacles: [(resource.id.clone(), obstacles.collect())].into(),
                ..ClusterState::default()
            };
            status(&state, &resource).state
        };
        assert_eq!(said(owner, None), "Active");
        assert_eq!(said(owner, Some(Obstacle::NoCarrier)), "Unreachable");
        assert_eq!(said(owner, Some(Obstacle::NoInterface)), "Unreachable");
        let shaped = Obstacle::Ungated("it shapes".to_owned());
        assert_eq!(said(owner, Some(shaped)), "Active");
        assert_eq!(said(NodeId(2), Some(Obstacle::NoCarrier)), "Active");
    }
}
