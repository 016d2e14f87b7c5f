//! `wait`: until something is so, also for an object that does not exist yet.

use super::{caller, objects, output};
use crate::caller::Caller;
use crate::cli::{Form, Global, Wait};
use crate::failure::{Exit, Failure};
use crate::object::{self, Kind, Object};
use crate::output;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Something that an object's status can say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    State(String),
    Owner(String),
    Token(String),
    Leader(bool),
    Voter(bool),
    Deleted,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::State(value) => write!(f, "state={value}"),
            Condition::Owner(value) => write!(f, "owner={value}"),
            Condition::Token(value) => write!(f, "token={value}"),
            Condition::Leader(value) => write!(f, "leader={value}"),
            Condition::Voter(value) => write!(f, "voter={value}"),
            Condition::Deleted => f.write_str("deleted"),
        }
    }
}

impl Condition {
    fn parse(text: &str, kind: Kind) -> Result<Condition, Failure> {
        let usage = || {
            Failure::new(
                Exit::Usage,
                "UnknownCondition",
                format!("`{text}` is no condition of a {}", kind.word()),
                match kind {
                    Kind::VirtualIp => "write state=Active, owner=n1, token=0.12 or deleted",
                    Kind::Node => "write state=Online, leader=true, voter=true or deleted",
                    Kind::FenceDevice | Kind::FenceTopology => "write deleted",
                },
            )
        };
        let flag = |value: &str| value.parse::<bool>().map_err(|_| usage());
        match (kind, text.split_once('=')) {
            (_, None) if text == "deleted" => Ok(Condition::Deleted),
            (Kind::VirtualIp | Kind::Node, Some(("state", value))) => {
                Ok(Condition::State(value.to_owned()))
            }
            (Kind::VirtualIp, Some(("owner", value))) => Ok(Condition::Owner(value.to_owned())),
            (Kind::VirtualIp, Some(("token", value))) => Ok(Condition::Token(value.to_owned())),
            (Kind::Node, Some(("leader", value))) => Ok(Condition::Leader(flag(value)?)),
            (Kind::Node, Some(("voter", value))) => Ok(Condition::Voter(flag(value)?)),
            (_, Some(_) | None) => Err(usage()),
        }
    }

    /// Whether it holds for an object, or for none.
    fn holds(&self, object: Option<&Object>) -> bool {
        match (self, object) {
            (Condition::Deleted, object) => object.is_none(),
            (_, None) => false,
            (Condition::State(wanted), Some(Object::VirtualIp(vip))) => vip
                .status
                .as_ref()
                .is_some_and(|status| status.state.eq_ignore_ascii_case(wanted)),
            (Condition::State(wanted), Some(Object::Node(node, _))) => node
                .status
                .as_ref()
                .is_some_and(|status| status.state.eq_ignore_ascii_case(wanted)),
            (Condition::Owner(wanted), Some(Object::VirtualIp(vip))) => vip
                .status
                .as_ref()
                .is_some_and(|status| status.owner == *wanted),
            (Condition::Token(wanted), Some(Object::VirtualIp(vip))) => vip
                .status
                .as_ref()
                .is_some_and(|status| status.token == *wanted),
            (Condition::Leader(wanted), Some(Object::Node(node, _))) => node
                .status
                .as_ref()
                .is_some_and(|status| status.leader == *wanted),
            (Condition::Voter(wanted), Some(Object::Node(node, _))) => node
                .status
                .as_ref()
                .is_some_and(|status| status.voter == *wanted),
            (
                Condition::State(_)
                | Condition::Owner(_)
                | Condition::Token(_)
                | Condition::Leader(_)
                | Condition::Voter(_),
                Some(
                    Object::Node(..)
                    | Object::VirtualIp(_)
                    | Object::FenceDevice(_)
                    | Object::FenceTopology(_),
                ),
            ) => false,
        }
    }
}

