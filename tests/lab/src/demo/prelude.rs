//! Before anything is promised: the kernel guard is removed on purpose, from outside, and the judge must see what then
//! happens. A judge that cannot see two owners proves nothing by seeing one.
//!
//! No switch of haft is used. On the owner's machine the agent is killed and kept from starting again, the firewall is
//! flushed and the address made permanent, as a careless administrator might.

use std::process::Command;

use anyhow::Context;
use rustix::process::{Signal, kill_process};

use super::promise::Outcome;
use super::stage::Stage;
use crate::cluster::{LEASE, PATIENCE};
use crate::machine::Machine;
use crate::shell;

/// Removes the guard under the lease address and demands that two owners are seen.
pub(super) fn run(stage: &mut Stage) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::of("guard removed on purpose");
    stage.narrator.chapter(
        "First the judge itself: with the guard removed on purpose, does it see two owners?",
    );
    stage
        .judge
        .wait_owner(LEASE, "n1", PATIENCE)
        .context("web on n1")?;
    stage.begin()?;
    let owner = stage.node("n1")?;
    stage.mark("n1: agent killed, its kernel guard flushed, the address made permanent")?;
    remove_guard(stage, &owner)?;
    let judge = &mut stage.judge;
    let seen = shell::wait_for("the judge to see two owners", PATIENCE, || {
        let report = judge.report()?;
        Ok((report.targets[LEASE].two_owners_ticks > 10).then_some(()))
    });
    let detail = seen
        .as_ref()
        .err()
        .map_or_else(String::new, |error| format!("{error:#}"));
    outcome.demand(
        "without the guard, the judge sees two owners",
        seen.is_ok(),
        &detail,
    );
    let report = stage.judge.report()?;
    let two = report.targets[LEASE].two_owners_ms;
    stage.narrator.tell(&format!(
        "the judge saw two owners of web for {two:.0} ms: it has eyes"
    ));
    outcome.report = Some(report);
    owner.power_off()?;
    owner.power_on()?;
    stage.cluster.ctl.wait_online("n1", PATIENCE)?;
    stage.narrator.outcome(&outcome);
    Ok(outcome)
}

fn remove_guard(stage: &Stage, owner: &Machine) -> anyhow::Result<()> {
    let init = owner.init().context("n1 is running")?;
    // So that PID 1 does not start the agent again.
    kill_process(init, Signal::STOP)?;
    owner.signal(&["haft-agent"], Signal::KILL)?;
    let in_network = |program: &str, args: &[&str]| -> anyhow::Result<()> {
        let mut command: Command = owner.network_command(program)?;
        shell::run(command.args(args)).map(drop)
    };
    // The kernel's gate goes with the file system that it is pinned in; where there is none, there is no gate.
    let mut unmount = owner.command("umount")?;
    let _without = shell::run(unmount.args(["--lazy", "/sys/fs/bpf"]));
    // A table that the killed agent owned is released only when its last descriptor is closed.
    shell::wait_for("the guard to be gone", PATIENCE, || {
        in_network("nft", &["flush", "ruleset"])?;
        let mut list = owner.network_command("nft")?;
        Ok(shell::run(list.args(["list", "tables"]))?
            .trim()
            .is_empty()
            .then_some(()))
    })?;
    let address = format!("{}/32", stage.cluster.address(LEASE));
    in_network(
        "ip",
        &[
            "address",
            "replace",
            &address,
            "dev",
            "eth0",
            "valid_lft",
            "forever",
            "preferred_lft",
            "forever",
        ],
    )
}
