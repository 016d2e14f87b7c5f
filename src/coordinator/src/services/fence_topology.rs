//! FenceTopologyService.
//!
//! Whether the devices it names exist and target its nodes is decided in `apply`; no device is touched here.

use super::access::{administrator, anyone};
use super::read::{absent, read};
use super::write::{Effect, effect, field_status, write};
use crate::context::Context;
use haft_api::convert::{expected_from, request_id_from, topology_from, topology_into};
use haft_api::pb::v1;
use haft_engine::command::Command;
use haft_engine::ids::TopologyName;
use haft_engine::spec::{ObjectRef, ObjectSpec};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
pub(super) struct FenceTopologies(pub(super) Arc<Context>);

#[tonic::async_trait]
impl v1::fence_topology_service_server::FenceTopologyService for FenceTopologies {
    async fn get_fence_topology(
        &self,
        request: Request<v1::GetFenceTopologyRequest>,
    ) -> Result<Response<v1::GetFenceTopologyResponse>, Status> {
        anyone(&self.0, &request)?;
        let request = request.into_inner();
        let name = TopologyName(request.name.clone());
        let (found, stamp) = read(&self.0, request.options, |state| {
            state
                .topologies
                .get(&name)
                .map(|topology| topology_into(state, &name, topology))
        })
        .await?;
        let found = found.ok_or_else(|| absent("fence topology", &request.name))?;
        Ok(Response::new(v1::GetFenceTopologyResponse {
            fence_topology: Some(found),
            stamp: Some(stamp),
        }))
    }

    async fn list_fence_topologies(
        &self,
        request: Request<v1::ListFenceTopologiesRequest>,
    ) -> Result<Response<v1::ListFenceTopologiesResponse>, Status> {
        anyone(&self.0, &request)?;
        let (fence_topologies, stamp) = read(&self.0, request.into_inner().options, |state| {
            state
                .topologies
                .iter()
                .map(|(name, topology)| topology_into(state, name, topology))
                .collect()
        })
        .await?;
        Ok(Response::new(v1::ListFenceTopologiesResponse {
            fence_topologies,
            stamp: Some(stamp),
        }))
    }

    async fn apply_fence_topology(
        &self,
        request: Request<v1::ApplyFenceTopologyRequest>,
    ) -> Result<Response<v1::ApplyFenceTopologyResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let object = request.fence_topology.unwrap_or_default();
        let echo = object.clone();
        let (name, spec) = topology_from(object).map_err(field_status)?;
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let command = Command::Put {
            object: ObjectSpec::Topology(name.clone(), spec),
            expected: expected_from(&options.expected_resource_version).map_err(field_status)?,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        let fence_topology = match effect {
            Effect::DryRun => echo,
            Effect::Commit => {
                let state = self.0.replica.state();
                let topology = state.topologies.get(&name);
                let topology = topology.ok_or_else(|| absent("fence topology", &name.0))?;
                topology_into(&state, &name, topology)
            }
        };
        Ok(Response::new(v1::ApplyFenceTopologyResponse {
            fence_topology: Some(fence_topology),
        }))
    }

    async fn delete_fence_topology(
        &self,
        request: Request<v1::DeleteFenceTopologyRequest>,
    ) -> Result<Response<v1::DeleteFenceTopologyResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let command = Command::Delete {
            object: ObjectRef::Topology(TopologyName(request.name)),
            expected: expected_from(&options.expected_resource_version).map_err(field_status)?,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        Ok(Response::new(v1::DeleteFenceTopologyResponse {}))
    }
}
