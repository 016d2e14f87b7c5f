//! The stream to the leader: admission, assignments down, reports up.
//!
//! Tries the leader it was told of, then every coordinator of the config in turn, until one takes the
//! stream. Losing the stream costs nothing but time: the session lives on beats, and a new stream is
//! attached under the same incarnation. Releases that no stream could carry are handed to any coordinator
//! that answers, which relays them (R6). Decides nothing about resources.

use crate::census::Sight;
use crate::chain;
use crate::order::{Admission, BeatAddresses, Notice, Order, Orders, subject};
use haft_api::beat::BeatKey;
use haft_api::client::{Credentials, dial};
use haft_api::convert::{
    admitted_by, assigned_by, assignment_from, ended_by, membership_from, report_active,
    report_armed, report_begun, report_failed, report_released, report_retimed, rival_into,
};
use haft_api::pb::v1;
use haft_api::pb::v1::attach_request::Message as Up;
use haft_api::pb::v1::attach_response::Message as Down;
use haft_api::pb::v1::session_service_client::SessionServiceClient;
use haft_api::status::leader;
use haft_config::Config;
use haft_engine::command::Probe;
use haft_engine::ids::{BootId, Incarnation, NodeId, NodeName, ResourceId, Token};
use haft_engine::keeper::Output;
use haft_engine::place::Place;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

mod ended;
mod endpoints;
mod eyes;
mod hello;
mod pulse;
mod say;
mod terms;

use ended::{Next, StreamError};
use endpoints::endpoints;
use eyes::Eyes;
use hello::hello;
use pulse::Pulse;
use say::say;

/// Reports that may wait for the network; a full queue breaks the stream, and the next one repeats them.
const UP_QUEUE: usize = 256;
/// A coordinator that has not answered within this is passed over.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Pause after every coordinator has been tried once.
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// How long an earlier life's end is waited for at a time.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Releases that may wait for a coordinator.
const OWED_MAX: usize = 4_096;

/// What the stream's task needs to know.
#[derive(Debug)]
pub struct Attach {
    /// The node's own name, for logs.
    pub node: NodeName,
    /// Whose life this machine is in.
    pub boot: BootId,
    /// Where it runs, as it was when the process began: it changes neither by itself.
    pub place: Place,
    /// The one config file.
    pub config: Config,
    /// Mutual TLS.
    pub credentials: Credentials,
    /// What this machine has that is not ours.
    pub sight: Sight,
}

/// The task.
#[derive(Debug)]
pub struct AttachTask {
    attach: Attach,
    eyes: Eyes,
    orders: Orders,
    notices: mpsc::Receiver<Notice>,
    standing: Standing,
    owed: BTreeMap<ResourceId, (Incarnation, Token)>,
    hints: VecDeque<String>,
    /// Once the process is asked to end: when it ends at the latest. Everything is being released then.
    ending: watch::Receiver<Option<Instant>>,
}

/// Which life the lease thread lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// The thread has not said yet, or is letting go of an earlier life.
    Busy,
    /// No life: may ask to be admitted.
    Idle(Probe),
    /// A life that goes on.
    Living(Incarnation),
}

/// Which releases are handed over outside a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owed {
    /// Of lives that are over; a live one says its own over its stream.
    Past,
    /// All: there is no stream to be had.
    All,
}

impl AttachTask {
    /// A task between these ends. `ending` is set once the lease thread has been told to shut down.
    pub fn new(
        attach: Attach,
        orders: Orders,
        notices: mpsc::Receiver<Notice>,
        ending: watch::Receiver<Option<Instant>>,
    ) -> AttachTask {
        AttachTask {
            eyes: Eyes::new(attach.sight.clone()),
            attach,
            orders,
            notices,
            standing: Standing::Busy,
            owed: BTreeMap::new(),
            hints: VecDeque::new(),
            ending,
        }
    }

    /// Runs until the process is to end and every release has been taken, or its deadline has passed.
    pub async fn run(mut self) {
        let endpoints = endpoints(&self.attach.config);
        let mut turn = 0;
        while !endpoints.is_empty() {
            let endpoint = self
                .hints
                .pop_front()
                .unwrap_or_else(|| endpoints[turn % endpoints.len()].clone());
            turn += 1;
            let pause = match self.visit(&endpoint).await {
                Next::End => return,
                Next::Again => {
                    self.hints.push_front(endpoint);
                    Duration::ZERO
                }
                Next::Onward if self.hints.is_empty() && turn % endpoints.len() == 0 => ROUND_PAUSE,
                Next::Onward => Duration::ZERO,
                Next::Pause(span) => span,
            };
            // Also cut short by the wish to end.
            let _ = timeout(pause, self.ending.changed()).await;
        }
    }

