//! Why a command failed: an exit code, a machine reason, what is wrong, why, and what to type next.
//!
//! The codes are those of docs/cli.md and never change their meaning.

use haft_api::status;
use std::fmt;
use tonic::{Code, Status};

/// Exit codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Failed,
    Usage,
    NotFound,
    Conflict,
    Denied,
    NoQuorum,
    Unsafe,
    Timeout,
    Unreachable,
    OutcomeUnknown,
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Conflict => 4,
            Exit::Denied => 5,
            Exit::NoQuorum => 6,
            Exit::Unsafe => 7,
            Exit::Timeout => 8,
            Exit::Unreachable => 9,
            Exit::OutcomeUnknown => 75,
            Exit::Interrupted => 130,
        }
    }

    /// What helps where whoever refused has said nothing of it: no failure leaves a user without a next step.
    fn remedy(self) -> &'static str {
        match self {
            Exit::Failed => "try again; journalctl -u haftd on the coordinators says more",
            Exit::Usage => "correct what was asked; haftctl VERB --help says what can be typed",
            Exit::NotFound => "haftctl get KIND lists what there is",
            Exit::Conflict => {
                "look at it as it stands now (haftctl get), then repeat what is still wanted"
            }
            Exit::Denied => "use an administrator's credentials: --context FILE",
            Exit::NoQuorum => {
                "start the missing coordinators; haftctl cluster status says which answer"
            }
            Exit::Unsafe => {
                "haftctl why SUBJECT and haftctl cluster status say what has to change first"
            }
            Exit::Timeout => "wait longer with --timeout",
            Exit::Unreachable => "check that haftd runs on the coordinators, and the network",
            Exit::OutcomeUnknown => {
                "look with haftctl get and haftctl events, then repeat if needed"
            }
            Exit::Interrupted => "look with haftctl get and haftctl events what has come of it",
        }
    }
}

/// A failed command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Stable machine reason in CamelCase.
    pub(crate) reason: String,
    /// One sentence.
    pub(crate) what: String,
    /// Evidence, one line each.
    pub(crate) why: Vec<String>,
    /// What to type or do; never empty.
    pub(crate) fix: String,
}

impl Failure {
    pub(crate) fn new(
        exit: Exit,
        reason: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let said = fix.into();
        let fix = match said.is_empty() {
            true => exit.remedy().to_owned(),
            false => said,
        };
        Self {
            exit,
            reason: reason.to_owned(),
            what: what.into(),
            why: Vec::new(),
            fix,
        }
    }

    /// Adds a line of evidence.
    pub(crate) fn because(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// A refusal by the cluster.
    pub(crate) fn refused(status: &Status) -> Self {
        let reason = status::reason(status);
        let exit = match reason {
            Some(status::NO_QUORUM) => Exit::NoQuorum,
            Some(status::OUTCOME_UNKNOWN) => Exit::OutcomeUnknown,
            Some(_) | None => exit_of(status.code()),
        };
        let fallback = format!("{:?}", status.code());
        let what = match status.message() {
            "" => "the coordinator gave no reason".to_owned(),
            message => message.to_owned(),
        };
        Self::new(
            exit,
            reason.unwrap_or(&fallback),
            what,
            status::fix(status).unwrap_or_default(),
        )
    }
}

fn exit_of(code: Code) -> Exit {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::AlreadyExists | Code::Aborted => Exit::Conflict,
        Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
        Code::FailedPrecondition => Exit::Unsafe,
        Code::DeadlineExceeded => Exit::Timeout,
        Code::Unavailable => Exit::Unreachable,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::ResourceExhausted
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => Exit::Failed,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.reason, self.what)?;
        for line in &self.why {
            write!(f, "\n  why: {}", line.replace('\n', "\n       "))?;
        }
        write!(f, "\n  fix: {}", self.fix.replace('\n', "\n       "))
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
