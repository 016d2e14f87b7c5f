//! What is known after an agent has run: exit code and words, weighed together.
//!
//! Pure. The contract gives meaning to exit codes, but two of its traps make a bare code unsafe. A
//! script interpreter that cannot start exits 2, which for `status` would read as "off"; and an agent
//! that missed its action line reboots and exits 0. So the agent's words may contradict the code, and
//! then nothing is known. Whether a failure may be retried is decided elsewhere.

use std::fmt;
use std::time::Duration;

use crate::Action;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was ended by this signal, not by us.
    Signal(i32),
}

/// What one action came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `status` says that the power is on.
    On,
    /// `status` says that the power is off.
    Off,
    /// The action succeeded by the agent's own account.
    Done,
    /// The agent ended by itself and did not succeed, or contradicted itself.
    Failed {
        /// How it ended.
        exit: Exit,
        /// For people; secrets taken out.
        reason: String,
    },
    /// The deadline came: the process group was killed. The device's state is not known.
    TimedOut,
    /// The agent could not be started at all; the device was not touched.
    NotRunnable {
        /// For people.
        why: String,
    },
}

/// An outcome with what the agent said. Secrets are taken out of both texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What is known.
    pub outcome: Outcome,
    /// The first [`CAPTURE_MAX`](super::run::CAPTURE_MAX) bytes of stdout.
    pub stdout: String,
    /// The same of stderr.
    pub stderr: String,
    /// How long the action took.
    pub took: Duration,
}

impl fmt::Display for Exit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit {code}"),
            Self::Signal(signal) => write!(out, "signal {signal}"),
        }
    }
}

/// Weighs exit and words of an action that ended by itself. The words may be anything.
pub fn interpret(action: Action, exit: Exit, stdout: &str, stderr: &str) -> Outcome {
    let failed = |reason: String| Outcome::Failed { exit, reason };
    if let Some(other) = another_verb(action, stdout) {
        return failed(format!(
            "asked for {action}, but the agent reports '{other}'"
        ));
    }
    match (action, exit) {
        (Action::Status, Exit::Code(0)) if says(stdout, "status: off") => {
            failed("the agent says off, but its exit code says on".to_owned())
        }
        (Action::Status, Exit::Code(0)) => Outcome::On,
        (Action::Status, Exit::Code(2)) => match off_is_believable(stdout, stderr) {
            Believable::Yes => Outcome::Off,
            Believable::No => failed(readable_reason(
                stderr,
                "exit code 2 says off, but nothing else does",
            )),
        },
        // Reachable, and the one machine behind it is off.
        (Action::Monitor, Exit::Code(0 | 2)) => Outcome::Done,
        (_, Exit::Code(0)) => Outcome::Done,
        (_, Exit::Code(_) | Exit::Signal(_)) => {
            failed(readable_reason(stderr, "the agent gave no reason"))
        }
    }
}

/// What the field's library says after it has done something (lib/fencing.py, fence_action), and the one
/// action after which it may say so. An agent that missed its action line reboots and exits 0.
const VERBS: [(&str, Action); 5] = [
    ("success: rebooted", Action::Reboot),
    ("success: powered off", Action::Off),
    ("success: already off", Action::Off),
    ("success: powered on", Action::On),
    ("success: already on", Action::On),
];

/// A report of something else than what was asked for.
fn another_verb(asked: Action, stdout: &str) -> Option<&'static str> {
    VERBS
        .into_iter()
        .find(|(words, action)| *action != asked && says(stdout, words))
        .map(|(words, _)| words)
}

/// Whether the agent reports in words that the machine is off after `off`.
pub(crate) fn says_off(stdout: &str) -> bool {
    says(stdout, "success: powered off") || says(stdout, "success: already off")
}

/// Whether the agent reports that it did something to make the machine go off. `Already OFF` is not
/// that: `fence_sbd` says so of a pill that was written an instant ago.
pub(crate) fn says_made_off(stdout: &str) -> bool {
    says(stdout, "success: powered off")
}

/// Whether the agent reports that it waited for off in vain: the device itself says "on".
pub(crate) fn says_still_on(stderr: &str) -> bool {
    says(stderr, "timed out waiting to power off")
}

enum Believable {
    Yes,
    No,
}

fn off_is_believable(stdout: &str, stderr: &str) -> Believable {
    let silent = stdout.trim().is_empty() && stderr.trim().is_empty();
    if silent || (says(stdout, "off") && !says(stdout, "status: on")) {
        Believable::Yes
    } else {
        Believable::No
    }
}

fn says(text: &str, words: &str) -> bool {
    text.to_ascii_lowercase().contains(words)
}

/// Longest reason kept, in characters: it goes into log entries.
const REASON_MAX: usize = 300;

