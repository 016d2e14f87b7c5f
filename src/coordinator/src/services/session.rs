//! SessionService: agents attach here; coordinators ask each other for ages and for the CA's key.

mod attach;

use super::access::{coordinator, node};
use super::write::{Effect, field_status, write};
use crate::context::Context;
use haft_api::convert::{
    active_from, age_into, armed_from, begun_from, failed_from, released_from, witness_from,
    witness_into,
};
use haft_api::pb::v1;
use haft_api::status::{not_leader, status};
use haft_engine::command::Command;
use haft_engine::ids::{Incarnation, LogIndex, NodeId};
use haft_engine::leader::Input;
use haft_engine::session::responder::NoAge;
use haft_engine::witness::{Challenge, LISTEN_MAX};
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

/// The service.
pub(super) struct Sessions(pub(super) Arc<Context>);

#[tonic::async_trait]
impl v1::session_service_server::SessionService for Sessions {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let node = node(&self.0, &request)?;
        if self.0.leader() != Some(self.0.own) {
            return Err(not_leader(self.0.leader_api().as_deref()));
        }
        let stream = attach::serve(Arc::clone(&self.0), node, request.into_inner());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let from = node(&self.0, &request)?;
        let relay = coordinator(&self.0, &request).is_ok();
        let form = request.into_inner();
        let command = command_of(&form)?;
        if !relay && !concerns(&self.0, &command, from) {
            return Err(status(
                Code::PermissionDenied,
                "OthersReport",
                "a node reports only on its own grants",
                "",
            ));
        }
        match self.0.leader() {
            Some(leader) if leader != self.0.own => {
                self.0.peers.report(&self.0, leader, form).await?;
            }
            Some(_) | None => {
                write(&self.0, command, Effect::Commit).await?;
            }
        }
        Ok(Response::new(v1::ReportResponse {}))
    }

    async fn state_age(
        &self,
        request: Request<v1::StateAgeRequest>,
    ) -> Result<Response<v1::StateAgeResponse>, Status> {
        coordinator(&self.0, &request)?;
        let request = request.into_inner();
        let (node, incarnation) = (NodeId(request.node_id), Incarnation(request.incarnation));
        let closing = LogIndex(request.closing);
        match self.0.state_age(node, incarnation, closing) {
            Ok(age) => Ok(Response::new(age_into(&age))),
            Err(NoAge::ClosingNotHeld) => Err(status(
                Code::FailedPrecondition,
                "ClosingNotHeld",
                "the closing is not applied at this coordinator, or not in force",
                "",
            )),
            Err(NoAge::NotDurable) => Err(status(
                Code::Unavailable,
                "ClosingNotDurable",
                "the closing is not on this coordinator's disk yet",
                "",
            )),
            Err(NoAge::NotReady) => Err(status(
                Code::Unavailable,
                "NotReady",
                "silent for one lease after a restart",
                "",
            )),
        }
    }

    async fn challenge(
        &self,
        request: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeResponse>, Status> {
        coordinator(&self.0, &request)?;
        let request = request.into_inner();
        let (node, incarnation) = (NodeId(request.node_id), Incarnation(request.incarnation));
        let challenge = Challenge(request.challenge);
        let mut answers = self.0.challenger.challenge(node, incarnation, challenge);
        let heard = tokio::time::timeout(LISTEN_MAX, answers.recv()).await;
        let heard = heard.ok().flatten();
        Ok(Response::new(v1::ChallengeResponse {
            witness: heard.map(|heard| witness_into(&heard.witness)),
        }))
    }

    async fn testify(
        &self,
        request: Request<v1::TestifyRequest>,
    ) -> Result<Response<v1::TestifyResponse>, Status> {
        let by = coordinator(&self.0, &request)?;
        let request = request.into_inner();
        let form = request.witness.unwrap_or_default();
        let witness = witness_from(by, &form)
            .ok_or_else(|| Status::invalid_argument("no witness is named"))?;
        let input = Input::Witnessed {
            node: NodeId(request.node_id),
            incarnation: Incarnation(request.incarnation),
            witness,
        };
        self.0.tell_leader(input).await;
        Ok(Response::new(v1::TestifyResponse {}))
    }

    async fn share_ca_key(
        &self,
        request: Request<v1::ShareCaKeyRequest>,
    ) -> Result<Response<v1::ShareCaKeyResponse>, Status> {
        coordinator(&self.0, &request)?;
        let authority = self.0.authority.get().ok_or_else(|| {
            status(
                Code::Unavailable,
                "NoAuthority",
                "not held here either",
                "ask another",
            )
        })?;
        Ok(Response::new(v1::ShareCaKeyResponse {
            ca_key_pem: authority.key_pem.clone(),
        }))
    }
}

fn command_of(form: &v1::ReportRequest) -> Result<Command, Status> {
    use v1::report_request::Report;
    match &form.report {
        Some(Report::Active(active)) => active_from(active).map_err(field_status),
        Some(Report::Released(released)) => released_from(released).map_err(field_status),
        Some(Report::Begun(begun)) => begun_from(begun).map_err(field_status),
        Some(Report::Armed(armed)) => armed_from(armed).map_err(field_status),
        Some(Report::Failed(failed)) => failed_from(failed).map_err(field_status),
        None => Err(Status::invalid_argument("an empty report")),
    }
}

/// Whether a report names an incarnation of this very node.
fn concerns(context: &Context, command: &Command, node: NodeId) -> bool {
    let (Command::Activated {
        resource, token, ..
    }
    | Command::Begun {
        resource, token, ..
    }
    | Command::WatchdogArmed {
        resource, token, ..
    }
    | Command::Troubled {
        resource, token, ..
    }
    | Command::Released {
        resource, token, ..
    }) = command
    else {
        return false;
    };
    let state = context.replica.state();
    let holding = state
        .resources
        .get(resource)
        .and_then(|found| found.ownership.holding());
    // A report on a grant that is over changes nothing, whoever sends it.
    holding.is_none_or(|holding| holding.node == node || holding.token != *token)
}
