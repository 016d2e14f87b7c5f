//! NodeService: nodes, fencing by hand, and a human's word that a machine is off.

use super::access::{administrator, anyone};
use super::read::{absent, read};
use super::write::{Effect, effect, field_status, write};
use crate::clock::boot_now;
use crate::context::Context;
use crate::witness::listen_for_human;
use haft_api::convert::{
    NodeView, Silence, expected_from, node_from, node_into, order_into, request_id_from,
};
use haft_api::pb::v1;
use haft_api::status::status;
use haft_engine::apply::Outcome;
use haft_engine::command::{Command, FenceAction, FenceCause};
use haft_engine::ids::{BootId, Incarnation, NodeId, NodeName};
use haft_engine::spec::{ObjectRef, ObjectSpec};
use haft_engine::state::{ClusterState, Node, Session};
use std::sync::Arc;
use tonic::{Code, Request, Response, Status};

/// The service.
pub(super) struct Nodes(pub(super) Arc<Context>);

impl Nodes {
    fn view(&self, node: NodeId) -> NodeView {
        let silent = self
            .0
            .responder
            .with(|responder| responder.silence(boot_now(), node));
        let judged = self.0.replica.state().nodes.get(&node).map(Node::judged);
        let silence = if judged.is_some_and(|judged| silent > judged.beat * 2) {
            Silence::Suspect
        } else {
            Silence::Heard
        };
        NodeView {
            leader: self.0.leader(),
            silence,
        }
    }

    fn target(&self, name: &str) -> Result<(NodeId, Incarnation, Session), Status> {
        let state = self.0.replica.state();
        let node = state
            .node_named(&NodeName::from(name))
            .ok_or_else(|| absent("node", name))?;
        Ok((node.id, node.newest(), node.session))
    }

    fn coordinators(&self, names: &[String]) -> Result<Vec<NodeId>, Status> {
        let state = self.0.replica.state();
        let named = names.iter().map(|name| {
            let node = state.node_named(&NodeName::from(name.as_str()));
            node.map(|node| node.id).ok_or_else(|| absent("node", name))
        });
        named.collect()
    }
}

#[tonic::async_trait]
impl v1::node_service_server::NodeService for Nodes {
    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::GetNodeResponse>, Status> {
        anyone(&self.0, &request)?;
        let request = request.into_inner();
        let name = NodeName(request.name.clone());
        let (found, stamp) = read(&self.0, request.options, |state| {
            let node = state.node_named(&name)?;
            let orders = state.orders.values().filter(|order| order.node == node.id);
            let orders: Vec<_> = orders.map(|order| order_into(state, order)).collect();
            Some((node_into(state, node, self.view(node.id)), orders))
        })
        .await?;
        let (node, orders) = found.ok_or_else(|| absent("node", &request.name))?;
        Ok(Response::new(v1::GetNodeResponse {
            node: Some(node),
            stamp: Some(stamp),
            orders,
        }))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        anyone(&self.0, &request)?;
        let (nodes, stamp) = read(
            &self.0,
            request.into_inner().options,
            |state: &ClusterState| {
                state
                    .nodes
                    .values()
                    .map(|node| node_into(state, node, self.view(node.id)))
                    .collect()
            },
        )
        .await?;
        Ok(Response::new(v1::ListNodesResponse {
            nodes,
            stamp: Some(stamp),
        }))
    }

    async fn apply_node(
        &self,
        request: Request<v1::ApplyNodeRequest>,
    ) -> Result<Response<v1::ApplyNodeResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let object = request.node.unwrap_or_default();
        let echo = object.clone();
        let (name, spec) = node_from(object).map_err(field_status)?;
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let command = Command::Put {
            object: ObjectSpec::Node(name.clone(), spec),
            expected: expected_from(&options.expected_resource_version).map_err(field_status)?,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        let node = match effect {
            Effect::DryRun => echo,
            Effect::Commit => {
                let state = self.0.replica.state();
                let node = state
                    .node_named(&name)
                    .ok_or_else(|| absent("node", &name.0))?;
                node_into(&state, node, self.view(node.id))
            }
        };
        Ok(Response::new(v1::ApplyNodeResponse { node: Some(node) }))
    }

