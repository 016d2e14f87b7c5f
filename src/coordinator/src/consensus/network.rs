//! openraft's calls to peers, over the pool's connections.
//!
//! Entries go as single calls, one at a time, not as a stream: openraft gathers what is proposed
//! during one call into the next, and a call has a deadline and an answer of its own. A stream would
//! need both built by hand, and loses the peer for good when one answer is lost. Whatever fails is
//! reported as unreachable, because only that makes openraft wait before it asks again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use haft_store::record::VoteRecord;
use haft_store::{FormError, LogPosition, Peer, PeerId, Snapshot};
use openraft::OptionalSend;
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Response, Status};

use super::config::Timings;
use super::gate::Gate;
use super::links::{Fate, Links, Purpose};
use super::machine::{RaftSnapshot, State};
use super::pool::{Client, Pool, Slot};
use super::types::{RaftPeer, RaftVote, Types, position, store_stored_membership};
use super::wire::{
    append_answer_of, append_form, ballot_answer_of, ballot_form, pb, transfer_answer_of,
    transfer_form, vote_form, vote_of,
};

/// Makes openraft's clients.
pub(super) struct Network {
    pub(super) pool: Arc<Pool>,
    pub(super) gate: Arc<Gate>,
    pub(super) links: Arc<dyn Links>,
    pub(super) timings: Timings,
}

