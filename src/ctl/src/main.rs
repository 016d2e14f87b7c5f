//! haftctl: the command line of a haft cluster.
//!
//! Data goes to stdout, talk to stderr, and the exit code says what happened (docs/cli.md). Links neither
//! Raft nor a database, and decides nothing: the cluster does.

mod caller;
mod cli;
mod command;
mod context;
mod failure;
mod object;
mod output;
mod pki;
mod token;

use clap::Parser;
use failure::{Exit, Failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    haft_config::memory_image::forbid();
    let mut cli = cli::Cli::parse();
    cli.global.fill_from_environment();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return report(&Failure::new(
                Exit::Failed,
                "NoRuntime",
                format!("the system gives no event loop: {error}"),
                "raise the limit of open files",
            ));
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = command::run(cli) => outcome,
            _ = tokio::signal::ctrl_c() => Err(interrupted()),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn interrupted() -> Failure {
    Failure::new(
        Exit::Interrupted,
        "Interrupted",
        "interrupted; what was asked of the cluster goes on",
        "see `haftctl events`",
    )
}

fn report(failure: &Failure) -> ExitCode {
    output::note_severe(&failure.to_string());
    ExitCode::from(failure.exit.code())
}
