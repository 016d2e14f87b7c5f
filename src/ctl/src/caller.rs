//! One call to the cluster: which coordinator to ask, when to ask the next, and when to give up.
//!
//! The leader is found by asking: a coordinator that is not the leader says who is. A mutation carries a
//! request id, so that asking again has one effect. Knows no verbs.

use crate::failure::{Exit, Failure, chain};
use haft_api::client::{self, Credentials};
use haft_api::status;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// TCP and TLS together; a stopped coordinator accepts the first and never answers the second.
const DIAL_LIMIT: Duration = Duration::from_secs(1);
/// Least time one coordinator gets for an answer before the next is asked.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Between rounds over all coordinators, while there is no leader.
const PAUSE: Duration = Duration::from_millis(100);
/// Rounds in which nobody could be reached before that is the answer.
const DEAF_ROUNDS: u32 = 3;

/// Whether a lost answer leaves it open if something has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    Read,
    Mutation,
}

/// Asks coordinators in turn until one answers or the time is over.
pub(crate) struct Caller {
    endpoints: Vec<String>,
    credentials: Credentials,
    pub(crate) deadline: Instant,
    limit: Duration,
    open: Option<(String, Channel)>,
}

/// What was heard while no answer came.
#[derive(Default)]
struct Heard {
    leaderless: bool,
    maybe_done: bool,
    reached: bool,
    lines: Vec<String>,
}

/// What to do after one try.
enum Turn<T> {
    Answer(Result<T, Failure>),
    Hint(String),
    Next,
    /// Not even a connection.
    Deaf,
}

impl Caller {
    pub(crate) fn new(endpoints: Vec<String>, credentials: Credentials, limit: Duration) -> Self {
        Self {
            endpoints,
            credentials,
            deadline: Instant::now() + limit,
            limit,
            open: None,
        }
    }

    /// The time that the user gave.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Starts the time again, for the next step of a command.
    pub(crate) fn renew(&mut self, limit: Duration) {
        self.limit = limit;
        self.deadline = Instant::now() + limit;
    }

    /// Makes `attempt` on one coordinator after the other until one answers for good.
    pub(crate) async fn call<T, F>(&mut self, effect: Effect, attempt: F) -> Result<T, Failure>
    where
        F: AsyncFn(Channel) -> Result<Response<T>, Status>,
    {
        let mut heard = Heard::default();
        let mut deaf = 0;
        loop {
            if Instant::now() >= self.deadline {
                return Err(self.over(&heard));
            }
            heard.lines.clear();
            let mut answered = false;
            let mut order = self.order();
            let mut tried = Vec::new();
            while let Some(endpoint) = order.pop() {
                if Instant::now() >= self.deadline && !tried.is_empty() {
                    return Err(self.over(&heard));
                }
                tried.push(endpoint.clone());
                match self.turn(&endpoint, effect, &attempt, &mut heard).await {
                    Turn::Answer(answer) => return answer,
                    Turn::Hint(leader) => {
                        answered = true;
                        if !tried.contains(&leader) {
                            order.push(leader);
                        }
                    }
                    Turn::Next => answered = true,
                    Turn::Deaf => {}
                }
            }
            deaf = if answered { 0 } else { deaf + 1 };
            if deaf >= DEAF_ROUNDS {
                return Err(self.over(&heard));
            }
            let pause_end = (Instant::now() + PAUSE).min(self.deadline);
            tokio::time::sleep_until(pause_end).await;
        }
    }

    /// Endpoints, the one that answered last time at the end, where the next is taken from.
    fn order(&self) -> Vec<String> {
        let mut order: Vec<String> = self.endpoints.iter().rev().cloned().collect();
        if let Some((last, _)) = &self.open {
            order.retain(|endpoint| endpoint != last);
            order.push(last.clone());
        }
        order
    }

    async fn turn<T, F>(
        &mut self,
        endpoint: &str,
        effect: Effect,
        attempt: &F,
        heard: &mut Heard,
    ) -> Turn<T>
    where
        F: AsyncFn(Channel) -> Result<Response<T>, Status>,
    {
        let channel = match self.dial(endpoint).await {
            Ok(channel) => channel,
            Err(why) => {
                heard.lines.push(format!("{endpoint}: {why}"));
                return Turn::Deaf;
            }
        };
        heard.reached = true;
        let limit = ANSWER_LIMIT.max(self.limit / 3);
        let until = self.deadline.min(Instant::now() + limit);
        let status = match tokio::time::timeout_at(until, attempt(channel)).await {
            Ok(Ok(response)) => return Turn::Answer(Ok(response.into_inner())),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer in time"),
        };
        heard
            .lines
            .push(format!("{endpoint}: {}", status.message()));
        match status::reason(&status) {
            Some(status::NOT_LEADER) => {
                heard.leaderless = true;
                return status::leader(&status)
                    .map_or(Turn::Next, |leader| Turn::Hint(leader.to_owned()));
            }
            Some(status::NO_QUORUM) => {
                heard.leaderless = true;
                return Turn::Next;
            }
            Some(status::OUTCOME_UNKNOWN) => {
                heard.maybe_done = true;
                return Turn::Next;
            }
            Some(_) => return Turn::Answer(Err(Failure::refused(&status))),
            None => {}
        }
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                self.open = None;
                heard.maybe_done |= effect == Effect::Mutation;
                Turn::Next
            }
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Turn::Answer(Err(Failure::refused(&status))),
        }
    }

    async fn dial(&mut self, endpoint: &str) -> Result<Channel, String> {
        if let Some((open, channel)) = &self.open
            && open == endpoint
        {
            return Ok(channel.clone());
        }
        let until = self.deadline.min(Instant::now() + DIAL_LIMIT);
        match tokio::time::timeout_at(until, client::dial(endpoint, &self.credentials)).await {
            Ok(Ok(channel)) => {
                self.open = Some((endpoint.to_owned(), channel.clone()));
                Ok(channel)
            }
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err("no connection in time".to_owned()),
        }
    }

    fn over(&self, heard: &Heard) -> Failure {
        let failure = if heard.maybe_done {
            Failure::new(
                Exit::OutcomeUnknown,
                "OutcomeUnknown",
                "no answer came back, so the change may have been made, may still be made, or not",
                "look with `haftctl get` and `haftctl events`, then repeat the command if it was not",
            )
        } else if heard.leaderless {
            Failure::new(
                Exit::NoQuorum,
                "NoQuorum",
                format!(
                    "no coordinator leads a majority after {} ms",
                    self.limit.as_millis()
                ),
                "see which coordinators answer with `haftctl cluster status`, start the others, or wait longer with --timeout",
            )
        } else if heard.reached {
            Failure::new(
                Exit::Timeout,
                "Timeout",
                format!("no answer within {} ms", self.limit.as_millis()),
                "wait longer with --timeout",
            )
        } else {
            Failure::new(
                Exit::Unreachable,
                "Unreachable",
                "no coordinator could be reached",
                "check that haftd runs, the endpoints in the context file, and the network; --endpoint HOST:PORT asks another one",
            )
        };
        heard
            .lines
            .iter()
            .fold(failure, |failure, line| failure.because(line.clone()))
    }
}
