//! Owners that nobody can power off: their own watchdog must reset them before anything is granted elsewhere.

use std::sync::Arc;
use std::time::Instant;

use haft_lab::ctl::Ctl;
use haft_lab::shell;
use haft_lab::sys::Link;

use crate::cluster::{self, PATIENCE};
use crate::guest::Guest;
use crate::stage::Stage;
use crate::table::Outcome;

/// Who owns `wd` and has no fence device in these stories.
const OWNER: &str = "n3";

/// The owner is cut from everybody and its agent hangs, so that it cannot stop by itself; it has no fence device.
pub(super) fn cut(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let told = begin(stage).and_then(|owner| {
        owner.sh("kill -STOP $(pidof haft-agent)")?;
        stage.rack.set_port(&owner, Link::Down)?;
        let since =
            stage.mark("n3, which owns wd and has no fence device, is cut off; its agent hangs")?;
        let told = demand_reset_first(stage, outcome, &owner, since);
        stage.rack.set_port(&owner, Link::Up)?;
        told
    });
    told.and(end(stage))
}

/// The owner is cut from everybody and healthy: it stops by itself, in time, and need not be reset.
pub(super) fn leaves(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let told = begin(stage).and_then(|owner| {
        stage.rack.set_port(&owner, Link::Down)?;
        let since = stage.mark("n3, which owns wd and has no fence device, is cut off")?;
        let told = demand_left_first(stage, outcome, &owner, since);
        stage.rack.set_port(&owner, Link::Up)?;
        told
    });
    told.and(end(stage))
}

fn demand_left_first(
    stage: &mut Stage,
    outcome: &mut Outcome,
    owner: &Guest,
    since: Instant,
) -> anyhow::Result<()> {
    let wd = stage.cluster.wait_taken_over("wd", owner.name())?;
    stage.wait_stamps("wd", &wd.owner)?;
    let successor = stage.successor("wd", owner.name())?;
    outcome.figure(format!(
        "wd written elsewhere after {:.1} s, granted on {}",
        successor
            .first
            .saturating_duration_since(since)
            .as_secs_f64(),
        wd.proof
    ));
    stage.demand_one_owner(outcome, "wd")?;
    stage.demand_not_reset(outcome, &[]);
    Ok(())
}

/// The owner's agent is killed and kept from starting; it has no fence device.
pub(super) fn agent(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let told = begin(stage).and_then(|owner| {
        owner.sh("touch /run/hold-haft-agent; kill -9 $(pidof haft-agent)")?;
        let since = stage.mark("n3, which owns wd and has no fence device: haft-agent killed")?;
        demand_reset_first(stage, outcome, &owner, since)
    });
    told.and(end(stage))
}

/// `wd` on its owner, and no fence device anywhere; so `db`, which needs one, goes for the time being.
fn begin(stage: &mut Stage) -> anyhow::Result<Arc<Guest>> {
    stage.begin("n1", "n2")?;
    let owner = stage.rack.guest(OWNER)?.clone();
    let ctl = &stage.cluster.ctl;
    remove(ctl, "vip/db")?;
    for guest in &stage.rack.guests {
        ctl.act(
            &["delete", &format!("fencedevice/bmc-{}", guest.name())],
            "",
        )?;
    }
    stage.cluster.apply_vip("wd")?;
    stage.cluster.place("wd", OWNER)?;
    stage.wait_stamps("wd", OWNER)?;
    stage.start_record()?;
    Ok(owner)
}

/// The rest of the stories has its devices and `db` again, and no `wd`.
fn end(stage: &Stage) -> anyhow::Result<()> {
    let ctl = &stage.cluster.ctl;
    ctl.act(&["apply", "-f", "-"], &cluster::devices(&stage.rack))?;
    stage.cluster.wait_whole(&stage.rack.guests)?;
    if ctl.vip("wd").is_ok() {
        remove(ctl, "vip/wd")?;
    }
    stage.cluster.apply_vip("db")
}

fn remove(ctl: &Ctl, subject: &str) -> anyhow::Result<()> {
    ctl.act(&["delete", subject], "")?;
    ctl.act(
        &["wait", subject, "--for", "deleted", "--timeout", "60s"],
        "",
    )
    .map(drop)
}

fn demand_reset_first(
    stage: &mut Stage,
    outcome: &mut Outcome,
    owner: &Guest,
    since: Instant,
) -> anyhow::Result<()> {
    let wd = stage.cluster.wait_taken_over("wd", owner.name())?;
    stage.wait_stamps("wd", &wd.owner)?;
    let successor = stage.successor("wd", owner.name())?;
    let bite = shell::wait_for("the owner's watchdog to bite", PATIENCE, || {
        Ok(owner.event("WATCHDOG", since))
    })?;
    outcome.demand(
        "the owner was reset by its watchdog before wd was written elsewhere",
        (bite.at < successor.first).into(),
        &format!(
            "{:.3} s after",
            bite.at
                .saturating_duration_since(successor.first)
                .as_secs_f64()
        ),
    );
    outcome.figure(format!(
        "reset after {:.1} s, wd written elsewhere after {:.1} s, granted on {}",
        bite.at.saturating_duration_since(since).as_secs_f64(),
        successor
            .first
            .saturating_duration_since(since)
            .as_secs_f64(),
        wd.proof
    ));
    stage.demand_one_owner(outcome, "wd")?;
    stage.demand_not_reset(outcome, &[owner.name()]);
    Ok(())
}