    async fn delete_node(
        &self,
        request: Request<v1::DeleteNodeRequest>,
    ) -> Result<Response<v1::DeleteNodeResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let command = Command::Delete {
            object: ObjectRef::Node(NodeName(request.name)),
            expected: expected_from(&options.expected_resource_version).map_err(field_status)?,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        Ok(Response::new(v1::DeleteNodeResponse {}))
    }

    async fn fence_node(
        &self,
        request: Request<v1::FenceNodeRequest>,
    ) -> Result<Response<v1::FenceNodeResponse>, Status> {
        let by = administrator(&self.0, &request)?;
        let request = request.into_inner();
        let effect = effect(request.options.as_ref());
        let options = request.options.clone().unwrap_or_default();
        let (node, incarnation, session) = self.target(&request.name)?;
        let action = match request.action() {
            v1::FenceAction::Off | v1::FenceAction::Unspecified => FenceAction::Off,
            v1::FenceAction::On => FenceAction::On,
        };
        let live = matches!(session, Session::Open { .. } | Session::Closing { .. });
        if live && action == FenceAction::Off && !request.force {
            return Err(status(
                Code::FailedPrecondition,
                "NodeLive",
                format!("node {} has a live session", request.name),
                "move its resources away first, or repeat with --force and a --reason",
            ));
        }
        let command = Command::FenceIntent {
            node,
            incarnation,
            action,
            cause: FenceCause::Administrator {
                by,
                reason: request.reason,
            },
            request: request_id_from(&options.request_id).map_err(field_status)?,
            first: None,
        };
        let Outcome::Ordered(id) = write(&self.0, command, effect).await? else {
            return Err(Status::internal("a fence intent had another outcome"));
        };
        let state = self.0.replica.state();
        let order = state.orders.get(&id).map(|order| order_into(&state, order));
        Ok(Response::new(v1::FenceNodeResponse { order }))
    }

    async fn confirm_node_off(
        &self,
        request: Request<v1::ConfirmNodeOffRequest>,
    ) -> Result<Response<v1::ConfirmNodeOffResponse>, Status> {
        let by = administrator(&self.0, &request)?;
        let request = request.into_inner();
        if request.typed_name != request.name {
            return Err(status(
                Code::InvalidArgument,
                "NameNotTyped",
                "the typed name differs from the node's",
                "type the node's name exactly: resources will start elsewhere on your word",
            ));
        }
        let effect = effect(request.options.as_ref());
        let options = request.options.clone().unwrap_or_default();
        let (node, _, _) = self.target(&request.name)?;
        let (incarnation, boot) = seen(&request)?;
        let overruled = self.coordinators(&request.overrule)?;
        // After their word, and before it is taken: whatever of the machine lives is asked itself.
        let witnesses = listen_for_human(&self.0, node, incarnation, boot)
            .await
            .ok_or_else(|| Status::unavailable("no challenge can be drawn"))?;
        let command = Command::ConfirmOff {
            node,
            incarnation,
            boot: Some(boot),
            by,
            reason: request.reason,
            witnesses,
            overruled,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        let state = self.0.replica.state();
        let node = state
            .nodes
            .get(&node)
            .map(|node| node_into(&state, node, NodeView::default()));
        Ok(Response::new(v1::ConfirmNodeOffResponse { node }))
    }
}

/// The life that a human vouches for, as they saw it: never filled in here, where a newer one may stand by now.
fn seen(request: &v1::ConfirmNodeOffRequest) -> Result<(Incarnation, BootId), Status> {
    match request.boot.parse() {
        Ok(boot) if request.incarnation != 0 => Ok((Incarnation(request.incarnation), boot)),
        Ok(_) | Err(_) => Err(status(
            Code::InvalidArgument,
            "IncarnationNotNamed",
            "a human's word names the incarnation and the boot that they saw",
            &format!(
                "haftctl describe node/{name} shows both: haftctl confirm-off {name} --incarnation N --boot ID --reason '...'",
                name = request.name
            ),
        )),
    }
}
