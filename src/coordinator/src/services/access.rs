//! Who asks, and may they. Identities come from the verified client certificate alone.

use crate::context::Context;
use haft_api::status::status;
use haft_api::trust::{self, Principal};
use haft_engine::command::NodeRole;
use haft_engine::ids::NodeId;
use tonic::{Code, Request, Status};

fn unauthenticated(message: &str) -> Status {
    status(
        Code::Unauthenticated,
        "NoIdentity",
        message,
        "present a certificate of this cluster: haftctl cluster init or join wrote one",
    )
}

fn certificate<T>(request: &Request<T>) -> Result<Vec<u8>, Status> {
    let certificates = request.peer_certs();
    let first = certificates.as_ref().and_then(|list| list.first());
    first
        .map(|der| der.as_ref().to_vec())
        .ok_or_else(|| unauthenticated("no client certificate was presented"))
}

/// Whoever the certificate names.
pub(super) fn anyone<T>(context: &Context, request: &Request<T>) -> Result<Principal, Status> {
    let der = certificate(request)?;
    trust::principal(&der, &context.cluster_hex)
        .map_err(|error| unauthenticated(&error.to_string()))
}

/// An administrator; its name goes into the record of what it does.
pub(super) fn administrator<T>(context: &Context, request: &Request<T>) -> Result<String, Status> {
    match anyone(context, request)? {
        Principal::User(name) => Ok(name),
        Principal::Node(name) => Err(status(
            Code::PermissionDenied,
            "NodeCannotAdminister",
            format!("node {name} may hold sessions, not administer"),
            "use the administrator's certificate",
        )),
    }
}

/// A registered node, by the key that the log registered for it.
pub(super) fn node<T>(context: &Context, request: &Request<T>) -> Result<NodeId, Status> {
    let der = certificate(request)?;
    let principal = trust::principal(&der, &context.cluster_hex)
        .map_err(|error| unauthenticated(&error.to_string()))?;
    let Principal::Node(name) = principal else {
        return Err(status(
            Code::PermissionDenied,
            "NotANode",
            "only nodes may hold sessions",
            "run haft-agent with the node's own identity",
        ));
    };
    let key = trust::key_sha256(&der).map_err(|error| unauthenticated(&error.to_string()))?;
    let state = context.replica.state();
    match state.node_named(&name) {
        Some(node) if node.key_sha256 == key => Ok(node.id),
        Some(_) => Err(status(
            Code::PermissionDenied,
            "OtherKey",
            format!("node {name} is registered with another key"),
            "a cloned or re-created identity cannot be used: delete the node and join again",
        )),
        None => Err(status(
            Code::Unavailable,
            "NotRegistered",
            format!("node {name} is not registered here yet"),
            "wait until this coordinator has caught up, or join",
        )),
    }
}

/// A registered coordinator.
pub(super) fn coordinator<T>(context: &Context, request: &Request<T>) -> Result<NodeId, Status> {
    let id = node(context, request)?;
    let state = context.replica.state();
    if state
        .nodes
        .get(&id)
        .is_some_and(|node| node.role == NodeRole::Coordinator)
    {
        return Ok(id);
    }
    Err(status(
        Code::PermissionDenied,
        "OnlyCoordinators",
        "only coordinators may ask this",
        "",
    ))
}
