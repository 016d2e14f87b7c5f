//! `haft-lab demo`: the main job on real parts, told as it happens and judged from outside.
//!
//! A cluster of three is formed, one address under a kernel-enforced lease and one under confirmed power-off are
//! applied, and then things are broken one after the other. Every promise is checked by the judge, which uses no haft
//! code; the demo succeeds only if every promise held. A scenario in which the judge itself stalled is repeated.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context;

use crate::cluster::{Cluster, LEASE, PROGRAMS, STONITH};
use crate::jail;
use crate::lab::{Lab, own_directory};
use crate::say::print;

pub mod narrator;
mod prelude;
pub mod promise;
mod scenario;
mod stage;
mod table;
mod timeline;

use narrator::Narrator;
use promise::Outcome;
use scenario::Scenario;
use stage::Stage;

/// How often a scenario may be repeated because the judge stalled.
const REPEATS: usize = 3;

/// What happens to the cluster at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Everything is taken down.
    TakeDown,
    /// It stays up for trying things.
    KeepUp,
}

/// A safety rule that is broken on purpose, in builds made for that, to show that the demo would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Break {
    /// Agents install no kernel guard.
    Guard,
    /// Coordinators grant without evidence.
    Evidence,
}

impl Break {
    /// The word that test builds read from `HAFT_PLANT`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Evidence => "evidence",
        }
    }
}

/// Runs the demo; the exit code is 0 only if every promise held.
///
/// # Errors
/// The cluster cannot be formed, or does not recover between scenarios.
pub fn run(afterwards: Afterwards, broken: Option<Break>) -> anyhow::Result<u8> {
    let begin = Instant::now();
    let narrator = Narrator::starting(begin);
    narrator.chapter("Three machines, three BMCs, a client and a judge");
    let lab = Lab::open(&own_directory()?, &PROGRAMS)?;
    let site = lab.site("h", 1, "n")?;
    if let Some(rule) = broken {
        narrator.tell(&format!(
            "broken on purpose: {} (a test build; what ships has no such switch)",
            rule.word()
        ));
    }
    let cluster = Cluster::form(site, broken.map(Break::word)).context("forming the cluster")?;
    narrator.tell("cluster of three formed: init, two one-time tokens, two joins; mutual TLS; a FenceDevice per BMC");
    let judge = cluster.site.judge(cluster.targets())?;
    let mut stage = Stage::new(cluster, judge, narrator);
    let outcomes = perform(&mut stage, broken)?;
    let held = outcomes.iter().all(Outcome::held);
    table::print_all(&outcomes, begin.elapsed());
    let code = u8::from(!held);
    print(if held {
        "every promise held"
    } else {
        "A PROMISE WAS BROKEN"
    });
    if afterwards == Afterwards::KeepUp {
        keep_up(stage, code)?;
    }
    Ok(code)
}

fn perform(stage: &mut Stage, broken: Option<Break>) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    stage.cluster.apply_vip(LEASE)?;
    if broken.is_none() {
        outcomes.push(prelude::run(stage)?);
    }
    stage.cluster.apply_vip(STONITH)?;
    for scenario in Scenario::ALL {
        let outcome = repeat(stage, scenario)?;
        let held = outcome.held();
        outcomes.push(outcome);
        if broken.is_some() && !held {
            stage
                .narrator
                .tell("the broken rule has shown: the rest of the demo is left out");
            break;
        }
    }
    Ok(outcomes)
}

/// Performs a scenario until the judge did not stall in it.
fn repeat(stage: &mut Stage, scenario: Scenario) -> anyhow::Result<Outcome> {
    let mut repeated = 0;
    loop {
        stage.narrator.chapter(scenario.title());
        let mut outcome = stage.perform(scenario)?;
        outcome.repeated = repeated;
        let stalled = outcome.report.as_ref().is_some_and(|r| r.stalled);
        // Two owners are two owners: no stall excuses them.
        let accused = outcome.two_owners_ms() > 0.0;
        if !stalled || accused || repeated == REPEATS {
            outcome.demand(
                "the judge did not stall",
                !stalled,
                "its own worst stall is in the table",
            );
            stage.narrator.outcome(&outcome);
            return Ok(outcome);
        }
        repeated += 1;
        stage
            .narrator
            .tell("the judge stalled in this run: it does not count and is repeated");
    }
}

/// Three machines with BMCs and a client, nothing on them, until `haft-lab down`.
///
/// # Errors
/// The lab cannot be laid out.
pub fn empty_machines() -> anyhow::Result<ExitCode> {
    let lab = Lab::open(&own_directory()?, &[])?;
    let mut site = lab.site("h", 1, "n")?;
    site.start_bmcs()?;
    for node in &site.nodes {
        node.power_on()?;
    }
    print_entrances(&["ip address"])?;
    jail::stay_up(0)?;
    loop {
        std::thread::park();
    }
}

fn print_entrances(words: &[&str]) -> anyhow::Result<()> {
    let exe = std::env::current_exe()?;
    let exe = exe.display();
    for words in words {
        print(&format!("  {exe} in client-h {words}"));
    }
    print(&format!(
        "\n  {exe} in n1 ip address      (any command on any machine)"
    ));
    print(&format!(
        "  {exe} down                  (takes everything down)"
    ));
    Ok(())
}

fn keep_up(mut stage: Stage, code: u8) -> anyhow::Result<()> {
    stage.restore("n1", "n1")?;
    print("\nThe cluster stays up. In another shell, or here:\n");
    print_entrances(&[
        "haftctl cluster status",
        "haftctl get vip",
        "haftctl get node",
        "haftctl why vip/web",
        "haftctl move vip/web --to n2 --wait",
        "haftctl events --limit 20",
        "haftctl fence n3 --force",
        "haftctl fence n3 --on",
        "haftctl describe vip/db",
    ])?;
    let Stage { cluster, judge, .. } = stage;
    // Nobody asks it any more.
    drop(judge);
    jail::stay_up(code)?;
    // The BMCs live as long as the cluster's value does.
    let _up = cluster;
    loop {
        std::thread::park();
    }
}

/// Runs a command on a machine of a lab that was kept up.
///
/// # Errors
/// No lab is up, no such machine, or the command's own failure to start.
pub fn enter(machine: &str, words: &[String]) -> anyhow::Result<u8> {
    let (program, args) = words.split_first().context("name a command")?;
    let init = jail::kept_init()?;
    // First into the container, whose process numbers and files the second step needs.
    let script = format!("{}/node/{machine}/pid", jail::LAB);
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--target={init}"))
        .args(["--mount", "--pid", "--", "sh", "-c"]);
    command.arg(
        "pid=$(cat \"$0\") || exit 3; exec nsenter --target=$pid --mount --uts --ipc --net --pid -- \
         env PATH=/run/lab/bin:$PATH HAFT_CONTEXT=/run/lab/context.yaml \"$@\"",
    );
    let status = command.arg(script).arg(program).args(args).status()?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}
