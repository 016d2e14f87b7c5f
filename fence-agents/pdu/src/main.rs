//! `fence_haft_pdu`: reads argv or stdin, runs one action, ends with the contract's exit code.
//!
//! Everything it does is in the library beside it; here are only the process's edges.

use std::io::{Read as _, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;

use haft_fence_pdu::{run, spec};
use haft_fence_protocol::agent::input::STDIN_MAX;
use haft_fence_protocol::agent::{self, Report};

fn main() -> ExitCode {
    agent::forbid_core_dumps();
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let input = if arguments.is_empty() {
        let mut bytes = Vec::new();
        // One byte more than allowed, so that too much is noticed and not cut.
        let limit = u64::try_from(STDIN_MAX + 1).unwrap_or(u64::MAX);
        match stdin().lock().take(limit).read_to_end(&mut bytes) {
            Ok(_) => agent::read_stdin(&spec::AGENT, &bytes),
            Err(_) => Err(agent::InputError::NotText),
        }
    } else {
        agent::read_argv(&spec::AGENT, &arguments)
    };
    let report = match input {
        Ok(input) => run::run(&input),
        Err(error) => Report::failed(&error.to_string()),
    };
    // A closed pipe at the other end changes nothing about what was done to the machine.
    let _ = stdout().write_all(report.stdout.as_bytes());
    let _ = stdout().flush();
    if !report.stderr.is_empty() {
        let _ = writeln!(stderr(), "{}", report.stderr);
    }
    ExitCode::from(report.exit)
}
