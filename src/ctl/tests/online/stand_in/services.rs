//! The API's services on a stand-in: by mood first, then from the script.

use super::{Identified, StandIn, vip};
use haft_api::pb::v1;
use haft_api::pb::v1::cluster_service_server::ClusterService;
use haft_api::pb::v1::event_service_server::EventService;
use haft_api::pb::v1::fence_device_service_server::FenceDeviceService;
use haft_api::pb::v1::fence_topology_service_server::FenceTopologyService;
use haft_api::pb::v1::node_service_server::NodeService;
use haft_api::pb::v1::virtual_ip_service_server::VirtualIpService;
use haft_api::status::{self, OUTCOME_UNKNOWN};
use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair};
use std::pin::Pin;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

fn who<T>(request: &Request<T>) -> Identified {
    match request.peer_certs() {
        Some(certificates) if !certificates.is_empty() => Identified::Yes,
        Some(_) | None => Identified::No,
    }
}

fn is_local(options: Option<&v1::ReadOptions>) -> bool {
    options.is_some_and(|options| options.consistency() == v1::Consistency::Local)
}

/// Names that stand for an answer.
fn named_answer(name: &str) -> Option<Status> {
    let (code, reason) = match name {
        "missing" => (Code::NotFound, "NotFound"),
        "denied" => (Code::PermissionDenied, "NotAllowed"),
        "invalid" => (Code::InvalidArgument, "BadAddress"),
        "stale" => (Code::Aborted, "Stale"),
        "taken" => (Code::AlreadyExists, "AddressInUse"),
        "unsafe" => (Code::FailedPrecondition, "NodeLive"),
        "internal" => (Code::Internal, "Bug"),
        "unknown" => (Code::Unavailable, OUTCOME_UNKNOWN),
        _ => return None,
    };
    Some(status::status(
        code,
        reason,
        format!("{name} is {name}"),
        "type this instead",
    ))
}

fn answer_named(name: &str) -> Result<(), Status> {
    named_answer(name).map_or(Ok(()), Err)
}

// Written out as async_trait would: it does not look into macros.
macro_rules! not_scripted {
    ($($name:ident($request:ty) -> $response:ty),* $(,)?) => {
        $(
            fn $name<'a, 'async_trait>(
                &'a self,
                _: Request<$request>,
            ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'async_trait>>
            where
                'a: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async { Err(Status::unimplemented("not scripted")) })
            }
        )*
    };
}

#[tonic::async_trait]
impl ClusterService for StandIn {
    async fn get_cluster_status(
        &self,
        request: Request<v1::GetClusterStatusRequest>,
    ) -> Result<Response<v1::GetClusterStatusResponse>, Status> {
        let local = is_local(request.get_ref().options.as_ref());
        self.by_mood(who(&request), local).await?;
        Ok(Response::new(v1::GetClusterStatusResponse {
            cluster_name: "demo".to_owned(),
            leader: if local {
                String::new()
            } else {
                "n1".to_owned()
            },
            quorum: !local,
            voters: vec!["n1".to_owned()],
            warnings: vec!["vip/web has no fence device".to_owned()],
            answered_by: "n1".to_owned(),
            stamp: Some(v1::ReadStamp {
                applied_index: 9,
                age_ms: if local { 4_200 } else { 0 },
                linearizable: !local,
            }),
            ..Default::default()
        }))
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        use sha2::Digest;
        self.by_mood(who(&request), false).await?;
        let ca = pem::parse(&self.lab.ca_pem).unwrap();
        Ok(Response::new(v1::CreateJoinTokenResponse {
            secret: vec![7; 32],
            expires_unix_ms: 1_763_730_000_000,
            cluster_id: self.lab.cluster.to_vec(),
            ca_sha256: sha2::Sha256::digest(ca.contents()).to_vec(),
        }))
    }

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        // Whoever joins has no certificate yet.
        self.by_mood(Identified::Yes, false).await?;
        let request = request.into_inner();
        if request.secret != [7; 32] {
            return Err(status::status(
                Code::PermissionDenied,
                "TokenSpent",
                "the token is not known",
                "mint another",
            ));
        }
        let parsed =
            CertificateSigningRequestParams::from_pem(&request.certificate_request_pem).unwrap();
        let key = KeyPair::from_pem(&self.lab.ca_key_pem).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&self.lab.ca_pem, key).unwrap();
        let certificate_pem = parsed.signed_by(&issuer).unwrap().pem();
        self.script().joins.push(request);
        Ok(Response::new(v1::JoinResponse {
            node_id: 12,
            certificate_pem,
            ca_certificate_pem: self.lab.ca_pem.clone(),
            cluster_name: "demo".to_owned(),
        }))
    }

    async fn why(
        &self,
        request: Request<v1::WhyRequest>,
    ) -> Result<Response<v1::WhyResponse>, Status> {
        self.by_mood(who(&request), false).await?;
        let line = |kind: &str, text: &str| v1::WhyLine {
            kind: kind.to_owned(),
            text: text.to_owned(),
        };
        Ok(Response::new(v1::WhyResponse {
            subject: request.into_inner().subject,
            lines: vec![
                line("State", "silent everywhere"),
                line("Remedy", "haftctl confirm-off n1"),
            ],
            stamp: None,
        }))
    }

    not_scripted! { transfer_leadership(v1::TransferLeadershipRequest) -> v1::TransferLeadershipResponse }
}