impl Network {
    fn client(&self, target: u64, node: &RaftPeer, purpose: Purpose) -> PeerClient {
        let peer = Peer {
            name: node.name.clone(),
            addresses: node.addresses.clone(),
        };
        let id = PeerId(target);
        PeerClient {
            slot: self.pool.slot(id, purpose, peer.clone()),
            urgent: self.pool.slot(id, Purpose::Heartbeat, peer),
            purpose,
            gate: Arc::clone(&self.gate),
            links: Arc::clone(&self.links),
            timings: self.timings,
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &RaftPeer) -> PeerClient {
        self.client(target, node, Purpose::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &RaftPeer) -> PeerClient {
        self.client(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &RaftPeer) -> PeerClient {
        self.client(target, node, Purpose::Snapshot)
    }
}

/// openraft's client of one peer for one purpose.
pub(super) struct PeerClient {
    slot: Arc<Slot>,
    urgent: Arc<Slot>,
    purpose: Purpose,
    gate: Arc<Gate>,
    links: Arc<dyn Links>,
    timings: Timings,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    NoConnection(#[from] super::pool::NoConnection),
    #[error("no answer from node {peer} in time")]
    TimedOut { peer: PeerId },
    #[error("node {peer} answers {status}")]
    Status { peer: PeerId, status: Status },
    #[error("the answer of node {peer} is not readable")]
    Form {
        peer: PeerId,
        #[source]
        source: FormError,
    },
    #[error("node {peer} is cut off by a test")]
    Cut { peer: PeerId },
    #[error("the snapshot is no longer wanted: {0}")]
    Closed(ReplicationClosed),
}

impl From<CallError> for RPCError<Types> {
    fn from(error: CallError) -> Self {
        Self::Unreachable(Unreachable::from_string(error))
    }
}

impl PeerClient {
    /// One call: the connection, the call itself and its answer share one deadline.
    async fn call<T, F>(
        &self,
        purpose: Purpose,
        limit: Duration,
        send: impl FnOnce(Client) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let slot = match purpose {
            Purpose::Vote => &self.urgent,
            Purpose::Log | Purpose::Heartbeat | Purpose::Snapshot => &self.slot,
        };
        let peer = slot.peer();
        let deadline = Instant::now() + limit;
        let fate = self.links.fate(self.gate.own_id(), peer, purpose);
        if fate == Fate::Cut {
            return Err(CallError::Cut { peer });
        }
        let (client, generation) = slot.client(deadline).await?;
        let answered = async {
            let answer = send(client).await;
            if fate == Fate::LoseAnswer {
                std::future::pending::<()>().await;
            }
            answer
        };
        let answer = timeout_at(deadline, answered)
            .await
            .map_err(|_| CallError::TimedOut { peer })?;
        answer.map(Response::into_inner).map_err(|status| {
            if is_connection_lost(&status) {
                slot.drop_line(generation, status.message());
            }
            CallError::Status { peer, status }
        })
    }

    fn readable<T>(&self, decoded: Result<T, FormError>) -> Result<T, CallError> {
        decoded.map_err(|source| CallError::Form {
            peer: self.slot.peer(),
            source,
        })
    }

    /// Notes what the peer has just promised to keep.
    fn note_append(
        &self,
        vote: &RaftVote,
        last: Option<LogPosition>,
        answer: &AppendEntriesResponse<Types>,
    ) {
        let (peer, term) = (self.slot.peer(), vote.leader_id.term);
        match answer {
            AppendEntriesResponse::Success => self.gate.note(peer, term, last),
            AppendEntriesResponse::PartialSuccess(at) => {
                self.gate.note(peer, term, at.as_ref().map(position));
            }
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => {}
        }
    }
}

/// Whether the connection itself is of no use any more, so that the next call must dial and greet.
fn is_connection_lost(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::FailedPrecondition | Code::Unknown | Code::Cancelled => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = State;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let limit = match self.purpose {
            Purpose::Heartbeat => option.soft_ttl(),
            // Entries may wait for the follower's disk longer than a heartbeat may.
            Purpose::Log | Purpose::Snapshot | Purpose::Vote => self.timings.election_min,
        };
        let vote = request.vote;
        let last = request
            .entries
            .last()
            .map(|entry| position(&entry.log_id))
            .or(request.prev_log_id.as_ref().map(position));
        let form = append_form(request);
        let answer = self
            .call(self.purpose, limit, |mut client| async move {
                client.append(form).await
            })
            .await?;
        let answer = self.readable(append_answer_of(answer))?;
        self.note_append(&vote, last, &answer);
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let form = ballot_form(&request);
        let answer = self
            .call(Purpose::Vote, option.soft_ttl(), |mut client| async move {
                client.vote(form).await
            })
            .await?;
        let answer = self.readable(ballot_answer_of(answer))?;
        let last = answer.last_log_id.as_ref().map(position);
        self.gate
            .note(self.slot.peer(), answer.vote.leader_id.term, last);
        Ok(answer)
    }

    // The default of this method grants without asking, which would switch the pre-vote off.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let form = ballot_form(&request);
        let answer = self
            .call(Purpose::Vote, option.soft_ttl(), |mut client| async move {
                client.pre_vote(form).await
            })
            .await?;
        Ok(self.readable(ballot_answer_of(answer))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let last = snapshot.meta.last_log_id.as_ref().map(position);
        let parts = snapshot_parts(vote_form(&vote), snapshot);
        let sent = self.call(self.purpose, option.hard_ttl(), |mut client| async move {
            client.install_snapshot(futures::stream::iter(parts)).await
        });
        let answer = match select(Box::pin(sent), Box::pin(cancel)).await {
            Either::Left((answer, _)) => answer,
            Either::Right((closed, _)) => Err(CallError::Closed(closed)),
        };
        match answer {
            Ok(answer) => {
                let higher = self
                    .readable(vote_of(answer.vote))
                    .map_err(|error| StreamingError::from(RPCError::from(error)))?;
                if higher == vote {
                    self.gate.note(self.slot.peer(), vote.leader_id.term, last);
                }
                Ok(SnapshotResponse::new(higher))
            }
            Err(CallError::Closed(closed)) => Err(StreamingError::Closed(closed)),
            Err(error) => Err(RPCError::from(error).into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let form = transfer_form(&request);
        let answer = self
            .call(Purpose::Vote, option.soft_ttl(), |mut client| async move {
                client.transfer_leader(form).await
            })
            .await?;
        Ok(self.readable(transfer_answer_of(answer, &request))?)
    }
}

/// The messages of a snapshot: its head, then its bytes.
fn snapshot_parts(vote: VoteRecord, snapshot: RaftSnapshot) -> Vec<pb::SnapshotPart> {
    let snapshot = Snapshot {
        last: snapshot.meta.last_log_id.as_ref().map(position),
        membership: store_stored_membership(&snapshot.meta.last_membership),
        state: snapshot.snapshot,
    };
    let head = pb::SnapshotPart {
        vote: Some(vote),
        head: Some(snapshot.head()),
        bytes: Vec::new(),
    };
    let bytes = snapshot.parts().map(|part| pb::SnapshotPart {
        vote: None,
        head: None,
        bytes: part.to_vec(),
    });
    std::iter::once(head).chain(bytes).collect()
}
