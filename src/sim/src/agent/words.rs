//! What a keeper's reports become in the log. Says nothing to anybody.

use haft_engine::command::Command;
use haft_engine::ids::{Incarnation, ResourceId, Token};
use haft_engine::keeper::Output;

/// The command of a report, and what it is about; nothing for what is no report.
pub(super) fn command_of(
    output: Output,
    incarnation: Incarnation,
) -> Option<((ResourceId, Token), Command)> {
    Some(match output {
        Output::ReportActive {
            resource,
            token,
            guard,
            address_life,
        } => {
            let command = Command::Activated {
                resource: resource.clone(),
                token,
                incarnation,
                guard,
                address_life,
            };
            ((resource, token), command)
        }
        Output::ReportReleased { resource, token } => {
            let command = Command::Released {
                resource: resource.clone(),
                token,
                incarnation,
            };
            ((resource, token), command)
        }
        Output::ReportBegun { resource, token } => {
            let command = Command::Begun {
                resource: resource.clone(),
                token,
                incarnation,
            };
            ((resource, token), command)
        }
        Output::ReportArmed {
            resource,
            token,
            period,
        } => {
            let command = Command::WatchdogArmed {
                resource: resource.clone(),
                token,
                incarnation,
                period,
            };
            ((resource, token), command)
        }
        Output::ReportFailed {
            resource,
            token,
            difficulty,
            why,
        } => {
            let command = Command::Troubled {
                resource: resource.clone(),
                token,
                incarnation,
                difficulty,
                why,
            };
            ((resource, token), command)
        }
        Output::Do(_) | Output::Idle => return None,
    })
}
