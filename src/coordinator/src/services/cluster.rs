//! ClusterService: status, join tokens, joining, `why`, leadership transfer.

use super::access::{administrator, anyone};
use super::read::read;
use super::write::{Effect, field_status, write};
use crate::clock::wall_unix_ms;
use crate::context::Context;
use crate::pki::{self, SignError};
use haft_api::convert::request_id_from;
use haft_api::pb::v1;
use haft_api::status::status;
use haft_engine::apply::Outcome;
use haft_engine::command::{Command, NodeRole, Registration};
use haft_engine::gate::GateKind;
use haft_engine::ids::{NodeId, NodeName};
use haft_engine::state::ClusterState;
use haft_engine::why;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};

/// Longest life of a join token, one week; shortest useful, one minute.
const TOKEN_TTL_MAX_MS: u64 = 7 * 24 * 3_600_000;
const TOKEN_TTL_DEFAULT_MS: u64 = 3_600_000;

/// The service.
pub(super) struct Clusters(pub(super) Arc<Context>);

#[tonic::async_trait]
impl v1::cluster_service_server::ClusterService for Clusters {
    async fn get_cluster_status(
        &self,
        request: Request<v1::GetClusterStatusRequest>,
    ) -> Result<Response<v1::GetClusterStatusResponse>, Status> {
        anyone(&self.0, &request)?;
        let options = request.into_inner().options;
        let (mut answer, stamp) =
            read(&self.0, options, |state| cluster_status(&self.0, state)).await?;
        answer.stamp = Some(stamp);
        Ok(Response::new(answer))
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        administrator(&self.0, &request)?;
        let request = request.into_inner();
        let options = request.options.unwrap_or_default();
        let ttl_ms = if request.ttl_ms == 0 {
            TOKEN_TTL_DEFAULT_MS
        } else {
            request.ttl_ms
        };
        if ttl_ms > TOKEN_TTL_MAX_MS {
            return Err(status(
                Code::InvalidArgument,
                "TokenTtl",
                "a join token may live for a week at most",
                "ask for a shorter --ttl",
            ));
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| Status::internal(error.to_string()))?;
        let expires_unix_ms = wall_unix_ms().saturating_add(ttl_ms);
        let command = Command::MintJoinToken {
            sha256: Sha256::digest(secret).into(),
            node: NodeName(request.node),
            expires_unix_ms,
            request: request_id_from(&options.request_id).map_err(field_status)?,
        };
        write(&self.0, command, Effect::Commit).await?;
        let (cluster_id, ca_sha256) = {
            let state = self.0.replica.state();
            (state.cluster.0.to_vec(), ca_sha256(&self.0)?)
        };
        Ok(Response::new(v1::CreateJoinTokenResponse {
            secret: secret.to_vec(),
            expires_unix_ms,
            cluster_id,
            ca_sha256,
        }))
    }

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        join(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn why(
        &self,
        request: Request<v1::WhyRequest>,
    ) -> Result<Response<v1::WhyResponse>, Status> {
        anyone(&self.0, &request)?;
        let subject = request.into_inner().subject;
        let parsed = why::Subject::parse(&subject).ok_or_else(|| {
            status(
                Code::InvalidArgument,
                "InvalidSubject",
                format!("{subject:?} names nothing that has a reason"),
                "ask about vip/NAME, node/NAME, fencedevice/NAME, fencetopology/NAME or order/NUMBER",
            )
        })?;
        let (report, stamp) = read(&self.0, None, |state| {
            // Confirmed by a read of the leader: its streams are the ones that count.
            let seen = why::Seen {
                streams: Some(self.0.streams.attached()),
            };
            why::why_as_seen(state, &seen, &parsed)
        })
        .await?;
        let report = report.ok_or_else(|| super::read::absent("subject", &subject))?;
        let lines = report.lines.into_iter().map(|line| v1::WhyLine {
            kind: line.kind.word().to_owned(),
            text: line.text,
        });
        Ok(Response::new(v1::WhyResponse {
            subject,
            lines: lines.collect(),
            stamp: Some(stamp),
        }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        administrator(&self.0, &request)?;
        let name = request.into_inner().node;
        let target = {
            let state = self.0.replica.state();
            state
                .node_named(&NodeName(name.clone()))
                .map(|node| node.id)
        };
        let target = target.ok_or_else(|| super::read::absent("node", &name))?;
        transfer(&self.0, target).await?;
        Ok(Response::new(v1::TransferLeadershipResponse {}))
    }
}

async fn transfer(context: &Context, target: NodeId) -> Result<(), Status> {
    if context.leader() != Some(context.own) {
        return Err(haft_api::status::not_leader(
            context.leader_api().as_deref(),
        ));
    }
    if target == context.own {
        return Ok(());
    }
    let deadline = tokio::time::Instant::now() + context.timing.election_max;
    let handed = context
        .consensus
        .transfer_to(haft_store::PeerId(target.0), deadline)
        .await;
    handed.map_err(|error| {
        status(
            Code::FailedPrecondition,
            "TransferRefused",
            error.to_string(),
            "choose a coordinator that votes, is up and has caught up",
        )
    })
}

fn cluster_status(context: &Context, state: &ClusterState) -> v1::GetClusterStatusResponse {
    let name = |id: NodeId| {
        state
            .nodes
            .get(&id)
            .map_or(id.to_string(), |n| n.name.0.clone())
    };
    let metrics = context.consensus.metrics();
    let effective = context.effective_membership();
    let voters = effective.all();
    let quorum = context
        .consensus
        .quorum_ack_age()
        .is_some_and(|age| age < context.timing.election_max);
    let peers = {
        let memberships = context.consensus.membership();
        let memberships = memberships.borrow();
        memberships
            .effective
            .peers
            .keys()
            .map(|peer| NodeId(peer.0))
            .collect::<Vec<_>>()
    };
    v1::GetClusterStatusResponse {
        cluster_name: context.config.cluster_name.clone(),
        cluster_id: context.cluster_hex.clone(),
        epoch: state.epoch.0,
        term: metrics.term,
        leader: context.leader().map_or_else(String::new, name),
        voters: voters.iter().map(|id| name(*id)).collect(),
        learners: peers
            .into_iter()
            .filter(|id| !voters.contains(id))
            .map(name)
            .collect(),
        quorum,
        applied_index: state.applied.0,
        warnings: warnings(state)
            .into_iter()
            .chain(super::timing::warnings(context, state))
            .collect(),
        answered_by: name(context.own),
        stamp: None,
        beats: Some(context.beats.counts()),
    }
}

/// Things that need attention: everything that `why` would have to explain.
fn warnings(state: &ClusterState) -> Vec<String> {
    use haft_engine::state::{OrderPhase, Ownership, Session};
    let mut lines = Vec::new();
    for node in state.nodes.values() {
        if let Session::Ended { .. } | Session::Closing { .. } = node.session {
            let closed = match node.place.gate {
                GateKind::Kernel => {
                    "; a kernel that runs on without its agent passes nothing on for what it had"
                }
                GateKind::Timed => "",
            };
            lines.push(format!("node/{} has no live session{closed}", node.name));
        }
        if node.quarantined {
            lines.push(format!(
                "node/{} is quarantined after repeated fences",
                node.name
            ));
        }
    }
    for resource in state.resources.values() {
        match &resource.ownership {
            Ownership::Active(_) => {}
            Ownership::Unowned => lines.push(format!("{} is unowned", resource.id)),
            Ownership::Granted(_) => {
                lines.push(format!("{} is granted, not active yet", resource.id))
            }
            Ownership::Releasing(..) => lines.push(format!("{} is being released", resource.id)),
            Ownership::Orphaned(_) => lines.push(format!("{} waits for evidence", resource.id)),
        }
        if haft_engine::spec::is_unfenced(&resource.spec) {
            lines.push(format!("{} is allowed to run UNFENCED", resource.id));
        }
    }
    for shared in haft_engine::domains::all_shared(state) {
        lines.push(shared.to_string());
    }
    for (name, device) in &state.devices {
        if let Some(why) = device.failing() {
            lines.push(format!("fencedevice/{name} fails its probes: {why}"));
        }
    }
    for order in state.orders.values() {
        if let OrderPhase::Held(_) | OrderPhase::Waiting { .. } = order.phase {
            lines.push(format!("order/{} waits", order.id));
        }
    }
    lines
}

fn ca_sha256(context: &Context) -> Result<Vec<u8>, Status> {
    let authority = context.authority.get().ok_or_else(no_authority)?;
    let der = pem::parse(&authority.ca_pem).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Sha256::digest(der.contents()).to_vec())
}

fn no_authority() -> Status {
    status(
        Code::Unavailable,
        "NoAuthority",
        "this coordinator does not hold the authority's key yet",
        "try again in a moment, or at another coordinator",
    )
}

/// Registers the node (which spends the token), then signs. Spending first means that a crash in between
/// costs a token, never a second certificate.
async fn join(context: &Context, request: v1::JoinRequest) -> Result<v1::JoinResponse, Status> {
    let authority = context.authority.get().ok_or_else(no_authority)?;
    let cluster = context.replica.state().cluster;
    if request.cluster_id != cluster.0 {
        return Err(status(
            Code::InvalidArgument,
            "ForeignCluster",
            "the token belongs to another cluster",
            "check the coordinators' addresses in the config, or make a token here",
        ));
    }
    let host: IpAddr = request.host.parse().map_err(|_| {
        status(
            Code::InvalidArgument,
            "InvalidField",
            "host is not an IP address",
            "list the node's address in the config",
        )
    })?;
    let role = match request.role() {
        v1::NodeRole::AgentOnly => NodeRole::AgentOnly,
        v1::NodeRole::Coordinator | v1::NodeRole::Unspecified => NodeRole::Coordinator,
    };
    let key_sha256 =
        pki::requested_key_sha256(&request.certificate_request_pem).map_err(|e| sign_status(&e))?;
    let name = NodeName(request.node);
    let command = Command::RegisterNode {
        node: Registration {
            name: name.clone(),
            role,
            host: host.to_string(),
            key_sha256,
        },
        token_sha256: Sha256::digest(&request.secret).into(),
    };
    let Outcome::Registered(node_id) = write(context, command, Effect::Commit).await? else {
        return Err(Status::internal("registration had another outcome"));
    };
    let certificate_pem = authority
        .sign(cluster, &name, host, &request.certificate_request_pem)
        .map_err(|error| sign_status(&error))?;
    Ok(v1::JoinResponse {
        node_id: node_id.0,
        certificate_pem,
        ca_certificate_pem: authority.ca_pem.clone(),
        cluster_name: context.config.cluster_name.clone(),
    })
}

fn sign_status(error: &SignError) -> Status {
    match error {
        SignError::NoKey => no_authority(),
        SignError::Request(_) | SignError::Name => status(
            Code::InvalidArgument,
            "CertificateRequest",
            error.to_string(),
            "join with haftctl cluster join, which makes the request",
        ),
        SignError::Authority(_) => Status::internal(error.to_string()),
    }
}

/// Fetches the CA's key from another coordinator until this one holds it.
pub async fn fetch_authority(context: Arc<Context>, ca_pem: String, keep_at: std::path::PathBuf) {
    while context.authority.get().is_none() {
        let peers: Vec<NodeId> = {
            let state = context.replica.state();
            let others = state.nodes.values().filter(|node| node.id != context.own);
            others
                .filter(|node| node.role == NodeRole::Coordinator)
                .map(|node| node.id)
                .collect()
        };
        for peer in peers {
            let asked = context.peers.ca_key(&context, peer);
            let Ok(Ok(key_pem)) = tokio::time::timeout(Duration::from_secs(2), asked).await else {
                continue;
            };
            let authority = pki::Authority {
                ca_pem: ca_pem.clone(),
                key_pem,
            };
            if authority.check().is_ok() {
                if let Err(error) = pki::keep_key(&keep_at, &authority.key_pem) {
                    tracing::warn!(%error, "the authority's key is not kept on disk");
                }
                context.authority.set(authority);
                return;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
