//! haft-agent: the process that holds a node's session and touches its machine.
//!
//! Parses the command line and hands over to the library. Exit codes: 0 stopped as asked, 1 could not run,
//! 2 wrong command line or config, 3 refused for good; docs/endings.md has the table.

use clap::{Parser, Subcommand};
use haft_agent::daemon::{Options, RunError, run};
use haft_agent::dismantle::{DismantleError, dismantle};
use haft_agent::log::{LogForm, start};
use haft_config::ending;
use std::path::PathBuf;
use std::process::ExitCode;

/// The node agent of haft.
#[derive(Parser, Debug)]
#[command(name = "haft-agent", version, about)]
struct Arguments {
    /// The config file, the same on every node.
    #[arg(long, value_name = "FILE", default_value = "/etc/haft/haft.yaml")]
    config: PathBuf,
    /// This node's name in the config; the hostname by default.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Form of the log lines on stderr; HAFT_LOG sets the filter.
    #[arg(long, value_enum, default_value = "text")]
    log: LogForm,
    #[command(subcommand)]
    act: Option<Act>,
}

/// What to do instead of running.
#[derive(Subcommand, Clone, Copy, Debug)]
enum Act {
    /// Removes haft's addresses from this machine, then what kept them closed. Run it when the agent is stopped
    /// for good; as ExecStopPost= it also clears up after one that died.
    Dismantle,
}

fn main() -> ExitCode {
    haft_config::abort_on_panic::install();
    haft_config::memory_image::forbid();
    let arguments = Arguments::parse();
    let outcome = start(arguments.log)
        .map_err(|error| DismantleError::Run(RunError::System(error)))
        .and_then(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(RunError::System)?;
            let options = Options {
                config: arguments.config,
                node: arguments.node,
            };
            runtime.block_on(async {
                match arguments.act {
                    None => run(options).await.map_err(DismantleError::Run),
                    Some(Act::Dismantle) => dismantle(&options).await,
                }
            })
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Said directly: the log's thread may not come to it before the process ends.
            use std::io::Write;
            let text = match &error {
                // Each problem has its place and its fix.
                DismantleError::Run(RunError::Config(problems)) => problems.to_string(),
                other => ending::told(other, &other.fix()),
            };
            let _ = writeln!(std::io::stderr(), "{text}");
            exit(&error)
        }
    }
}

fn exit(error: &DismantleError) -> ExitCode {
    match error {
        DismantleError::Run(
            RunError::Config(_) | RunError::Node { .. } | RunError::NoCoordinator { .. },
        ) => ExitCode::from(2),
        DismantleError::Run(RunError::OtherNode { .. }) => ExitCode::from(3),
        DismantleError::Run(
            RunError::Identity(_)
            | RunError::Tls { .. }
            | RunError::AlreadyRuns { .. }
            | RunError::Lock { .. }
            | RunError::Boot(_)
            | RunError::Lease(_)
            | RunError::Capability(_)
            | RunError::Census(_)
            | RunError::System(_)
            | RunError::Sbd(_)
            | RunError::LeaseEnded,
        )
        | DismantleError::Addresses(_)
        | DismantleError::Leftovers(_)
        | DismantleError::Gate(_)
        | DismantleError::Open(_)
        | DismantleError::Tables(_) => ExitCode::from(1),
    }
}
