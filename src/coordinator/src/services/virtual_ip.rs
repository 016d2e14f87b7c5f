//! VirtualIpService.

use super::access::{administrator, anyone};
use super::read::{absent, read};
use super::write::{Effect, effect, field_status, write};
use crate::context::Context;
use haft_api::convert::{expected_from, request_id_from, vip_from, vip_into};
use haft_api::pb::v1;
use haft_api::status::{not_leader, status};
use haft_engine::clock::Timing;
use haft_engine::command::Command;
use haft_engine::ids::{NodeName, ResourceId};
use haft_engine::spec::{Isolation, ObjectRef, ObjectSpec, ResourceSpec};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};

/// The service.
pub(super) struct VirtualIps(pub(super) Arc<Context>);

impl VirtualIps {
    fn stored(&self, id: &ResourceId) -> Result<v1::VirtualIp, Status> {
        let state = self.0.replica.state();
        let resource = state
            .resources
            .get(id)
            .ok_or_else(|| absent("virtual ip", &id.name))?;
        Ok(vip_into(&state, resource))
    }
}

/// Isolation `watchdog` needs a ttl into which a watchdog fits: by the log's timing, whatever this file says.
fn require_room(timing: &Timing, spec: &ResourceSpec) -> Result<(), Status> {
    if spec.isolation() != Isolation::Watchdog || !timing.watchdog.is_zero() {
        return Ok(());
    }
    let shortest = Duration::from_secs(1);
    Err(status(
        Code::FailedPrecondition,
        "NoRoomForWatchdog",
        format!(
            "isolation watchdog does not fit the ttl: two beats, the stop, two watchdog periods and a second are {} ms of {} ms",
            timing.watchdog_sum(shortest).as_millis(),
            timing.ttl.as_millis()
        ),
        "haftctl cluster timing set relaxed, or a budget from 7s; or choose lease or stonith",
    ))
}

/// An address that some machine has for itself is nobody's to give away. Checked where the reports are, on the
/// leader, and again by each grant. An address that the resource has already may be edited otherwise.
fn require_free(context: &Context, id: &ResourceId, spec: &ResourceSpec) -> Result<(), Status> {
    let ResourceSpec::VirtualIp(vip) = spec;
    let address = vip.address;
    let state = context.replica.state();
    let kept = state.resources.get(id).is_some_and(|resource| {
        let ResourceSpec::VirtualIp(present) = &resource.spec;
        present.address == address
    });
    let found = context
        .sights
        .foreign(&state, &context.streams.attached(), address);
    let Some((node, found)) = found.filter(|_| !kept) else {
        return Ok(());
    };
    let (name, link, prefix) = (&node.name, &found.link, found.prefix);
    Err(status(
        Code::FailedPrecondition,
        "AddressIsNode",
        format!("{name} has {address}/{prefix} on its {link}"),
        &format!(
            "choose an address that no machine owns for itself, or on {name}: ip addr del {address}/{prefix} dev {link}"
        ),
    ))
}

#[tonic::async_trait]
impl v1::virtual_ip_service_server::VirtualIpService for VirtualIps {
    async fn get_virtual_ip(
        &self,
        request: Request<v1::GetVirtualIpRequest>,
    ) -> Result<Response<v1::GetVirtualIpResponse>, Status> {
        anyone(&self.0, &request)?;
        let request = request.into_inner();
        let id = ResourceId::vip(&request.name);
        let (found, stamp) = read(&self.0, request.options, |state| {
            state
                .resources
                .get(&id)
                .map(|resource| vip_into(state, resource))
        })
        .await?;
        let virtual_ip = Some(found.ok_or_else(|| absent("virtual ip", &request.name))?);
        Ok(Response::new(v1::GetVirtualIpResponse {
            virtual_ip,
            stamp: Some(stamp),
        }))
    }

    async fn list_virtual_ips(
        &self,
        request: Request<v1::ListVirtualIpsRequest>,
    ) -> Result<Response<v1::ListVirtualIpsResponse>, Status> {
        anyone(&self.0, &request)?;
        let (virtual_ips, stamp) = read(&self.0, request.into_inner().options, |state| {
            state
                .resources
                .values()
                .map(|resource| vip_into(state, resource))
                .collect()
        })
        .await?;
        Ok(Response::new(v1::ListVirtualIpsResponse {
            virtual_ips,
            stamp: Some(stamp),
        }))
    }

    async fn apply_virtual_ip(
        &self,
        request: Request<v1::ApplyVirtualIpRequest>,
    ) -> Result<Response<v1::ApplyVirtualIpResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let object = request.virtual_ip.unwrap_or_default();
        let echo = object.clone();
        let (id, spec) = vip_from(object).map_err(field_status)?;
        let in_force = self.0.replica.state().timing;
        let timing = in_force.map_or(self.0.timing, |now| now.timing);
        require_room(&timing, &spec)?;
        // What agents report is known where their streams end: another coordinator has old news at most, and would
        // say of a dry run that it is well.
        if self.0.consensus.leads_now().is_none() {
            return Err(not_leader(self.0.leader_api().as_deref()));
        }
        require_free(&self.0, &id, &spec)?;
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let command = Command::Put {
            object: ObjectSpec::Resource(id.clone(), spec),
            expected: expected_from(&options.expected_resource_version).map_err(field_status)?,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        let virtual_ip = match effect {
            Effect::Commit => self.stored(&id)?,
            Effect::DryRun => echo,
        };
        Ok(Response::new(v1::ApplyVirtualIpResponse {
            virtual_ip: Some(virtual_ip),
        }))
    }

    async fn delete_virtual_ip(
        &self,
        request: Request<v1::DeleteVirtualIpRequest>,
    ) -> Result<Response<v1::DeleteVirtualIpResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let command = Command::Delete {
            object: ObjectRef::Resource(ResourceId::vip(&request.name)),
            expected: expected_from(&options.expected_resource_version).map_err(field_status)?,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        Ok(Response::new(v1::DeleteVirtualIpResponse {}))
    }

    async fn move_virtual_ip(
        &self,
        request: Request<v1::MoveVirtualIpRequest>,
    ) -> Result<Response<v1::MoveVirtualIpResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let effect = effect(request.options.as_ref());
        let options = request.options.unwrap_or_default();
        let id = ResourceId::vip(&request.name);
        let command = Command::Move {
            resource: id.clone(),
            to: NodeName(request.node),
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, effect).await?;
        Ok(Response::new(v1::MoveVirtualIpResponse {
            virtual_ip: Some(self.stored(&id)?),
        }))
    }
}
