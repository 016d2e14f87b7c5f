//! `haftd`: the coordinator. `haftd --config FILE` serves; `haftd check FILE` only validates.
//!
//! Command line and logging only; the rest is in the library. Exit codes are in docs/endings.md.

use clap::{Parser, Subcommand};
use haft_config::{Config, ending};
use haft_coordinator::daemon::{self, DaemonError};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Usage error, as in docs/cli.md.
const EXIT_USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "haftd",
    version,
    about = "haft's coordinator: replicated decisions, API, fencing"
)]
struct Arguments {
    /// The one configuration file, the same on every node.
    #[arg(long, default_value = "/etc/haft/haft.yaml")]
    config: PathBuf,
    /// This node's name; by default the host's name.
    #[arg(long)]
    node: Option<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Validates a configuration file and prints every problem with its place, reason and fix.
    Check {
        /// The file.
        file: PathBuf,
    },
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command line's own output"
)]
fn main() -> ExitCode {
    haft_config::abort_on_panic::install();
    haft_config::memory_image::forbid();
    let arguments = Arguments::parse();
    if let Some(Verb::Check { file }) = arguments.verb {
        return match Config::load(&file) {
            Ok(config) => {
                println!(
                    "{}: ok, cluster {}, {} nodes",
                    file.display(),
                    config.cluster_name,
                    config.nodes.len()
                );
                ExitCode::SUCCESS
            }
            Err(problems) => {
                eprintln!("{problems}");
                ExitCode::from(EXIT_USAGE)
            }
        };
    }
    let filter = EnvFilter::try_from_env("HAFT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,openraft=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let local = config.local(arguments.node.as_deref()).cloned();
    let local = local.map_err(|source| DaemonError::Node {
        file: arguments.config,
        source,
    });
    match local.and_then(|local| daemon::run(config, local)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", ending::told(&error, &error.fix()));
            ExitCode::from(error.exit_code())
        }
    }
}
