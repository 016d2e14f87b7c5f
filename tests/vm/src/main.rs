//! The suite's command line. Whatever builds guests first moves into a container of its own, see
//! [`haft_lab::jail`]: nothing of it outlives the run, whatever way that ends.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use haft_lab::{bmc, jail, node_init, say};
use haft_vm::guest::Switch;
use haft_vm::sleep::Sleep;
use haft_vm::stamp::Writer;
use haft_vm::story::{self, Story};
use haft_vm::trial::Trial;

/// haft in virtual machines: Debian's kernel, real watchdogs, BMCs, a shared disk.
#[derive(Parser)]
#[command(name = "haft-vm", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Form a cluster in three guests and tell stories; all of them if none is named.
    Run {
        /// Unpacked Debian packages of the kernel and of busybox.
        #[arg(long, default_value = "target/vm/stock")]
        stock: PathBuf,
        /// Where images and logs of this run go; emptied first. On a disk that takes O_DIRECT.
        #[arg(long, default_value = "target/vm/run")]
        folder: PathBuf,
        /// What BMCs do; `lying` is planted to see the suite fail.
        #[arg(long, default_value = "honest")]
        switch: Switch,
        /// Names of stories.
        stories: Vec<Story>,
    },
    /// The stories, and what each demands.
    List,
    /// Run test programs in one guest, and say how each test ended.
    Trial(Trial),
    /// Suspend an owner beyond the end of its lease, and listen to it from outside when it wakes.
    Sleep(Sleep),
    /// In a guest: the stand-in for a protected service.
    #[command(hide = true)]
    Stamp(Writer),
    /// PID 1 of the lab's container.
    #[command(hide = true)]
    LabInit {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// PID 1 of the client.
    #[command(hide = true)]
    NodeInit { plan: PathBuf },
    /// The judge; the suite's one binary carries it.
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
        What::Run { .. } if !contained => jail::run_contained(),
        What::Run {
            stock,
            folder,
            switch,
            stories,
        } => story::run(&stock, &folder, switch, &stories).map(ExitCode::from),
        What::List => {
            story::list();
            Ok(ExitCode::SUCCESS)
        }
        What::Sleep(sleep) => sleep.run().map(ExitCode::from),
        What::Trial(trial) => trial.run().map(ExitCode::from),
        What::Stamp(writer) => writer.run().map(|()| ExitCode::SUCCESS),
        What::LabInit { args } => jail::init(&args),
        What::NodeInit { plan } => node_init::run(&plan).map(|()| ExitCode::SUCCESS),
        What::Judge => haft_judge::run().map(|()| ExitCode::SUCCESS),
        What::BmcPower { words } => {
            say::print(&bmc::ask_power(&words)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}
