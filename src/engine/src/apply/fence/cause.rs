//! Whether there is a reason for an order by now: each cause is looked at where the order is to begin.

use super::{leaves_orphans, wants_power};
use crate::apply::Refusal;
use crate::command::{FenceAction, FenceCause};
use crate::ids::{NodeId, NodeName};
use crate::levels::awaits_unfencing;
use crate::state::{ClusterState, Session};

/// The cause holds.
///
/// # Errors
/// When it does not, or no longer.
pub(super) fn require_cause(
    state: &ClusterState,
    (node, name, session): (NodeId, &NodeName, Session),
    action: FenceAction,
    cause: &FenceCause,
) -> Result<(), Refusal> {
    let over = matches!(session, Session::Ended { .. });
    match (action, cause) {
        (FenceAction::Off, FenceCause::Orphans) if over && leaves_orphans(state, node) => Ok(()),
        (FenceAction::Off, FenceCause::Orphans) => Err(Refusal::stale(
            "NothingToFence",
            format!("{name} has left nothing that needs proof of isolation"),
        )),
        (FenceAction::Off, FenceCause::StopFailed { resource })
            if state
                .unstoppable(node)
                .is_some_and(|found| found.id == *resource) =>
        {
            Ok(())
        }
        (FenceAction::Off, FenceCause::StopFailed { resource }) => Err(Refusal::stale(
            "NothingToFence",
            format!("{name} holds {resource} no more, or has not failed to stop it"),
        )),
        (FenceAction::On, FenceCause::Unfence)
            if state
                .nodes
                .get(&node)
                .is_some_and(|node| awaits_unfencing(state, node)) =>
        {
            Ok(())
        }
        (FenceAction::On, FenceCause::Unfence) => Err(Refusal::stale(
            "NothingToOpen",
            format!("{name} is not online, or no port of it waits to be opened"),
        )),
        (FenceAction::Off, FenceCause::Witnessed)
            if state
                .nodes
                .get(&node)
                .is_some_and(|node| node.witnessed.is_some()) =>
        {
            Ok(())
        }
        (FenceAction::Off, FenceCause::Witnessed) => Err(Refusal::stale(
            "NothingToFence",
            format!("nothing of {name} has answered since it was proven off"),
        )),
        (FenceAction::Off, FenceCause::AfterFence | FenceCause::Unfence) => Err(Refusal::invalid(
            "PowerOnOnly",
            "what follows a confirmed off is a power on",
        )),
        (FenceAction::On, FenceCause::AfterFence) if wants_power(state, node) => Ok(()),
        (FenceAction::On, FenceCause::AfterFence) => Err(Refusal::stale(
            "NotToBePoweredOn",
            format!("{name} is not off by a confirmed order with afterFence: power-on"),
        )),
        (FenceAction::Off, FenceCause::Administrator { .. }) => Ok(()),
        (
            FenceAction::On,
            FenceCause::Orphans | FenceCause::StopFailed { .. } | FenceCause::Witnessed,
        ) => Err(Refusal::invalid(
            "PowerOnProvesNothing",
            "orphans are not opened by power on",
        )),
        (FenceAction::On, FenceCause::Administrator { .. }) if leaves_orphans(state, node) => {
            Err(Refusal::dangerous(
                "NotYetIsolated",
                format!("{name} has left resources that wait for proof of isolation"),
            )
            .fix(format!("haftctl why node/{name}")))
        }
        (FenceAction::On, FenceCause::Administrator { .. }) => Ok(()),
    }
}