pub(super) async fn run(global: &Global, arguments: &Wait) -> Result<(), Failure> {
    let (kind, name) = object::parse_named(&arguments.subject)?;
    let conditions = arguments
        .conditions
        .iter()
        .map(|text| Condition::parse(text, kind))
        .collect::<Result<Vec<_>, _>>()?;
    let mut caller = caller(global)?;
    caller.renew(global.timeout.unwrap_or(TIMEOUT));
    if conditions.contains(&Condition::Deleted) {
        until_deleted(&mut caller, kind, &name).await?;
        return Ok(());
    }
    let object = until(&mut caller, kind, &name, &conditions).await?;
    output::print(&match output(global).form {
        Form::Table | Form::Wide => format!("{} {}\n", object.reference(), state(&object)),
        Form::Json | Form::Yaml | Form::Name => object::render_one(&object, output(global)),
    });
    Ok(())
}

/// Polls until every condition holds; the caller's deadline ends it.
pub(super) async fn until(
    caller: &mut Caller,
    kind: Kind,
    name: &str,
    conditions: &[Condition],
) -> Result<Object, Failure> {
    match poll(caller, kind, name, conditions).await? {
        Some(object) => Ok(object),
        None => Err(Failure::new(
            Exit::NotFound,
            "NotFound",
            format!("{}/{name} does not exist", kind.word()),
            "",
        )),
    }
}

async fn until_deleted(caller: &mut Caller, kind: Kind, name: &str) -> Result<(), Failure> {
    poll(caller, kind, name, &[Condition::Deleted])
        .await
        .map(|_| ())
}

async fn poll(
    caller: &mut Caller,
    kind: Kind,
    name: &str,
    conditions: &[Condition],
) -> Result<Option<Object>, Failure> {
    let end = caller.deadline;
    let mut seen: Option<String> = None;
    loop {
        let object = match objects::get(caller, kind, name).await {
            Ok(object) => Some(object),
            Err(failure) if failure.exit == Exit::NotFound => None,
            Err(failure) => match failure.exit {
                // The cluster may be electing, starting or unreachable for a moment: that is what is waited for.
                Exit::NoQuorum | Exit::Unreachable | Exit::Timeout if Instant::now() < end => {
                    seen = Some(failure.what);
                    pause(end).await;
                    continue;
                }
                Exit::NoQuorum | Exit::Unreachable | Exit::Timeout => {
                    // The try that the deadline cut short says less than the one before it.
                    let last = seen.unwrap_or(failure.what);
                    return Err(late(caller, conditions, &last));
                }
                Exit::Failed
                | Exit::Usage
                | Exit::NotFound
                | Exit::Conflict
                | Exit::Denied
                | Exit::Unsafe
                | Exit::OutcomeUnknown
                | Exit::Interrupted => return Err(failure),
            },
        };
        if conditions
            .iter()
            .all(|condition| condition.holds(object.as_ref()))
        {
            return Ok(object);
        }
        let now = match &object {
            Some(object) => format!("{} {}", object.reference(), state(object)),
            None => format!("{}/{name} does not exist", kind.word()),
        };
        if Instant::now() >= end {
            return Err(late(caller, conditions, &now));
        }
        seen = Some(now);
        pause(end).await;
    }
}

async fn pause(end: Instant) {
    tokio::time::sleep_until((Instant::now() + POLL).min(end)).await;
}

fn late(caller: &Caller, conditions: &[Condition], seen: &str) -> Failure {
    let wanted: Vec<String> = conditions.iter().map(Condition::to_string).collect();
    Failure::new(
        Exit::Timeout,
        "Timeout",
        format!(
            "{} did not come to hold within {} ms",
            wanted.join(", "),
            caller.limit().as_millis()
        ),
        "ask `haftctl why` for the reason, or wait longer with --timeout",
    )
    .because(format!("last seen: {seen}"))
}

fn state(object: &Object) -> String {
    match object {
        Object::Node(node, _) => {
            let status = node.status.clone().unwrap_or_default();
            format!("is {}", status.state)
        }
        Object::VirtualIp(vip) => {
            let status = vip.status.clone().unwrap_or_default();
            if status.owner.is_empty() {
                format!("is {}", status.state)
            } else {
                format!("is {} on {}", status.state, status.owner)
            }
        }
        Object::FenceDevice(_) | Object::FenceTopology(_) => "exists".to_owned(),
    }
}
