//! A planned move of both addresses.

use crate::cluster::{LEASE, STONITH};
use crate::demo::promise::Outcome;
use crate::demo::stage::Stage;

/// The owner releases, then the next node is granted: no waiting for anything to lapse.
pub(super) fn perform(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    for name in [LEASE, STONITH] {
        stage.mark(&format!("haftctl move vip/{name} --to n2 --wait"))?;
        stage.cluster.ctl.move_to(name, "n2")?;
        let now = stage.wait_moved(name, "n1")?;
        outcome.demand(
            &format!("{name} moved where it was told"),
            now == "n2",
            &now,
        );
        let proof = stage.cluster.ctl.vip(name)?.proof;
        outcome.demand(
            &format!("{name}'s new grant rests on the owner's release"),
            proof == "Released",
            &proof,
        );
    }
    Ok(())
}
