//! FenceDeviceService.

use super::access::{administrator, anyone};
use super::read::{absent, read};
use super::write::{Effect, effect, field_status, write};
use crate::context::Context;
use haft_api::convert::{device_from, device_into, expected_from, request_id_from};
use haft_api::pb::v1;
use haft_api::status::status;
use haft_engine::command::Command;
use haft_engine::ids::DeviceName;
use haft_engine::spec::{FenceDeviceSpec, HostArgument, ObjectRef, ObjectSpec, Observes};
use haft_fence_protocol::Action;
use haft_fence_protocol::caller::{
    self, AgentPath, Deadline, DeviceLock, Metadata, OffProof, OnIsUnfencing, Parameter, RunsOn,
    read_metadata,
};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};

/// Time for an agent to print its metadata. Those of the field start a Python interpreter, a tenth of a second.
const METADATA_PATIENCE: Duration = Duration::from_secs(5);

/// What the agent says of itself, without touching the device. Refuses what is no fence agent or cannot switch off.
async fn described(agent: &AgentPath) -> Result<Metadata, Status> {
    let refused = |why: String| {
        status(
            Code::InvalidArgument,
            "AgentNotUsable",
            format!("{}: {why}", agent.path().display()),
            "name a fence agent whose metadata offers the action off (run it with -o metadata)",
        )
    };
    let deadline = Deadline::within(METADATA_PATIENCE);
    let mut turn = DeviceLock::new()
        .turn(deadline)
        .await
        .map_err(|error| refused(error.to_string()))?;
    let metadata = read_metadata(&mut turn, agent, deadline)
        .await
        .map_err(|error| refused(error.to_string()))?;
    if metadata.offers(Action::Off) {
        Ok(metadata)
    } else {
        Err(refused("it offers no action off".to_owned()))
    }
}

/// Refuses an agent that cuts a machine off its storage or network as a reader of power: the machine runs on, and
/// `off` is the state of a port. Such agents say that `on` is unfencing. Those whose actions have to run on the
/// target itself cannot be run at all: haft runs agents on the leader.
fn observes_what_it_switches(
    observes: Observes,
    agent: &AgentPath,
    metadata: &Metadata,
) -> Result<(), Status> {
    let name = agent.name();
    if metadata.runs_on == RunsOn::Target {
        return Err(status(
            Code::InvalidArgument,
            "RunsOnTarget",
            format!(
                "{name} has to be run on the node that it is about, and haft runs agents on the leader"
            ),
            "isolate the nodes of `targets` by another device",
        ));
    }
    match (observes, metadata.on_is_unfencing) {
        (Observes::Power | Observes::Poison, OnIsUnfencing::Yes) => Err(status(
            Code::InvalidArgument,
            "ObservesNoPower",
            format!(
                "{name} cuts a node off its storage or network (`on` is unfencing) and reads no power state"
            ),
            "write `observes: storage`, and a device of power or of poison at the same level",
        )),
        (Observes::Power | Observes::Poison, OnIsUnfencing::No) | (Observes::Storage, _) => Ok(()),
    }
}

/// The host argument that the field's cluster managers would use, where the administrator has not said one.
fn host_argument(said: HostArgument, metadata: &Metadata) -> HostArgument {
    match (said, metadata.host()) {
        (HostArgument::Unsaid, caller::HostArgument::Named(name)) => HostArgument::Named(name),
        (HostArgument::Unsaid, caller::HostArgument::None) => HostArgument::Without,
        (said @ (HostArgument::Named(_) | HostArgument::Without), _) => said,
    }
}

/// Refuses an agent of a poison pill as a reader of power: its `status` tells what the slot holds.
fn observes_what_it_says(spec: &FenceDeviceSpec, agent: &AgentPath) -> Result<(), Status> {
    match (spec.observes, OffProof::for_agent(agent)) {
        (Observes::Power | Observes::Storage, OffProof::AgentWaits) => Err(status(
            Code::InvalidArgument,
            "ObservesNoPower",
            format!(
                "{} writes a poison pill and reads no power state",
                spec.agent
            ),
            "write `observes: poison`, and a deadline longer than the disk's msgwait",
        )),
        (
            Observes::Power | Observes::Storage,
            OffProof::AgentReadsTwice | OffProof::StatusTwice { .. },
        )
        | (Observes::Poison, _) => Ok(()),
    }
}