    /// One coordinator: hands it what is owed, then attaches if there is anything to attach.
    async fn visit(&mut self, endpoint: &str) -> Next {
        self.drain_notices();
        if self.standing == Standing::Busy {
            self.next_notice(BUSY_PAUSE).await;
        }
        if self.is_over() {
            return Next::End;
        }
        match self.stream(endpoint).await {
            Ok(next) => next,
            Err(error) => {
                tracing::debug!(err = chain(&error), "no stream");
                if let StreamError::Status { source, .. } = &error
                    && let Some(hint) = leader(source)
                    && hint != endpoint
                    && self.hints.is_empty()
                {
                    self.hints.push_back(hint.to_owned());
                }
                Next::Onward
            }
        }
    }

    fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    fn is_over(&self) -> bool {
        let deadline = *self.ending.borrow();
        deadline.is_some_and(|deadline| {
            Instant::now() >= deadline
                || (matches!(self.standing, Standing::Idle(_)) && self.owed.is_empty())
        })
    }

    async fn stream(&mut self, endpoint: &str) -> Result<Next, StreamError> {
        let channel = timeout(ANSWER_WITHIN, dial(endpoint, &self.attach.credentials))
            .await
            .map_err(|_| StreamError::Silent {
                endpoint: endpoint.to_owned(),
            })?
            .map_err(|source| StreamError::Dial {
                endpoint: endpoint.to_owned(),
                source,
            })?;
        let mut client = SessionServiceClient::new(channel);
        self.hand_over(&mut client, Owed::Past).await;
        let sight = self.eyes.report();
        let hello = match self.standing {
            Standing::Living(incarnation) => {
                hello(&self.attach, incarnation, Probe::Unclean, sight)
            }
            Standing::Idle(probe) if !self.is_ending() => {
                hello(&self.attach, Incarnation(0), probe, sight)
            }
            Standing::Idle(_) | Standing::Busy => return Ok(Next::Onward),
        };
        let (up, outbound) = mpsc::channel(UP_QUEUE);
        say(&up, hello)?;
        let attached = timeout(ANSWER_WITHIN, client.attach(ReceiverStream::new(outbound)));
        let attached = attached.await.map_err(|_| StreamError::Silent {
            endpoint: endpoint.to_owned(),
        })?;
        match attached {
            Ok(response) => self.converse(endpoint, response.into_inner(), up).await,
            Err(source) => {
                self.hand_over(&mut client, Owed::All).await;
                Err(StreamError::Status {
                    endpoint: endpoint.to_owned(),
                    source: Box::new(source),
                })
            }
        }
    }

    async fn converse(
        &mut self,
        endpoint: &str,
        mut down: Streaming<v1::AttachResponse>,
        up: mpsc::Sender<v1::AttachRequest>,
    ) -> Result<Next, StreamError> {
        let mut pulse = Pulse::new(&self.attach.config.timing);
        // Before it is admitted, the coordinator awaits other words.
        let mut looks = false;
        loop {
            tokio::select! {
                message = down.message() => {
                    let message = message.map_err(|source| StreamError::Status {
                        endpoint: endpoint.to_owned(),
                        source: Box::new(source),
                    })?;
                    let Some(message) = message.and_then(|message| message.message) else {
                        return Ok(Next::Onward);
                    };
                    pulse.heard();
                    if let Down::Newest(newest) = &message {
                        self.settle(newest, &up)?;
                    }
                    let welcome = matches!(message, Down::Admitted(_));
                    if let Some(next) = self.heard(endpoint, message)? {
                        return Ok(next);
                    }
                    if welcome {
                        pulse.start();
                        looks = true;
                        self.say_owed(&up)?;
                    }
                }
                notice = self.notices.recv() => match notice {
                    Some(Notice::Hindered(hindrances)) => self.eyes.heard(hindrances),
                    Some(notice) => {
                        if let Some(report) = self.noted(notice) {
                            say(&up, report)?;
                        }
                        if matches!(self.standing, Standing::Idle(_)) && !self.is_ending() {
                            return Ok(Next::Again);
                        }
                    }
                    None => return Ok(Next::End),
                },
                () = tokio::time::sleep_until(pulse.due()) => {
                    if pulse.is_lost() {
                        return Err(StreamError::Silent { endpoint: endpoint.to_owned() });
                    }
                    say(&up, pulse.ping())?;
                }
                () = self.eyes.changed(), if looks => say(&up, self.seen())?,
                changed = self.ending.changed() => if changed.is_err() {
                    return Ok(Next::End);
                },
            }
            if self.is_over() {
                return Ok(Next::End);
            }
        }
    }

