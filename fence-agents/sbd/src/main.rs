//! `fence_haft_sbd`: reads argv or stdin, runs one action or command, ends with the contract's exit code.
//!
//! Everything it does is in the library beside it; here are only the process's edges: which of its two
//! halves this process is, and what goes in and out.

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use haft_fence_protocol::agent::{Report, edge};
use haft_fence_sbd::admin::{self, Verb};
use haft_fence_sbd::run::{self, Task};
use haft_fence_sbd::{front, spec};

fn main() -> ExitCode {
    let arguments = edge::arguments();
    match arguments.split_first() {
        Some((first, rest)) if first == front::DISK_SIDE => disk_side(rest),
        Some(_) | None => front_side(&arguments),
    }
}

/// The half that the caller started: says what needs no disk, and passes the rest on.
fn front_side(arguments: &[String]) -> ExitCode {
    let (report, bytes) = match verb(arguments) {
        Some(_) => (None, Vec::new()),
        None => match edge::parameters(arguments) {
            Ok(bytes) => (without_disks(arguments, &bytes), bytes),
            Err(error) => (Some(Report::failed(&error.to_string())), Vec::new()),
        },
    };
    let report =
        report.unwrap_or_else(|| front::through_disk_side(arguments, &bytes, run::ACTION_MAX));
    edge::finish(&report)
}

/// The half that touches the disks.
fn disk_side(words: &[String]) -> ExitCode {
    let Some((front, arguments)) = words.split_first() else {
        return ExitCode::FAILURE;
    };
    let report = match (front::die_with_front(front), verb(arguments)) {
        (Err(why), _) => Report::failed(&why),
        (Ok(()), Some(verb)) => admin::run(verb, &arguments[1..]),
        (Ok(()), None) => {
            let input = edge::parameters(arguments)
                .and_then(|bytes| edge::input(&spec::AGENT, arguments, &bytes));
            match input {
                Ok(input) => match run::prepare(&input) {
                    Task::Done(report) => report,
                    Task::Disks(action, settings) => run::carry_out(&input, action, &settings),
                },
                Err(error) => Report::failed(&error.to_string()),
            }
        }
    };
    let _ = stdout().write_all(&front::send(&report));
    let _ = stdout().flush();
    ExitCode::SUCCESS
}

fn verb(arguments: &[String]) -> Option<Verb> {
    Verb::from_word(arguments.first()?)
}

fn without_disks(arguments: &[String], bytes: &[u8]) -> Option<Report> {
    match edge::input(&spec::AGENT, arguments, bytes) {
        Ok(input) => match run::prepare(&input) {
            Task::Done(report) => Some(report),
            Task::Disks(..) => None,
        },
        Err(error) => Some(Report::failed(&error.to_string())),
    }
}
