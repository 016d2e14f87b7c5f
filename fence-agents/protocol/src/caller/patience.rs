//! Time and tries of one action: how long each may take, and how often it is begun.
//!
//! Pacemaker has these per device and action (`pcmk_status_timeout`, `pcmk_status_retries`). Only actions
//! that may be repeated without harm are: an `off` that seems to have failed may have worked, so the next
//! question is `status` ([`adopt_off`](super::adopt_off)), never `off` again.

use std::time::Duration;

use super::deadline::Deadline;
use super::outcome::{Outcome, Report};
use super::run::{Call, run};
use super::turn::DeviceTurn;
use crate::Action;

/// Time and tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Time of one try.
    pub each: Duration,
    /// How often the action is begun at most. Zero counts as one.
    pub tries: u32,
}

impl Default for Patience {
    /// Pacemaker's: 60 s, two tries (fenced_commands.c).
    fn default() -> Self {
        Self {
            each: Duration::from_secs(60),
            tries: 2,
        }
    }
}

/// Runs an action, and again when it failed or its time was over, within the call's own deadline. The
/// answer is that of the last try.
pub async fn run_patiently(turn: &mut DeviceTurn, call: &Call<'_>, patience: Patience) -> Report {
    let tries = match call.action {
        Action::Off | Action::Reboot => 1,
        Action::On
        | Action::Status
        | Action::Monitor
        | Action::List
        | Action::ListStatus
        | Action::Metadata
        | Action::ValidateAll => patience.tries.max(1),
    };
    let mut tried = 0;
    loop {
        tried += 1;
        let deadline = call.deadline.min(Deadline::within(patience.each));
        let report = run(turn, &Call { deadline, ..*call }).await;
        let again = match report.outcome {
            Outcome::Failed { .. } | Outcome::TimedOut => true,
            // Nothing will have changed about a file that cannot be executed.
            Outcome::NotRunnable { .. } | Outcome::On | Outcome::Off | Outcome::Done => false,
        };
        if !again || tried >= tries || call.deadline.has_passed() {
            return report;
        }
    }
}
