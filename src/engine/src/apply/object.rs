//! Objects: put and delete of nodes' specs, resources and fence devices, with their versions; topologies have a
//! file of their own.
//!
//! Whether a value is acceptable is `admission`'s question; here stand versions, deletion and what an
//! object's absence would break.

use super::{At, Outcome, Refusal, admission, event, forget, obstacle, topology};
use crate::domains::{Shared, all_shared};
use crate::ids::{DeviceName, Generation, Incarnation, NodeId, NodeName, ResourceId, Token};
use crate::spec::{
    FenceDeviceSpec, NodeSpec, ObjectRef, ObjectSpec, Observes, ResourceSpec, Scheduling,
};
use crate::state::{ClusterState, Device, Ownership, Resource, Session};

/// Most resources; 2,000 is the soak's load (hazards section 3).
const RESOURCES_MAX: usize = 4_096;

/// Most fence devices: a few per node of the largest group.
const DEVICES_MAX: usize = 8_192;

/// Creates or replaces an object.
pub(super) fn put(
    state: &mut ClusterState,
    at: At,
    object: &ObjectSpec,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    match object {
        ObjectSpec::Node(name, spec) => put_node(state, at, name, spec, expected),
        ObjectSpec::Resource(id, spec) => put_resource(state, at, id, spec, expected),
        ObjectSpec::Device(name, spec) => put_device(state, at, name, spec, expected),
        ObjectSpec::Topology(name, spec) => topology::put(state, at, name, spec, expected),
    }
}

/// Deletes an object, or begins to.
pub(super) fn delete(
    state: &mut ClusterState,
    at: At,
    object: &ObjectRef,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    match object {
        ObjectRef::Node(name) => delete_node(state, at, name, expected),
        ObjectRef::Resource(id) => delete_resource(state, at, id, expected),
        ObjectRef::Device(name) => delete_device(state, at, name, expected),
        ObjectRef::Topology(name) => topology::delete(state, at, name, expected),
    }
}

/// Compares the version that the client saw with the one in force.
pub(super) fn check_version(
    what: &str,
    present: Option<Generation>,
    expected: Option<Generation>,
) -> Result<(), Refusal> {
    match (expected, present) {
        (None, _) | (Some(Generation(0)), None) => Ok(()),
        (Some(Generation(0)), Some(_)) => {
            Err(Refusal::exists("AlreadyExists", format!("{what} exists")))
        }
        (Some(wanted), Some(present)) if wanted == present => Ok(()),
        (Some(wanted), Some(present)) => Err(Refusal::stale(
            "GenerationChanged",
            format!("{what} stands at generation {present}, not {wanted}"),
        )
        .fix("read it again and repeat the change")),
        (Some(wanted), None) => Err(Refusal::stale(
            "GenerationChanged",
            format!("{what} does not exist, expected generation {wanted}"),
        )),
    }
}

pub(super) fn no_such(what: &str) -> Refusal {
    Refusal::not_found("NotFound", format!("{what} does not exist"))
}

fn put_node(
    state: &mut ClusterState,
    at: At,
    name: &NodeName,
    spec: &NodeSpec,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    let what = format!("node/{name}");
    let Some(node) = state.node_named(name) else {
        return Err(no_such(&what).fix("a node comes into being by joining: haftctl cluster join"));
    };
    let (id, present) = (node.id, node.generation);
    check_version(&what, Some(present), expected)?;
    admission::check_labels(&spec.labels)?;
    admission::check_domains(&spec.domains)?;
    let shared = all_shared(state);
    let Some(node) = state.nodes.get_mut(&id) else {
        return Err(no_such(&what));
    };
    let freed = node.quarantined && spec.scheduling == Scheduling::Open;
    if freed {
        node.quarantined = false;
        node.fenced_at_ms.clear();
    }
    if node.spec == *spec && !freed {
        return Ok(Outcome::Written(present));
    }
    node.spec = spec.clone();
    node.generation = Generation(at.index.0);
    let message = match (freed, spec.scheduling) {
        (true, _) => "its quarantine is lifted; it takes resources again",
        (false, Scheduling::Open) => "it takes resources",
        (false, Scheduling::Cordoned) => "it takes nothing new and keeps what it has",
        (false, Scheduling::Standby) => "it takes nothing, and what it holds moves away",
    };
    event::note(state, at, "NodeChanged", what, message.to_owned());
    warn_of_shared(state, at, &shared);
    Ok(Outcome::Written(Generation(at.index.0)))
}