    fn seen(&mut self) -> v1::AttachRequest {
        let message = Some(Up::Machine(self.eyes.report()));
        v1::AttachRequest { message }
    }

    /// Releases of the live incarnation that were said before this stream.
    fn say_owed(&mut self, up: &mpsc::Sender<v1::AttachRequest>) -> Result<(), StreamError> {
        for (resource, (incarnation, token)) in &self.owed {
            if self.standing == Standing::Living(*incarnation) {
                let report = report_released(resource, *token, *incarnation);
                let message = Some(Up::Released(report));
                say(up, v1::AttachRequest { message })?;
            }
        }
        Ok(())
    }

    fn heard(&mut self, endpoint: &str, message: Down) -> Result<Option<Next>, StreamError> {
        match message {
            Down::Admitted(admitted) => {
                tracing::info!(
                    endpoint,
                    incarnation = admitted.incarnation,
                    "attached to the leader"
                );
                self.admitted(endpoint, admitted)?;
                Ok(None)
            }
            Down::NotAdmitted(refusal) => self.not_admitted(&refusal).map(Some),
            Down::Assignment(form) => {
                let origin = assigned_by(&form);
                let assignment =
                    assignment_from(form, self.attach.place.gate).map_err(|source| {
                        StreamError::Strange {
                            endpoint: endpoint.to_owned(),
                            source,
                        }
                    })?;
                let named: BTreeSet<(ResourceId, Token)> = assignment
                    .items
                    .iter()
                    .map(|item| (item.resource.clone(), item.token))
                    .collect();
                let of = assignment.incarnation;
                self.owed.retain(|resource, (incarnation, token)| {
                    *incarnation != of || named.contains(&(resource.clone(), *token))
                });
                self.orders.send(Order::Assigned(origin, assignment))?;
                Ok(None)
            }
            Down::Membership(membership) => {
                let addresses = self.addresses(&membership);
                self.orders.send(Order::Addresses(addresses))?;
                Ok(None)
            }
            Down::Pong(_) | Down::Newest(_) => Ok(None),
        }
    }

    fn admitted(&mut self, endpoint: &str, admitted: v1::Admitted) -> Result<(), StreamError> {
        let incarnation = Incarnation(admitted.incarnation);
        let timing = self.timing_of(endpoint, admitted.timing.as_ref())?;
        let origin = admitted_by(&admitted);
        let membership = admitted.membership.unwrap_or_default();
        let keys = admitted
            .keys
            .into_iter()
            .filter_map(|key| {
                let secret = <[u8; 32]>::try_from(key.secret).ok()?;
                let generation = u8::try_from(key.generation).ok()?;
                Some(BeatKey::from_parts(generation, secret))
            })
            .collect();
        let admission = Admission {
            node: NodeId(admitted.node_id),
            incarnation,
            membership: membership_from(&membership),
            addresses: self.addresses(&membership),
            keys,
            timing,
            origin,
        };
        self.standing = Standing::Living(incarnation);
        self.orders.send(Order::Begin(admission))?;
        Ok(())
    }

    fn not_admitted(&mut self, refusal: &v1::NotAdmitted) -> Result<Next, StreamError> {
        let wait = Duration::from_millis(refusal.retry_after_ms);
        tracing::warn!(
            node = %self.attach.node,
            reason = refusal.reason,
            message = refusal.message,
            "not admitted"
        );
        // "Not yet" leaves a life alone: its beats say how it stands.
        if refusal.reason == "SessionEnded"
            && let Standing::Living(incarnation) = self.standing
        {
            self.standing = Standing::Busy;
            let origin = ended_by(refusal);
            self.orders.send(Order::Over(incarnation, origin))?;
            // It may find that the life goes on, and would be told the same again at once.
            return Ok(Next::Pause(self.attach.config.timing.beat));
        }
        Ok(Next::Pause(wait.min(self.attach.config.timing.ttl)))
    }