#[tonic::async_trait]
impl NodeService for StandIn {
    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        self.by_mood(who(&request), is_local(request.get_ref().options.as_ref()))
            .await?;
        Ok(Response::new(v1::ListNodesResponse {
            nodes: self.script().nodes.clone(),
            stamp: None,
        }))
    }

    async fn fence_node(
        &self,
        request: Request<v1::FenceNodeRequest>,
    ) -> Result<Response<v1::FenceNodeResponse>, Status> {
        self.by_mood(who(&request), false).await?;
        let request = request.into_inner();
        answer_named(&request.name)?;
        self.mutate(request.options.clone())?;
        let order = v1::FenceOrder {
            id: 40,
            node: request.name.clone(),
            action: request.action,
            phase: "Intended".to_owned(),
            ..Default::default()
        };
        self.script().fences.push(request);
        Ok(Response::new(v1::FenceNodeResponse { order: Some(order) }))
    }

    async fn confirm_node_off(
        &self,
        request: Request<v1::ConfirmNodeOffRequest>,
    ) -> Result<Response<v1::ConfirmNodeOffResponse>, Status> {
        self.by_mood(who(&request), false).await?;
        let request = request.into_inner();
        self.mutate(request.options.clone())?;
        let metadata = Some(v1::ObjectMeta {
            name: request.name.clone(),
            ..Default::default()
        });
        self.script().confirmations.push(request);
        Ok(Response::new(v1::ConfirmNodeOffResponse {
            node: Some(v1::Node {
                metadata,
                ..Default::default()
            }),
        }))
    }

    not_scripted! {
        get_node(v1::GetNodeRequest) -> v1::GetNodeResponse,
        apply_node(v1::ApplyNodeRequest) -> v1::ApplyNodeResponse,
        delete_node(v1::DeleteNodeRequest) -> v1::DeleteNodeResponse,
    }
}

#[tonic::async_trait]
impl VirtualIpService for StandIn {
    async fn get_virtual_ip(
        &self,
        request: Request<v1::GetVirtualIpRequest>,
    ) -> Result<Response<v1::GetVirtualIpResponse>, Status> {
        self.by_mood(who(&request), false).await?;
        let name = request.into_inner().name;
        answer_named(&name)?;
        let script = self.script();
        let found = script
            .vips
            .iter()
            .find(|vip| vip.metadata.as_ref().is_some_and(|meta| meta.name == name));
        let Some(found) = found.cloned() else {
            return Err(status::status(
                Code::NotFound,
                "NotFound",
                format!("vip/{name} does not exist"),
                "haftctl get vip",
            ));
        };
        Ok(Response::new(v1::GetVirtualIpResponse {
            virtual_ip: Some(found),
            stamp: None,
        }))
    }

    async fn list_virtual_ips(
        &self,
        request: Request<v1::ListVirtualIpsRequest>,
    ) -> Result<Response<v1::ListVirtualIpsResponse>, Status> {
        self.by_mood(who(&request), is_local(request.get_ref().options.as_ref()))
            .await?;
        Ok(Response::new(v1::ListVirtualIpsResponse {
            virtual_ips: self.script().vips.clone(),
            stamp: None,
        }))
    }