/// Warns of nodes that came to depend on what their fence devices depend on (hazards R22). No refusal: a
/// cluster may have no other.
pub(super) fn warn_of_shared(state: &mut ClusterState, at: At, before: &[Shared]) {
    for shared in all_shared(state) {
        if !before.contains(&shared) {
            let subject = format!("node/{}", shared.node);
            event::warn(state, at, "FenceDomainShared", subject, shared.to_string());
        }
    }
}

fn put_resource(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    spec: &ResourceSpec,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    let what = id.to_string();
    let present = state.resources.get(id);
    check_version(&what, present.map(|resource| resource.generation), expected)?;
    if let Some(resource) = present {
        if resource.deleting {
            return Err(
                Refusal::stale("BeingDeleted", format!("{what} is being deleted"))
                    .fix(format!("haftctl why {what}")),
            );
        }
        if resource.spec == *spec {
            return Ok(Outcome::Written(resource.generation));
        }
    } else if state.resources.len() >= RESOURCES_MAX {
        return Err(Refusal::dangerous(
            "TooManyResources",
            format!("{RESOURCES_MAX} resources exist"),
        ));
    }
    admission::check_resource(state, id, spec)?;
    let generation = Generation(at.index.0);
    match state.resources.get_mut(id) {
        Some(resource) => {
            resource.spec = spec.clone();
            resource.generation = generation;
            let message = "its spec changed; a grant in force keeps what it was granted with";
            event::note(state, at, "ResourceChanged", id, message.to_owned());
        }
        None => {
            let resource = Resource {
                id: id.clone(),
                spec: spec.clone(),
                generation,
                ownership: Ownership::Unowned,
                last_token: Token::default(),
                evidence: None,
                move_to: None,
                deleting: false,
                trouble: None,
            };
            state.resources.insert(id.clone(), resource);
            event::note(state, at, "ResourceCreated", id, "it is wanted".to_owned());
        }
    }
    Ok(Outcome::Written(generation))
}

fn put_device(
    state: &mut ClusterState,
    at: At,
    name: &DeviceName,
    spec: &FenceDeviceSpec,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    let what = format!("fencedevice/{name}");
    let present = state.devices.get(name);
    check_version(&what, present.map(|device| device.generation), expected)?;
    if let Some(device) = present {
        // A distrusted device that is applied again, as it is, was looked at by somebody.
        if device.spec == *spec && device.distrusted.is_none() {
            return Ok(Outcome::Written(device.generation));
        }
    } else if state.devices.len() >= DEVICES_MAX {
        return Err(Refusal::dangerous(
            "TooManyDevices",
            format!("{DEVICES_MAX} fence devices exist"),
        ));
    }
    admission::check_device(state, name, spec)?;
    let mut devices = state.devices.clone();
    let generation = Generation(at.index.0);
    let device = Device {
        spec: spec.clone(),
        generation,
        probed: None,
        distrusted: None,
    };
    devices.insert(name.clone(), device);
    topology::keep_standing(state, &devices, name)?;
    admission::keep_covered(state, &devices)?;
    let shared = all_shared(state);
    state.devices = devices;
    close_again(state, spec);
    let message = format!("agent {}, level {}", spec.agent, spec.level);
    event::note(state, at, "FenceDeviceChanged", what, message);
    warn_of_shared(state, at, &shared);
    Ok(Outcome::Written(generation))
}

