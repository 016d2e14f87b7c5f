//! The lab's command line. Everything that builds a lab first moves into a container of its own; see
//! [`haft_lab::jail`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use haft_lab::cluster::Preset;
use haft_lab::{bench, bmc, calm, check, demo, jail, mixtures, node_init, say};

/// Machines in namespaces with real BMCs: haft's demo, its failover benchmark, and the lab's own check.
#[derive(Parser)]
#[command(name = "haft-lab", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Prove the lab itself: BMCs, boot ids, and that the judge sees two owners when there are two.
    Check,
    /// Lay out three empty machines with BMCs and a client, and leave them up.
    Up,
    /// Form a cluster, break it in seven ways, and judge every promise.
    Demo {
        /// Leave the cluster up afterwards.
        #[arg(long)]
        keep: bool,
        /// Break a safety rule on purpose; needs binaries built for that.
        #[arg(long)]
        broken: Option<demo::Break>,
    },
    /// Let nodes count by different timings, by a file or by a change under load, hit one, and judge.
    Mixtures {
        #[command(flatten)]
        chosen: mixtures::Chosen,
    },
    /// Do nothing to a cluster on a machine whose processors are all busy: no session may end.
    Calm {
        /// Timing preset.
        #[arg(long, default_value = "fast")]
        preset: Preset,
        /// For how long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Run a command on a machine of a lab that was kept up.
    In {
        /// n1, n2, n3 or client-h.
        machine: String,
        /// The command.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Measure failover beside Keepalived.
    BenchFailover {
        /// Runs per contender that count.
        #[arg(long, default_value_t = 5)]
        runs: usize,
        /// Where the figures go.
        #[arg(long, default_value = "target/figures/failover.json")]
        out: PathBuf,
        /// Leave haft out.
        #[arg(long)]
        keepalived_only: bool,
    },
    /// Take down a lab that was kept up.
    Down,
    /// PID 1 of the lab's container.
    #[command(hide = true)]
    LabInit {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// PID 1 of a machine.
    #[command(hide = true)]
    NodeInit { plan: PathBuf },
    /// The judge itself; the lab's one binary carries it.
    #[command(hide = true)]
    Judge,
    /// What a BMC runs to read or switch power.
    #[command(hide = true)]
    BmcPower { words: Vec<String> },
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            say::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let contained = std::env::var_os(jail::INSIDE).is_some();
    match Arguments::parse().what {
        What::LabInit { args } => jail::init(&args),
        What::NodeInit { plan } => node_init::run(&plan).map(|()| ExitCode::SUCCESS),
        What::BmcPower { words } => {
            say::print(&bmc::ask_power(&words)?);
            Ok(ExitCode::SUCCESS)
        }
        What::Judge => haft_judge::run().map(|()| ExitCode::SUCCESS),
        What::Down => jail::take_down().map(|()| ExitCode::SUCCESS),
        What::In { machine, words } => demo::enter(&machine, &words).map(ExitCode::from),
        What::Check
        | What::BenchFailover { .. }
        | What::Calm { .. }
        | What::Demo { .. }
        | What::Mixtures { .. }
        | What::Up
            if !contained =>
        {
            jail::run_contained()
        }
        What::Up => demo::empty_machines(),
        What::Check => {
            say::print(&serde_json::to_string_pretty(&check::run()?)?);
            Ok(ExitCode::SUCCESS)
        }
        What::Demo { keep, broken } => {
            let afterwards = if keep {
                demo::Afterwards::KeepUp
            } else {
                demo::Afterwards::TakeDown
            };
            demo::run(afterwards, broken).map(ExitCode::from)
        }
        What::Mixtures { chosen } => mixtures::run(&chosen).map(ExitCode::from),
        What::Calm { preset, minutes } => {
            let span = Duration::from_secs(minutes.saturating_mul(60));
            calm::run(preset, span).map(ExitCode::from)
        }
        What::BenchFailover {
            runs,
            out,
            keepalived_only,
        } => {
            let contenders = if keepalived_only {
                bench::Contenders::Keepalived
            } else {
                bench::Contenders::Both
            };
            bench::run(runs, contenders, &out)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