/// The last line of stderr that says something, without log prefixes.
fn readable_reason(stderr: &str, otherwise: &str) -> String {
    let line = stderr
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.to_ascii_lowercase().contains("'-h' for usage"));
    let Some(line) = line else {
        return otherwise.to_owned();
    };
    // The field's library writes "2026-01-01 00:00:00,000 ERROR: text".
    let text = line.split_once("ERROR: ").map_or(line, |(_, text)| text);
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(REASON_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(code: i32, stdout: &str, stderr: &str) -> Outcome {
        interpret(Action::Status, Exit::Code(code), stdout, stderr)
    }

    #[test]
    fn only_exit_two_with_matching_words_reads_as_off() {
        assert_eq!(status(2, "Status: OFF\n", ""), Outcome::Off);
        assert_eq!(status(2, "", ""), Outcome::Off);
        let broken = status(2, "", "python3: can't open file '/usr/sbin/fence_x'\n");
        assert!(matches!(broken, Outcome::Failed { .. }), "{broken:?}");
        assert!(matches!(
            status(2, "Status: ON\n", ""),
            Outcome::Failed { .. }
        ));
        assert!(matches!(
            status(2, "Success: Rebooted\n", ""),
            Outcome::Failed { .. }
        ));
    }

    #[test]
    fn every_other_ending_of_status_is_never_off() {
        assert_eq!(status(0, "Status: ON\n", ""), Outcome::On);
        assert!(matches!(
            status(0, "Status: OFF\n", ""),
            Outcome::Failed { .. }
        ));
        for code in [1, 3, 5, 126, 127, 255, -1] {
            assert!(
                matches!(status(code, "Status: OFF\n", ""), Outcome::Failed { .. }),
                "{code}"
            );
        }
        for signal in [9, 11, 15] {
            let outcome = interpret(Action::Status, Exit::Signal(signal), "Status: OFF\n", "");
            assert!(matches!(outcome, Outcome::Failed { .. }));
        }
    }

    #[test]
    fn an_off_that_reports_a_reboot_failed() {
        let outcome = interpret(Action::Off, Exit::Code(0), "Success: Rebooted\n", "");
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
        let outcome = interpret(Action::Off, Exit::Code(0), "Success: Powered ON\n", "");
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
        assert_eq!(interpret(Action::Off, Exit::Code(0), "", ""), Outcome::Done);
    }

    #[test]
    fn a_report_of_another_verb_is_a_failure_whatever_was_asked() {
        for (words, verb) in VERBS {
            for action in Action::ALL {
                let outcome = interpret(action, Exit::Code(0), &format!("{words}\n"), "");
                let contradicts =
                    matches!(&outcome, Outcome::Failed { reason, .. } if reason.contains(words));
                assert_eq!(contradicts, action != verb, "{action} {words}: {outcome:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_words_and_no_exit_make_off_of_anything_but_status_two(
            stdout in "(Status: |ON|OFF|on|off|Success: |Rebooted|Powered |Already |\\n|\u{0}|é| ){0,12}",
            stderr in "(ERROR: |timed out|off|\\n|\u{1b}){0,6}",
            code in -2i32..260,
        ) {
            for action in Action::ALL {
                let outcome = interpret(action, Exit::Code(code), &stdout, &stderr);
                if outcome == Outcome::Off {
                    prop_assert_eq!((action, code), (Action::Status, 2));
                }
                if outcome == Outcome::On {
                    prop_assert_eq!((action, code), (Action::Status, 0));
                }
                if let Outcome::Failed { reason, .. } = outcome {
                    prop_assert!(reason.chars().count() <= REASON_MAX && !reason.chars().any(char::is_control));
                }
            }
        }
    }

    #[test]
    fn monitor_takes_reachable_but_off_as_done() {
        assert_eq!(
            interpret(Action::Monitor, Exit::Code(2), "", ""),
            Outcome::Done
        );
        assert!(matches!(
            interpret(Action::Monitor, Exit::Code(1), "", ""),
            Outcome::Failed { .. }
        ));
    }

    #[test]
    fn the_reason_is_the_last_line_that_says_something() {
        let stderr = "2026-01-01 10:00:00,123 ERROR: Unable to connect/login to fencing device\n\n\
                      2026-01-01 10:00:00,124 ERROR: Please use '-h' for usage\n\n";
        let Outcome::Failed { reason, exit } = interpret(Action::Off, Exit::Code(1), "", stderr)
        else {
            panic!("must have failed");
        };
        assert_eq!(reason, "Unable to connect/login to fencing device");
        assert_eq!(exit.to_string(), "exit 1");
    }

    #[test]
    fn a_reason_is_bounded_and_has_no_control_characters() {
        let stderr = format!("\u{1b}[31m{}", "x".repeat(9000));
        let Outcome::Failed { reason, .. } = interpret(Action::On, Exit::Code(1), "", &stderr)
        else {
            panic!("must have failed");
        };
        assert_eq!(reason.chars().count(), REASON_MAX);
        assert!(!reason.contains('\u{1b}'));
    }
}
