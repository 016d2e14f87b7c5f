//! Nodes as users see them.

use super::{FieldError, domains_from, domains_into, wrong};
use crate::pb::v1;
use haft_engine::command::NodeRole;
use haft_engine::ids::{NodeId, NodeName};
use haft_engine::levels::awaits_unfencing;
use haft_engine::spec::{AfterFence, NodeSpec, Scheduling};
use haft_engine::state::{ClusterState, Ending, Node, Ownership, Session};

/// What the answering coordinator knows beside the replicated state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeView {
    /// The Raft leader, if known.
    pub leader: Option<NodeId>,
    /// Whether this coordinator has heard no beat of the node for two intervals.
    pub silence: Silence,
}

/// Heard lately or not, as far as the answering coordinator knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Silence {
    /// Heard, or not known.
    #[default]
    Heard,
    /// Silent a little.
    Suspect,
}

/// The object as users see it.
pub fn node_into(state: &ClusterState, node: &Node, view: NodeView) -> v1::Node {
    let scheduling = match node.spec.scheduling {
        Scheduling::Open => v1::Scheduling::Open,
        Scheduling::Cordoned => v1::Scheduling::Cordoned,
        Scheduling::Standby => v1::Scheduling::Standby,
    };
    let order = state
        .orders
        .values()
        .find(|order| order.node == node.id && order.phase.is_open());
    let holds = state.resources.values().filter(|resource| {
        resource.ownership != Ownership::Unowned
            && resource
                .ownership
                .holding()
                .is_some_and(|holding| holding.node == node.id)
    });
    v1::Node {
        metadata: Some(v1::ObjectMeta {
            name: node.name.0.clone(),
            resource_version: node.generation.to_string(),
            labels: node.spec.labels.clone(),
        }),
        spec: Some(v1::NodeSpec {
            scheduling: scheduling.into(),
            domains: domains_into(&node.spec.domains),
            after_fence: after_fence_into(node.spec.after_fence).into(),
        }),
        status: Some(v1::NodeStatus {
            id: node.id.0,
            state: session_word(node, order.is_some(), view).to_owned(),
            incarnation: node.newest().0,
            boot: match node.session {
                Session::Never => String::new(),
                Session::Open { .. } | Session::Closing { .. } | Session::Ended { .. } => {
                    node.boot.to_string()
                }
            },
            gate: match node.session {
                Session::Never => String::new(),
                Session::Open { .. } | Session::Closing { .. } | Session::Ended { .. } => {
                    node.place.gate.word().to_owned()
                }
            },
            ttl_ns: match node.session {
                Session::Never => 0,
                Session::Open { .. } | Session::Closing { .. } | Session::Ended { .. } => {
                    u64::try_from(node.judged().ttl.as_nanos()).unwrap_or(u64::MAX)
                }
            },
            coordinator: node.role == NodeRole::Coordinator,
            voter: state.membership.contains(node.id),
            leader: view.leader == Some(node.id),
            host: node.host.clone(),
            quarantined: node.quarantined,
            holds: holds.map(|resource| resource.id.to_string()).collect(),
            fence_order: order.map_or(0, |order| order.id.0),
            message: if node.quarantined {
                "quarantined after repeated fences".into()
            } else if awaits_unfencing(state, node) {
                "waits for the ports of its storage to be opened".into()
            } else {
                String::new()
            },
        }),
    }
}

/// What follows a confirmed off, as the API says it.
pub fn after_fence_into(after_fence: AfterFence) -> v1::AfterFence {
    match after_fence {
        AfterFence::StayOff => v1::AfterFence::StayOff,
        AfterFence::PowerOn => v1::AfterFence::PowerOn,
    }
}

/// The node state of design section 5.
fn session_word(node: &Node, ordered: bool, view: NodeView) -> &'static str {
    match node.session {
        Session::Never => "Joining",
        Session::Open { .. } => match view.silence {
            Silence::Heard => "Online",
            Silence::Suspect => "Suspect",
        },
        Session::Closing { .. } => "Closing",
        Session::Ended {
            ending: Ending::Fenced,
            ..
        } => "Fenced",
        Session::Ended {
            ending: Ending::Expired,
            ..
        } if ordered => "Fencing",
        Session::Ended {
            ending: Ending::Expired,
            ..
        } => "Lost",
    }
}

/// The administrator's part of a node.
pub fn node_from(object: v1::Node) -> Result<(NodeName, NodeSpec), FieldError> {
    let meta = object.metadata.unwrap_or_default();
    if meta.name.is_empty() {
        return Err(wrong("metadata.name", "missing", "name the node"));
    }
    let spec = object.spec.unwrap_or_default();
    let after_fence = match spec.after_fence() {
        v1::AfterFence::Unspecified | v1::AfterFence::StayOff => AfterFence::StayOff,
        v1::AfterFence::PowerOn => AfterFence::PowerOn,
    };
    let scheduling = match spec.scheduling() {
        v1::Scheduling::Unspecified | v1::Scheduling::Open => Scheduling::Open,
        v1::Scheduling::Cordoned => Scheduling::Cordoned,
        v1::Scheduling::Standby => Scheduling::Standby,
    };
    Ok((
        NodeName(meta.name),
        NodeSpec {
            scheduling,
            labels: meta.labels,
            after_fence,
            domains: domains_from(spec.domains),
        },
    ))
}
