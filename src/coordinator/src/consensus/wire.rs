//! Forms on the peer port, and conversions between them and openraft's messages.
//!
//! Own protobuf messages, because openraft's serde forms are no stable format. Decoding refuses what
//! it does not know; a refused message changes nothing.

use haft_store::record::{Position, VoteRecord};
use haft_store::{Claim, ClusterId, FormError, Payload, PeerId, Record, Vote, VoteForm};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::types::{
    RaftEntry, RaftLogId, RaftVote, Types, log_id, position, raft_entry, raft_vote, store_record,
    store_vote,
};

/// Generated from `proto/haft/internal/v1/raft.proto`.
#[expect(
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub(super) mod pb {
    tonic::include_proto!("haft.internal.v1");
}

type Decoded<T> = Result<T, FormError>;

fn missing<T>(field: &'static str) -> impl FnOnce() -> Decoded<T> {
    move || Err(FormError::Field { field })
}

fn need<T>(value: Option<T>, field: &'static str) -> Decoded<T> {
    value.map_or_else(missing(field), Ok)
}

fn id_of(at: Option<Position>) -> Option<RaftLogId> {
    at.map(|at| log_id(at.into()))
}

fn position_of(id: Option<&RaftLogId>) -> Option<Position> {
    id.map(|id| position(id).into())
}

pub(super) fn vote_form(vote: &RaftVote) -> VoteRecord {
    store_vote(vote).into()
}

pub(super) fn vote_of(form: Option<VoteRecord>) -> Decoded<RaftVote> {
    let vote: Vote = need(form, "vote")?.vote()?;
    Ok(raft_vote(vote))
}

pub(super) fn append_form(request: AppendEntriesRequest<Types>) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote_form(&request.vote)),
        previous: position_of(request.prev_log_id.as_ref()),
        entries: request
            .entries
            .into_iter()
            .map(|entry| {
                let record = store_record(entry);
                let (kind, payload) = record.payload.to_form();
                pb::WireEntry {
                    at: Some(record.at.into()),
                    kind: kind.into(),
                    payload,
                }
            })
            .collect(),
        leader_commit: position_of(request.leader_commit.as_ref()),
    }
}

pub(super) fn append_of(form: pb::AppendRequest) -> Decoded<AppendEntriesRequest<Types>> {
    let entries = form
        .entries
        .into_iter()
        .map(|entry| {
            let at = need(entry.at, "at")?.into();
            let payload = Payload::from_form(entry.kind, entry.payload)?;
            Ok(raft_entry(Record { at, payload }))
        })
        .collect::<Decoded<Vec<_>>>()?;
    check_consecutive(form.previous.map(|at| at.index), &entries)?;
    Ok(AppendEntriesRequest {
        vote: vote_of(form.vote)?,
        prev_log_id: id_of(form.previous),
        entries,
        leader_commit: id_of(form.leader_commit),
    })
}

/// A hole would be refused by the store, and stop this node: the sender's fault must not do that.
fn check_consecutive(previous: Option<u64>, entries: &[RaftEntry]) -> Decoded<()> {
    let mut expected = previous.map_or(Some(0), |index| index.checked_add(1));
    for entry in entries {
        if expected != Some(entry.log_id.index) {
            return Err(FormError::Field { field: "entries" });
        }
        expected = entry.log_id.index.checked_add(1);
    }
    Ok(())
}

pub(super) fn append_answer_form(answer: &AppendEntriesResponse<Types>) -> pb::AppendResponse {
    use pb::AppendOutcome as Outcome;
    let (outcome, matched, higher) = match answer {
        AppendEntriesResponse::Success => (Outcome::Success, None, None),
        AppendEntriesResponse::PartialSuccess(at) => {
            (Outcome::Partial, position_of(at.as_ref()), None)
        }
        AppendEntriesResponse::Conflict => (Outcome::Conflict, None, None),
        AppendEntriesResponse::HigherVote(vote) => {
            (Outcome::HigherVote, None, Some(vote_form(vote)))
        }
    };
    pb::AppendResponse {
        outcome: outcome.into(),
        matched,
        higher,
    }
}

pub(super) fn append_answer_of(form: pb::AppendResponse) -> Decoded<AppendEntriesResponse<Types>> {
    match form.outcome() {
        pb::AppendOutcome::Success => Ok(AppendEntriesResponse::Success),
        pb::AppendOutcome::Partial => {
            Ok(AppendEntriesResponse::PartialSuccess(id_of(form.matched)))
        }
        pb::AppendOutcome::Conflict => Ok(AppendEntriesResponse::Conflict),
        pb::AppendOutcome::HigherVote => {
            vote_of(form.higher).map(AppendEntriesResponse::HigherVote)
        }
        pb::AppendOutcome::Unspecified => Err(FormError::Field { field: "outcome" }),
    }
}

