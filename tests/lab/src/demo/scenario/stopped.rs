//! Every haft process of the owner is stopped, and later continued: nothing of haft runs there that could take the
//! address down, and what wakes up believes that no time has passed.

use std::time::Duration;

use rustix::process::Signal;

use crate::cluster::{LEASE, PATIENCE, STONITH};
use crate::demo::promise::Outcome;
use crate::demo::stage::{Stage, first_answer_from_others, last_answer_from, target};

/// How long the processes stay stopped after `web` has moved, and how long they are watched afterwards.
const WATCHED: Duration = Duration::from_secs(2);

/// The kernel alone frees the address; the woken processes take nothing back.
pub(super) fn perform(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let owner = stage.node("n1")?;
    let before = stage.cluster.ctl.vip(STONITH)?;
    let count = owner.signal(&["haft", "fence_"], Signal::STOP)?;
    stage.mark(&format!(
        "n1, which owns web: all {count} haft processes stopped"
    ))?;
    outcome.demand(
        "haft processes were there to be stopped",
        count >= 2,
        &count.to_string(),
    );
    stage.wait_moved(LEASE, "n1")?;
    stage.watch("whether n1 speaks while stopped", WATCHED)?;
    owner.signal(&["haft", "fence_"], Signal::CONT)?;
    stage.mark("n1: continued")?;
    stage.watch("whether n1 speaks after waking", WATCHED)?;
    let report = stage.judge.report()?;
    let web = target(&report, LEASE)?;
    let (last, first) = (
        last_answer_from(web, "n1"),
        first_answer_from_others(web, "n1"),
    );
    let held = matches!((last, first), (Some(last), Some(first)) if last < first);
    outcome.demand(
        "n1 fell silent for web before another node spoke, and stayed silent",
        held,
        &format!(
            "last at {:.0} ms, first at {:.0} ms",
            last.unwrap_or(0.0),
            first.unwrap_or(0.0)
        ),
    );
    let after = stage.cluster.ctl.vip(STONITH)?;
    outcome.demand(
        "db, owned elsewhere, kept its owner and token",
        before.token == after.token,
        &after.token,
    );
    let online = stage.cluster.ctl.wait_online("n1", PATIENCE);
    outcome.demand("n1 came back by itself", online.is_ok(), "");
    Ok(())
}
