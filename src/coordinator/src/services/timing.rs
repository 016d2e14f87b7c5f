//! TimingService: the timing in force, who differs from it, and its change.
//!
//! Whether a set can be kept is `apply`'s question; how sessions follow is the engine's.

use super::access::{administrator, anyone};
use super::read::read;
use super::write::{effect, field_status, write};
use crate::context::Context;
use haft_api::convert::{expected_from, request_id_from, timing_from, versioned_into};
use haft_api::pb::v1;
use haft_engine::apply::Outcome;
use haft_engine::command::Command;
use haft_engine::state::{ClusterState, Node};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// The service.
pub(super) struct Timings(pub(super) Arc<Context>);

#[tonic::async_trait]
impl v1::timing_service_server::TimingService for Timings {
    async fn get_timing(
        &self,
        request: Request<v1::GetTimingRequest>,
    ) -> Result<Response<v1::GetTimingResponse>, Status> {
        anyone(&self.0, &request)?;
        let options = request.into_inner().options;
        let (mut answer, stamp) = read(&self.0, options, |state| answer(&self.0, state)).await?;
        answer.stamp = Some(stamp);
        Ok(Response::new(answer))
    }

    async fn set_timing(
        &self,
        request: Request<v1::SetTimingRequest>,
    ) -> Result<Response<v1::SetTimingResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let timing = request
            .timing
            .as_ref()
            .ok_or_else(|| Status::invalid_argument("timing is missing"))?;
        let command = Command::SetTiming {
            timing: timing_from(timing),
            expected: expected_from(&options.expected_resource_version).map_err(field_status)?,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        let Outcome::Written(generation) = write(&self.0, command, effect).await? else {
            return Err(Status::internal(
                "a change of the timing had another outcome",
            ));
        };
        Ok(Response::new(v1::SetTimingResponse {
            generation: generation.0,
        }))
    }
}

fn answer(context: &Context, state: &ClusterState) -> v1::GetTimingResponse {
    v1::GetTimingResponse {
        timing: state.timing.as_ref().map(versioned_into),
        sessions: older(state)
            .map(|node| v1::SessionTiming {
                node: node.name.0.clone(),
                generation: node.terms.map_or(0, |terms| terms.generation.0),
                ttl_ns: nanos(node.judged().ttl),
            })
            .collect(),
        differing_files: differing(context, state),
        stamp: None,
    }
}

/// Nodes whose live session counts by another version than the one in force, as far as the log holds.
fn older(state: &ClusterState) -> impl Iterator<Item = &Node> {
    let in_force = state.timing.map(|now| now.generation);
    state.nodes.values().filter(move |node| {
        state.live_incarnation(node.id).is_some()
            && node.terms.map(|terms| terms.generation) != in_force
    })
}

/// Names of nodes whose file says something else than the log.
fn differing(context: &Context, state: &ClusterState) -> Vec<String> {
    let Some(in_force) = state.timing else {
        return Vec::new();
    };
    let mut nodes = context.files.differing(&in_force.timing);
    if context.timing != in_force.timing && !nodes.contains(&context.own) {
        nodes.push(context.own);
    }
    nodes
        .into_iter()
        .filter_map(|id| Some(state.nodes.get(&id)?.name.0.clone()))
        .collect()
}

/// What `cluster status` warns of.
pub(super) fn warnings(context: &Context, state: &ClusterState) -> Vec<String> {
    let mut lines = Vec::new();
    let names: Vec<&str> = older(state).map(|node| node.name.0.as_str()).collect();
    if !names.is_empty() {
        lines.push(format!(
            "sessions that count by an older timing: {} ({})",
            names.len(),
            names.join(" ")
        ));
    }
    let files = differing(context, state);
    if !files.is_empty() {
        lines.push(format!(
            "`timing` in the file of {} differs from the cluster's, which is used; see haftctl cluster timing",
            files.join(" ")
        ));
    }
    lines
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
