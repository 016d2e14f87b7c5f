//! The machine that was lost is back; an administrator moves both addresses home.

use crate::cluster::{LEASE, STONITH};
use crate::demo::promise::Outcome;
use crate::demo::stage::Stage;

/// Nothing went home by itself, both go when told.
pub(super) fn perform(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let online = stage.cluster.ctl.node_state("n1")?;
    outcome.demand(
        "the lost machine is a full member again",
        online == "Online",
        &online,
    );
    for (name, from) in [(LEASE, "n2"), (STONITH, "n3")] {
        stage.mark(&format!("haftctl move vip/{name} --to n1 --wait"))?;
        stage.cluster.ctl.move_to(name, "n1")?;
        let now = stage.wait_moved(name, from)?;
        outcome.demand(&format!("{name} is home"), now == "n1", &now);
    }
    Ok(())
}
