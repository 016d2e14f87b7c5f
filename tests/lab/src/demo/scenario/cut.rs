//! The owner of both addresses loses its peers; the client still reaches it. The case in which Keepalived has two
//! masters.

use std::time::Duration;

use crate::cluster::{LEASE, STONITH};
use crate::demo::promise::Outcome;
use crate::demo::stage::{Stage, first_answer_from_others, last_answer_from, target};

/// Long enough for an owner that does not know better to answer again.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// The cut owner falls silent before anybody else speaks.
pub(super) fn perform(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let owner = stage.node("n1")?;
    stage.cluster.site.cut_from_peers(&owner)?;
    stage.mark("n1, which owns both, is cut from n2 and n3; the client reaches all three")?;
    stage.wait_moved(LEASE, "n1")?;
    stage.wait_moved(STONITH, "n1")?;
    stage.watch("whether n1 speaks again", AFTERWARDS)?;
    let report = stage.judge.report()?;
    let web = target(&report, LEASE)?;
    let (last, first) = (
        last_answer_from(web, "n1"),
        first_answer_from_others(web, "n1"),
    );
    let held = matches!((last, first), (Some(last), Some(first)) if last < first);
    outcome.demand(
        "n1 fell silent for web before another node spoke",
        held,
        &format!(
            "last at {:.0} ms, first at {:.0} ms",
            last.unwrap_or(0.0),
            first.unwrap_or(0.0)
        ),
    );
    stage.demand_fenced_first(outcome, &owner)
}
