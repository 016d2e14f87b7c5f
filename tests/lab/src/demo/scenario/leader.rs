//! The leader's haftd is killed on a machine that owns nothing, restarted, and handed the lead again.

use rustix::process::Signal;

use crate::cluster::{LEASE, PATIENCE, STONITH};
use crate::demo::promise::Outcome;
use crate::demo::stage::{Stage, target};
use crate::shell;

/// Longest gap, in milliseconds, that still counts as "nothing happened": twenty of the judge's ticks.
const UNDISTURBED_MS: f64 = 100.0;

/// A new leader is elected, and later the old one leads again; no session ends, no address moves, no client notices.
pub(super) fn perform(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let old = leader_that_owns_nothing(stage)?;
    let sessions = stage.cluster.ctl.sessions()?;
    let before = [
        stage.cluster.ctl.vip(LEASE)?,
        stage.cluster.ctl.vip(STONITH)?,
    ];
    stage.begin()?;
    stage.mark(&format!(
        "{old}, the leader, which owns nothing: haftd killed"
    ))?;
    stage.node(&old)?.signal(&["haftd"], Signal::KILL)?;
    let ctl = stage.cluster.ctl.clone();
    let new = shell::wait_for("a leader to serve again", PATIENCE, || {
        let status = ctl.json(&["cluster", "status"])?;
        let name = status["leader"].as_str().unwrap_or_default().to_owned();
        Ok(
            (!name.is_empty() && status["quorum"] == true && status["linearizable"] == true)
                .then_some(name),
        )
    })?;
    stage.mark(&format!("{new} leads"))?;
    // The killed haftd is started again by its supervisor, catches up, and can be handed the lead back.
    shell::wait_for("leadership to be handed back", PATIENCE, || {
        ctl.act(&["cluster", "transfer", &old], "").map(Some)
    })?;
    stage.mark(&format!("{old}'s haftd is back and was handed the lead"))?;
    stage.watch("whether anything moves", std::time::Duration::from_secs(2))?;
    let kept = stage.cluster.ctl.sessions()?;
    outcome.demand(
        "crash, election, restart and transfer of haftd ended no session",
        kept == sessions && kept.len() == 3,
        &format!("incarnations before {sessions:?}, after {kept:?}"),
    );
    let after = [
        stage.cluster.ctl.vip(LEASE)?,
        stage.cluster.ctl.vip(STONITH)?,
    ];
    let report = stage.judge.report()?;
    for ((name, before), after) in [LEASE, STONITH].into_iter().zip(before).zip(after) {
        outcome.demand(
            &format!("{name} kept its owner and token"),
            before.token == after.token && before.owner == after.owner,
            &after.token,
        );
        let gap = target(&report, name)?.client_gap_ms;
        outcome.demand(
            &format!("no client of {name} noticed"),
            gap <= UNDISTURBED_MS,
            &format!("longest gap {gap:.0} ms"),
        );
    }
    Ok(())
}

/// The leader, after the addresses were moved off its machine if they were there.
fn leader_that_owns_nothing(stage: &mut Stage) -> anyhow::Result<String> {
    let leader = stage.cluster.ctl.leader()?;
    if leader == "n1" {
        stage
            .narrator
            .tell("the leader sits with the owner: the addresses are moved off it first");
        stage.restore("n2", "n2")?;
    }
    Ok(leader)
}