    /// Notes what the lease thread says; returns the report to send, if it is one.
    fn noted(&mut self, notice: Notice) -> Option<v1::AttachRequest> {
        match notice {
            Notice::Idle(probe) => {
                self.standing = Standing::Idle(probe);
                None
            }
            Notice::Stands(incarnation) => {
                if self.standing == Standing::Busy {
                    self.standing = Standing::Living(incarnation);
                }
                None
            }
            Notice::Hindered(hindrances) => {
                self.eyes.heard(hindrances);
                None
            }
            Notice::Retimed(incarnation, generation) => Some(v1::AttachRequest {
                message: Some(Up::Retimed(report_retimed(incarnation, generation))),
            }),
            Notice::Rival(resource, claim) => Some(v1::AttachRequest {
                message: Some(Up::Rival(rival_into(&resource, claim.as_ref()))),
            }),
            Notice::Report(incarnation, output) => {
                let (resource, token) = subject(&output)?;
                if matches!(output, Output::ReportReleased { .. }) && self.owed.len() < OWED_MAX {
                    self.owed.insert(resource.clone(), (incarnation, token));
                }
                Some(v1::AttachRequest {
                    message: Some(self.form(incarnation, &output)?),
                })
            }
        }
    }

    fn form(&self, incarnation: Incarnation, output: &Output) -> Option<Up> {
        match output {
            Output::ReportActive {
                resource,
                token,
                guard,
                address_life,
            } => Some(Up::Active(report_active(
                resource,
                *token,
                incarnation,
                *guard,
                *address_life,
            ))),
            Output::ReportReleased { resource, token } => {
                Some(Up::Released(report_released(resource, *token, incarnation)))
            }
            Output::ReportBegun { resource, token } => {
                Some(Up::Begun(report_begun(resource, *token, incarnation)))
            }
            Output::ReportArmed {
                resource,
                token,
                period,
            } => Some(Up::Armed(report_armed(
                resource,
                *token,
                incarnation,
                *period,
            ))),
            Output::ReportFailed {
                resource,
                token,
                difficulty,
                why,
            } => Some(Up::Failed(report_failed(
                resource,
                *token,
                incarnation,
                *difficulty,
                why,
            ))),
            Output::Do(_) | Output::Idle => None,
        }
    }

    /// Without a stream: what the thread has said meanwhile. Releases are kept, the rest will be repeated.
    fn drain_notices(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            self.noted(notice);
        }
    }

    async fn next_notice(&mut self, within: Duration) {
        if let Ok(Some(notice)) = timeout(within, self.notices.recv()).await {
            self.noted(notice);
        }
    }

    /// Any coordinator relays a release to the leader's log.
    async fn hand_over(&mut self, client: &mut SessionServiceClient<Channel>, which: Owed) {
        let owed: Vec<(ResourceId, (Incarnation, Token))> = self
            .owed
            .iter()
            .filter(|(_, (incarnation, _))| {
                which == Owed::All || self.standing != Standing::Living(*incarnation)
            })
            .map(|(resource, word)| (resource.clone(), *word))
            .collect();
        for (resource, (incarnation, token)) in owed {
            let released = report_released(&resource, token, incarnation);
            let request = v1::ReportRequest {
                report: Some(v1::report_request::Report::Released(released)),
            };
            match timeout(ANSWER_WITHIN, client.report(request)).await {
                Ok(Ok(_)) => {
                    tracing::info!(%resource, %token, "the release was relayed");
                    self.owed.remove(&resource);
                }
                Ok(Err(status)) => {
                    tracing::debug!(%resource, err = chain(&status), "the release was not taken");
                    if is_final(status.code()) {
                        self.owed.remove(&resource);
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Where to beat to: the config's addresses of a node of that name, else the host that the log knows.
    fn addresses(&self, membership: &v1::Membership) -> BeatAddresses {
        let config = &self.attach.config;
        membership
            .voters
            .iter()
            .map(|voter| {
                let configured = config.node(&NodeName(voter.name.clone()));
                let hosts: Vec<IpAddr> = match configured {
                    Some(node) => node.addresses.clone(),
                    None => voter.host.parse().into_iter().collect(),
                };
                let beats = hosts
                    .into_iter()
                    .map(|host| SocketAddr::new(host, config.ports.beat))
                    .collect();
                (NodeId(voter.node_id), beats)
            })
            .collect()
    }
}

/// Whether a refusal of a release is the log's answer, so that asking again changes nothing.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Aborted
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
    )
}