pub(super) fn ballot_form(request: &VoteRequest<Types>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_form(&request.vote)),
        last: position_of(request.last_log_id.as_ref()),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn ballot_of(form: pb::VoteRequest) -> Decoded<VoteRequest<Types>> {
    let mut request = VoteRequest::new(vote_of(form.vote)?, id_of(form.last));
    request.leadership_transfer = form.leadership_transfer;
    Ok(request)
}

pub(super) fn ballot_answer_form(answer: &VoteResponse<Types>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_form(&answer.vote)),
        granted: answer.vote_granted,
        last: position_of(answer.last_log_id.as_ref()),
    }
}

pub(super) fn ballot_answer_of(form: pb::VoteResponse) -> Decoded<VoteResponse<Types>> {
    Ok(VoteResponse::new(
        vote_of(form.vote)?,
        id_of(form.last),
        form.granted,
    ))
}

pub(super) fn transfer_form(request: &TransferLeaderRequest<Types>) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        from: Some(vote_form(request.from_leader())),
        to: *request.to_node_id(),
        last: position_of(request.last_log_id()),
    }
}

pub(super) fn transfer_of(
    form: pb::TransferLeaderRequest,
) -> Decoded<TransferLeaderRequest<Types>> {
    Ok(TransferLeaderRequest::new(
        vote_of(form.from)?,
        form.to,
        id_of(form.last),
    ))
}

pub(super) fn transfer_answer_form(
    answer: &TransferLeaderResponse<Types>,
) -> pb::TransferLeaderResponse {
    use pb::TransferOutcome as Outcome;
    let (outcome, vote, last) = match answer {
        Ok(()) => (Outcome::Accepted, None, None),
        Err(TransferLeaderError::VoteChanged { actual, .. }) => {
            (Outcome::VoteChanged, Some(vote_form(actual)), None)
        }
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
            (Outcome::LogBehind, None, position_of(actual.as_ref()))
        }
    };
    pb::TransferLeaderResponse {
        outcome: outcome.into(),
        vote,
        last,
    }
}

/// `asked` gives what the addressed node was expected to have.
pub(super) fn transfer_answer_of(
    form: pb::TransferLeaderResponse,
    asked: &TransferLeaderRequest<Types>,
) -> Decoded<TransferLeaderResponse<Types>> {
    match form.outcome() {
        pb::TransferOutcome::Accepted => Ok(Ok(())),
        pb::TransferOutcome::VoteChanged => Ok(Err(TransferLeaderError::VoteChanged {
            expected: *asked.from_leader(),
            actual: vote_of(form.vote)?,
        })),
        pb::TransferOutcome::LogBehind => Ok(Err(TransferLeaderError::LogNotFlushed {
            expected: asked.last_log_id().cloned(),
            actual: id_of(form.last),
        })),
        pb::TransferOutcome::Unspecified => Err(FormError::Field { field: "outcome" }),
    }
}

/// Who speaks, decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Greeting {
    pub(super) cluster: ClusterId,
    pub(super) node: PeerId,
    pub(super) name: String,
    pub(super) claim: Claim,
}

impl From<&Greeting> for pb::Greeting {
    fn from(greeting: &Greeting) -> Self {
        Self {
            cluster: greeting.cluster.0.to_vec(),
            node: greeting.node.0,
            name: greeting.name.clone(),
            boots: greeting
                .claim
                .boots
                .iter()
                .copied()
                .map(Into::into)
                .collect(),
            vote_term: greeting.claim.vote_term,
            last: greeting.claim.last.map(Into::into),
        }
    }
}

pub(super) fn greeting_of(form: Option<pb::Greeting>) -> Decoded<Greeting> {
    let form = need(form, "greeting")?;
    let cluster = <[u8; 16]>::try_from(form.cluster.as_slice())
        .map_err(|_| FormError::Field { field: "cluster" })?;
    Ok(Greeting {
        cluster: ClusterId(cluster),
        node: PeerId(form.node),
        name: form.name,
        claim: Claim {
            boots: form.boots.into_iter().map(Into::into).collect(),
            vote_term: form.vote_term,
            last: form.last.map(Into::into),
        },
    })
}

#[cfg(test)]
mod tests;