    async fn apply_virtual_ip(
        &self,
        request: Request<v1::ApplyVirtualIpRequest>,
    ) -> Result<Response<v1::ApplyVirtualIpResponse>, Status> {
        self.by_mood(who(&request), false).await?;
        let request = request.into_inner();
        let vip = request.virtual_ip.unwrap();
        let name = vip.metadata.clone().unwrap_or_default().name;
        answer_named(&name)?;
        let options = request.options.unwrap_or_default();
        self.mutate(Some(options.clone()))?;
        self.script().applied.push((name, options));
        Ok(Response::new(v1::ApplyVirtualIpResponse {
            virtual_ip: Some(vip),
        }))
    }

    async fn delete_virtual_ip(
        &self,
        request: Request<v1::DeleteVirtualIpRequest>,
    ) -> Result<Response<v1::DeleteVirtualIpResponse>, Status> {
        self.by_mood(who(&request), false).await?;
        let request = request.into_inner();
        answer_named(&request.name)?;
        self.mutate(request.options)?;
        Ok(Response::new(v1::DeleteVirtualIpResponse {}))
    }

    async fn move_virtual_ip(
        &self,
        request: Request<v1::MoveVirtualIpRequest>,
    ) -> Result<Response<v1::MoveVirtualIpResponse>, Status> {
        self.by_mood(who(&request), false).await?;
        let request = request.into_inner();
        answer_named(&request.name)?;
        self.mutate(request.options)?;
        let moved = vip(&request.name, "Active", &request.node);
        self.script().vips = vec![moved.clone()];
        Ok(Response::new(v1::MoveVirtualIpResponse {
            virtual_ip: Some(moved),
        }))
    }
}

#[tonic::async_trait]
impl FenceDeviceService for StandIn {
    async fn list_fence_devices(
        &self,
        request: Request<v1::ListFenceDevicesRequest>,
    ) -> Result<Response<v1::ListFenceDevicesResponse>, Status> {
        self.by_mood(who(&request), is_local(request.get_ref().options.as_ref()))
            .await?;
        Ok(Response::new(v1::ListFenceDevicesResponse::default()))
    }

    not_scripted! {
        get_fence_device(v1::GetFenceDeviceRequest) -> v1::GetFenceDeviceResponse,
        apply_fence_device(v1::ApplyFenceDeviceRequest) -> v1::ApplyFenceDeviceResponse,
        delete_fence_device(v1::DeleteFenceDeviceRequest) -> v1::DeleteFenceDeviceResponse,
    }
}

#[tonic::async_trait]
impl FenceTopologyService for StandIn {
    async fn list_fence_topologies(
        &self,
        request: Request<v1::ListFenceTopologiesRequest>,
    ) -> Result<Response<v1::ListFenceTopologiesResponse>, Status> {
        self.by_mood(who(&request), is_local(request.get_ref().options.as_ref()))
            .await?;
        Ok(Response::new(v1::ListFenceTopologiesResponse::default()))
    }

    not_scripted! {
        get_fence_topology(v1::GetFenceTopologyRequest) -> v1::GetFenceTopologyResponse,
        apply_fence_topology(v1::ApplyFenceTopologyRequest) -> v1::ApplyFenceTopologyResponse,
        delete_fence_topology(v1::DeleteFenceTopologyRequest) -> v1::DeleteFenceTopologyResponse,
    }
}

#[tonic::async_trait]
impl EventService for StandIn {
    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        self.by_mood(who(&request), false).await?;
        // The first of the script has happened; the rest is to come.
        let events = self.script().events.front().cloned().into_iter().collect();
        Ok(Response::new(v1::ListEventsResponse {
            events,
            stamp: None,
        }))
    }

    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    /// Two events a stream, the second of them twice, then the stream is lost.
    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        self.by_mood(who(&request), false).await?;
        let after = request.into_inner().after_index;
        let fresh: Vec<v1::Event> = self
            .script()
            .events
            .iter()
            .filter(|event| event.index > after)
            .take(2)
            .cloned()
            .collect();
        let twice = fresh.last().cloned();
        let mut answers: Vec<Result<v1::WatchEventsResponse, Status>> = fresh
            .into_iter()
            .chain(twice)
            .map(|event| Ok(v1::WatchEventsResponse { event: Some(event) }))
            .collect();
        answers.push(Err(Status::unavailable("the leader is gone")));
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }
}
