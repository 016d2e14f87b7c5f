//! `fence_haft_sbd`: reads argv or stdin, runs one action or command, ends with the contract's exit code.
//!
//! Everything it does is in the library beside it; here are only the process's edges: which of its two
//! halves this process is, and what goes in and out.

use std::io::{Read as _, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;

use haft_fence_protocol::agent::input::STDIN_MAX;
use haft_fence_protocol::agent::{self, Input, InputError, Report};
use haft_fence_sbd::admin::{self, Verb};
use haft_fence_sbd::run::{self, Task};
use haft_fence_sbd::{front, spec};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match arguments.split_first() {
        Some((first, rest)) if first == front::DISK_SIDE => disk_side(rest),
        Some(_) | None => front_side(&arguments),
    }
}

/// The half that the caller started: says what needs no disk, and passes the rest on.
fn front_side(arguments: &[String]) -> ExitCode {
    let (report, bytes) = match verb(arguments) {
        Some(_) => (None, Vec::new()),
        None => {
            let bytes = if arguments.is_empty() {
                read_stdin()
            } else {
                Ok(Vec::new())
            };
            match bytes {
                Ok(bytes) => (without_disks(arguments, &bytes), bytes),
                Err(error) => (Some(Report::failed(&error.to_string())), Vec::new()),
            }
        }
    };
    let report =
        report.unwrap_or_else(|| front::through_disk_side(arguments, &bytes, run::ACTION_MAX));
    // A closed pipe at the other end changes nothing about what was done to the machine.
    let _ = stdout().write_all(report.stdout.as_bytes());
    let _ = stdout().flush();
    if !report.stderr.is_empty() {
        let _ = writeln!(stderr(), "{}", report.stderr);
    }
    ExitCode::from(report.exit)
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
            let bytes = if arguments.is_empty() {
                read_stdin()
            } else {
                Ok(Vec::new())
            };
            match bytes.and_then(|bytes| input(arguments, &bytes)) {
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
    match input(arguments, bytes) {
        Ok(input) => match run::prepare(&input) {
            Task::Done(report) => Some(report),
            Task::Disks(..) => None,
        },
        Err(error) => Some(Report::failed(&error.to_string())),
    }
}

fn input(arguments: &[String], bytes: &[u8]) -> Result<Input, InputError> {
    if arguments.is_empty() {
        agent::read_stdin(&spec::AGENT, bytes)
    } else {
        agent::read_argv(&spec::AGENT, arguments)
    }
}

fn read_stdin() -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that too much is noticed and not cut.
    let limit = u64::try_from(STDIN_MAX + 1).unwrap_or(u64::MAX);
    match stdin().lock().take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(InputError::NotText),
    }
}
