//! The owner of both addresses crashes.

use crate::cluster::{LEASE, STONITH};
use crate::demo::promise::Outcome;
use crate::demo::stage::Stage;

/// `web` comes back by the lapse of the lease, `db` only after power-off was observed.
pub(super) fn perform(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let owner = stage.node("n1")?;
    stage.mark("n1, which owns both, crashes: port dead, process tree gone")?;
    owner.crash()?;
    outcome.demand("a crashed machine still reads on", !owner.reads_off(), "");
    let web = stage.wait_moved(LEASE, "n1")?;
    stage.wait_moved(STONITH, "n1")?;
    let proof = stage.cluster.ctl.vip(LEASE)?.proof;
    outcome.demand(
        "web's new grant shows its evidence",
        !proof.is_empty(),
        &format!("{proof}, now on {web}"),
    );
    let detail = stage.cluster.ctl.order_detail("n1")?;
    outcome.demand(
        "the agent was at the BMC before the order came",
        detail.contains("which awaited the order"),
        &detail,
    );
    stage.demand_fenced_first(outcome, &owner)
}