/// A new or changed device of storage has opened nothing yet: its nodes are granted nothing more before it has.
/// What they hold they keep.
fn close_again(state: &mut ClusterState, spec: &FenceDeviceSpec) {
    if spec.observes != Observes::Storage {
        return;
    }
    for node in state.nodes.values_mut() {
        if spec.targets.contains_key(&node.name) {
            node.unfenced = Incarnation::default();
        }
    }
}

fn delete_device(
    state: &mut ClusterState,
    at: At,
    name: &DeviceName,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    let what = format!("fencedevice/{name}");
    let Some(device) = state.devices.get(name) else {
        return Err(no_such(&what));
    };
    check_version(&what, Some(device.generation), expected)?;
    let mut devices = state.devices.clone();
    devices.remove(name);
    topology::keep_standing(state, &devices, name)?;
    admission::keep_covered(state, &devices)?;
    let shared = all_shared(state);
    state.devices = devices;
    event::note(
        state,
        at,
        "FenceDeviceDeleted",
        what,
        "it is gone".to_owned(),
    );
    warn_of_shared(state, at, &shared);
    Ok(Outcome::Done)
}

fn delete_resource(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    let what = id.to_string();
    let Some(resource) = state.resources.get_mut(id) else {
        return Err(no_such(&what));
    };
    check_version(&what, Some(resource.generation), expected)?;
    if resource.deleting {
        return Ok(Outcome::Done);
    }
    match resource.ownership {
        Ownership::Unowned => {
            state.resources.remove(id);
            obstacle::forget(state);
            event::note(state, at, "ResourceDeleted", id, "it is gone".to_owned());
        }
        Ownership::Granted(_)
        | Ownership::Active(_)
        | Ownership::Releasing(..)
        | Ownership::Orphaned(_) => {
            resource.deleting = true;
            resource.move_to = None;
            let message = "it goes once there is evidence that nobody holds it".to_owned();
            event::note(state, at, "ResourceDeleting", id, message);
        }
    }
    Ok(Outcome::Done)
}

fn delete_node(
    state: &mut ClusterState,
    at: At,
    name: &NodeName,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    let what = format!("node/{name}");
    let Some(node) = state.node_named(name) else {
        return Err(no_such(&what));
    };
    check_version(&what, Some(node.generation), expected)?;
    let (id, session) = (node.id, node.session);
    check_unused(state, id, &what, session)?;
    state.nodes.remove(&id);
    forget::forget(state, at, name);
    obstacle::forget(state);
    for resource in state.resources.values_mut() {
        if resource.move_to == Some(id) {
            resource.move_to = None;
        }
    }
    event::note(state, at, "NodeDeleted", what, "it is gone".to_owned());
    Ok(Outcome::Done)
}

fn check_unused(
    state: &ClusterState,
    id: NodeId,
    what: &str,
    session: Session,
) -> Result<(), Refusal> {
    if state.membership.contains(id) {
        return Err(
            Refusal::dangerous("NodeVotes", format!("{what} is a voter"))
                .fix(
                    "a coordinator that votes cannot be taken out yet; to keep resources off it, apply its \
                     Node with scheduling: standby",
                ),
        );
    }
    if let Some(held) = super::ownership::held_by(state, id).first() {
        return Err(Refusal::dangerous(
            "NodeHolds",
            format!("{what} holds {held} and nothing proves that it has stopped"),
        )
        .fix(format!("haftctl why {held}")));
    }
    match session {
        Session::Never | Session::Ended { .. } => {}
        Session::Open { .. } | Session::Closing { .. } => {
            return Err(
                Refusal::dangerous("NodeLive", format!("{what} has a live session"))
                    .fix("stop haft-agent on it first"),
            );
        }
    }
    let open = state
        .orders
        .values()
        .find(|order| order.node == id && order.phase.is_open());
    match open {
        None => Ok(()),
        Some(order) => Err(Refusal::stale(
            "FenceOrderOpen",
            format!("fence order {} against {what} is open", order.id),
        )
        .fix(format!("haftctl why order/{}", order.id))),
    }
}
