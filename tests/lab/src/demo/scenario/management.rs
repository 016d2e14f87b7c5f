//! The owner of both addresses crashes while the management network is cut: whether it is off cannot be known.

use std::time::Duration;

use crate::cluster::{LEASE, STONITH};
use crate::demo::promise::Outcome;
use crate::demo::stage::{Stage, target};
use crate::sys::Link;

/// How long `db` is watched being silent.
const SILENCE: Duration = Duration::from_secs(4);

/// Milliseconds after the crash from which nobody may answer: one tick may still be under way.
const GRACE_MS: f64 = 10.0;

/// `web` moves, `db` stays silent everywhere and `why` names the order; once a BMC can be reached, `db` moves unaided.
pub(super) fn perform(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let owner = stage.node("n1")?;
    stage.cluster.site.set_management(Link::Down)?;
    stage.mark("the management network is cut")?;
    owner.crash()?;
    stage.mark("n1, which owns both, crashes")?;
    stage.wait_moved(LEASE, "n1")?;
    stage.watch("db staying silent", SILENCE)?;
    let why = stage.cluster.ctl.why("vip/db")?;
    for line in &why {
        stage.narrator.tell(&format!("why vip/db: {line}"));
    }
    let named = why.iter().any(|line| line.to_lowercase().contains("order"));
    outcome.demand("`why vip/db` names the order", named, "");
    let report = stage.judge.report()?;
    let crashed = report.marks.get(1).map_or(0.0, |mark| mark.at_ms) + GRACE_MS;
    let spoke = target(&report, STONITH)?
        .timeline
        .iter()
        .any(|s| !s.who.is_empty() && s.to_ms > crashed);
    outcome.demand("db stayed silent everywhere", !spoke, "");
    stage.cluster.site.set_management(Link::Up)?;
    stage.mark("the management network is back; nobody does anything else")?;
    stage.wait_moved(STONITH, "n1")?;
    stage.demand_fenced_first(outcome, &owner)
}