fn checked_parameters(spec: &FenceDeviceSpec) -> Result<(), Status> {
    for (key, value) in &spec.parameters {
        Parameter::plain(key, value).map_err(|error| {
            status(
                Code::InvalidArgument,
                "ParameterRefused",
                error.to_string(),
                "correct the parameter, or take it out",
            )
        })?;
    }
    Ok(())
}

/// The service.
pub(super) struct FenceDevices(pub(super) Arc<Context>);

#[tonic::async_trait]
impl v1::fence_device_service_server::FenceDeviceService for FenceDevices {
    async fn get_fence_device(
        &self,
        request: Request<v1::GetFenceDeviceRequest>,
    ) -> Result<Response<v1::GetFenceDeviceResponse>, Status> {
        anyone(&self.0, &request)?;
        let request = request.into_inner();
        let name = DeviceName(request.name.clone());
        let (found, stamp) = read(&self.0, request.options, |state| {
            state
                .devices
                .get(&name)
                .map(|device| device_into(state, &name, device))
        })
        .await?;
        let fence_device = Some(found.ok_or_else(|| absent("fence device", &request.name))?);
        Ok(Response::new(v1::GetFenceDeviceResponse {
            fence_device,
            stamp: Some(stamp),
        }))
    }

    async fn list_fence_devices(
        &self,
        request: Request<v1::ListFenceDevicesRequest>,
    ) -> Result<Response<v1::ListFenceDevicesResponse>, Status> {
        anyone(&self.0, &request)?;
        let (fence_devices, stamp) = read(&self.0, request.into_inner().options, |state| {
            state
                .devices
                .iter()
                .map(|(name, device)| device_into(state, name, device))
                .collect()
        })
        .await?;
        Ok(Response::new(v1::ListFenceDevicesResponse {
            fence_devices,
            stamp: Some(stamp),
        }))
    }

    async fn apply_fence_device(
        &self,
        request: Request<v1::ApplyFenceDeviceRequest>,
    ) -> Result<Response<v1::ApplyFenceDeviceResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let object = request.fence_device.unwrap_or_default();
        let echo = object.clone();
        let (name, mut spec) = device_from(object).map_err(field_status)?;
        // An agent that this coordinator cannot run would be found out in the worst moment.
        let agent = self.0.agents.find(&spec.agent).map_err(|error| {
            status(
                Code::FailedPrecondition,
                "AgentNotRunnable",
                error.to_string(),
                "install the agent on every coordinator, owned by root and writable by nobody else",
            )
        })?;
        observes_what_it_says(&spec, &agent)?;
        let metadata = described(&agent).await?;
        observes_what_it_switches(spec.observes, &agent, &metadata)?;
        spec.host_argument = host_argument(spec.host_argument, &metadata);
        checked_parameters(&spec)?;
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let command = Command::Put {
            object: ObjectSpec::Device(name.clone(), spec),
            expected: expected_from(&options.expected_resource_version).map_err(field_status)?,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        let fence_device = match effect {
            Effect::DryRun => echo,
            Effect::Commit => {
                let state = self.0.replica.state();
                let device = state.devices.get(&name);
                device_into(
                    &state,
                    &name,
                    device.ok_or_else(|| absent("fence device", &name.0))?,
                )
            }
        };
        Ok(Response::new(v1::ApplyFenceDeviceResponse {
            fence_device: Some(fence_device),
        }))
    }

    async fn delete_fence_device(
        &self,
        request: Request<v1::DeleteFenceDeviceRequest>,
    ) -> Result<Response<v1::DeleteFenceDeviceResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let command = Command::Delete {
            object: ObjectRef::Device(DeviceName(request.name)),
            expected: expected_from(&options.expected_resource_version).map_err(field_status)?,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        Ok(Response::new(v1::DeleteFenceDeviceResponse {}))
    }
}
