//! The peer port: answers the calls of other coordinators.
//!
//! Nothing reaches openraft from a caller whose certificate, greeting and call do not name the same
//! node of the same cluster. A message that is not readable is refused and changes nothing.

use std::sync::Arc;

use haft_store::{Boot, FormError, PART_BYTES_MAX, PeerId, Snapshot};
use openraft::error::{Fatal, RaftError};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Response, Status, Streaming};

use super::config::MESSAGE_BYTES_MAX;
use super::gate::{Gate, RefusedBy};
use super::machine::raft_snapshot;
use super::members::MembershipView;
use super::pool::{BOOT_KEY, CLUSTER_KEY, FROM_KEY, TO_KEY};
use super::tls::{CertifiedNode, certified_node};
use super::types::{Raft, Types, store_stored_membership};
use super::wire::pb::peer_service_server::{PeerService, PeerServiceServer};
use super::wire::{
    append_answer_form, append_of, ballot_answer_form, ballot_of, greeting_of, pb,
    transfer_answer_form, transfer_of, vote_form, vote_of,
};

/// A snapshot may take this much memory while it arrives: 256 MiB, far above any real state.
const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

/// The service behind the peer port.
pub(super) struct PeerServer {
    raft: Raft,
    gate: Arc<Gate>,
}

impl PeerServer {
    pub(super) fn service(raft: Raft, gate: Arc<Gate>) -> PeerServiceServer<Self> {
        PeerServiceServer::new(Self { raft, gate })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Lets a call in, or says why not.
    fn check<T>(&self, request: &Request<T>) -> Result<PeerId, Status> {
        let text = |key: &str| {
            request
                .metadata()
                .get(key)
                .and_then(|value| value.to_str().ok())
                .ok_or_else(|| Status::unauthenticated(format!("{key} is missing")))
        };
        let number = |key: &str| {
            text(key)?
                .parse()
                .map_err(|_| Status::unauthenticated(format!("{key} is no number")))
        };
        let certified = caller(request)?;
        let (cluster, here) = (self.gate.cluster(), self.gate.own_id());
        if text(CLUSTER_KEY)? != cluster.to_string() || certified.cluster != cluster {
            return Err(Status::permission_denied("another cluster"));
        }
        if PeerId(number(TO_KEY)?) != here {
            return Err(Status::permission_denied(format!("this is node {here}")));
        }
        let from = PeerId(number(FROM_KEY)?);
        if !self
            .gate
            .is_admitted(from, boot_of(text(BOOT_KEY)?)?, &certified.name)
        {
            return Err(Status::failed_precondition("greet first"));
        }
        Ok(from)
    }

    /// The name under which the membership knows `node`, if it does.
    fn known_name(&self, node: PeerId) -> Option<String> {
        let metrics = self.raft.metrics();
        let stored = store_stored_membership(
            &openraft::async_runtime::watch::WatchReceiver::borrow_watched(&metrics)
                .membership_config,
        );
        MembershipView::of(&stored)
            .peers
            .remove(&node)
            .map(|peer| peer.name)
    }
}

/// Who the caller's certificate names. A certificate of this CA that names no node, such as an
/// administrator's, has no business here.
fn caller<T>(request: &Request<T>) -> Result<CertifiedNode, Status> {
    request
        .extensions()
        .get::<TlsConnectInfo<TcpConnectInfo>>()
        .and_then(TlsConnectInfo::peer_certs)
        .and_then(|chain| chain.first().and_then(|der| certified_node(der)))
        .ok_or_else(|| Status::unauthenticated("the certificate names no node"))
}

fn boot_of(text: &str) -> Result<Boot, Status> {
    text.split_once('.')
        .and_then(|(counter, nonce)| {
            Some(Boot {
                counter: counter.parse().ok()?,
                nonce: nonce.parse().ok()?,
            })
        })
        .ok_or_else(|| Status::unauthenticated("the start of the caller is not readable"))
}

fn unreadable(error: FormError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: RaftError<Types>) -> Status {
    Status::unavailable(error.to_string())
}

fn stopped_for_good(error: Fatal<Types>) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl PeerService for PeerServer {
    async fn greet(
        &self,
        request: Request<pb::GreetRequest>,
    ) -> Result<Response<pb::GreetResponse>, Status> {
        let certified = caller(&request)?;
        let request = request.into_inner();
        let greeting = greeting_of(request.greeting).map_err(unreadable)?;
        let known_name = self.known_name(greeting.node);
        let verdict = self
            .gate
            .admit(&greeting, PeerId(request.to), &certified, known_name)
            .await;
        let own = self
            .gate
            .own_greeting()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let (refusal, reason) = match verdict {
            Ok(()) => (pb::Refusal::Unspecified, String::new()),
            Err(refusal) => {
                let peer = greeting.node.0;
                tracing::error!(peer, %refusal, "this node refuses a peer");
                (refusal.kind(), refusal.to_string())
            }
        };
        let greeting = Some((&own).into());
        Ok(Response::new(pb::GreetResponse {
            refusal: refusal.into(),
            reason,
            greeting,
        }))
    }

    async fn refuse(
        &self,
        request: Request<pb::RefuseRequest>,
    ) -> Result<Response<pb::RefuseResponse>, Status> {
        let peer = self.check(&request)?;
        let request = request.into_inner();
        let kind = request.refusal();
        let reason = request.reason;
        self.gate.on_refused(RefusedBy { peer, kind, reason });
        Ok(Response::new(pb::RefuseResponse {}))
    }

    async fn append(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        self.check(&request)?;
        let request = append_of(request.into_inner()).map_err(unreadable)?;
        let answer = self.raft.append_entries(request).await.map_err(stopped)?;
        Ok(Response::new(append_answer_form(&answer)))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        self.check(&request)?;
        let request = ballot_of(request.into_inner()).map_err(unreadable)?;
        let answer = self.raft.vote(request).await.map_err(stopped)?;
        Ok(Response::new(ballot_answer_form(&answer)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        self.check(&request)?;
        let request = ballot_of(request.into_inner()).map_err(unreadable)?;
        let answer = self.raft.pre_vote(request).await.map_err(stopped)?;
        Ok(Response::new(ballot_answer_form(&answer)))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        self.check(&request)?;
        let request = transfer_of(request.into_inner()).map_err(unreadable)?;
        let answer = self
            .raft
            .handle_transfer_leader(request)
            .await
            .map_err(stopped_for_good)?;
        Ok(Response::new(transfer_answer_form(&answer)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotResponse>, Status> {
        self.check(&request)?;
        let mut parts = request.into_inner();
        let first = parts
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("no parts"))?;
        let vote = vote_of(first.vote).map_err(unreadable)?;
        let head = first
            .head
            .ok_or_else(|| Status::invalid_argument("no head"))?;
        if head.length > SNAPSHOT_BYTES_MAX {
            return Err(Status::resource_exhausted("the snapshot is too large"));
        }
        let mut state = Vec::new();
        while let Some(part) = parts.message().await? {
            state.extend_from_slice(&part.bytes);
            if part.bytes.len() > PART_BYTES_MAX || state.len() as u64 > head.length {
                return Err(Status::invalid_argument("more bytes than the head says"));
            }
        }
        let snapshot = Snapshot::assemble(head, state)
            .map_err(|fault| Status::data_loss(fault.to_string()))?;
        let answer = self
            .raft
            .install_full_snapshot(vote, raft_snapshot(snapshot))
            .await
            .map_err(stopped_for_good)?;
        Ok(Response::new(pb::SnapshotResponse {
            vote: Some(vote_form(&answer.vote)),
        }))
    }
}
