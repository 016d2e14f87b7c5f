//! What the leader's probes found out about the path to a fence device.
//!
//! For people: nothing here opens, closes or moves anything.

use super::fence::bounded;
use super::{At, Outcome, Refusal, event};
use crate::command::PathHealth;
use crate::ids::{DeviceName, Generation};
use crate::state::{ClusterState, Probed};

/// Records a finding that differs from the one in force.
pub(super) fn probed(
    state: &mut ClusterState,
    at: At,
    name: &DeviceName,
    generation: Generation,
    health: &PathHealth,
) -> Result<Outcome, Refusal> {
    let subject = format!("fencedevice/{name}");
    let Some(device) = state.devices.get_mut(name) else {
        return Err(Refusal::not_found(
            "NotFound",
            format!("{subject} does not exist"),
        ));
    };
    if device.generation != generation {
        return Err(Refusal::stale(
            "GenerationChanged",
            format!(
                "{subject} stands at generation {}, not {generation}",
                device.generation
            ),
        ));
    }
    let before = device.probed.take();
    if let Some(known) = &before
        && known.health.is_like(health)
    {
        device.probed = before;
        return Err(Refusal::stale(
            "NothingNew",
            format!("that is known of {subject}"),
        ));
    }
    let health = match health {
        PathHealth::Healthy => PathHealth::Healthy,
        PathHealth::Failing { fault, why } => PathHealth::Failing {
            fault: *fault,
            why: bounded(why),
        },
    };
    // Another fault of a path that fails already is no new beginning.
    let since_unix_ms = match (&before, &health) {
        (
            Some(Probed {
                health: PathHealth::Failing { .. },
                since_unix_ms,
            }),
            PathHealth::Failing { .. },
        ) => *since_unix_ms,
        (Some(_) | None, PathHealth::Healthy | PathHealth::Failing { .. }) => at.stamp_unix_ms,
    };
    device.probed = Some(Probed {
        health: health.clone(),
        since_unix_ms,
    });
    match (before, health) {
        (_, PathHealth::Failing { why, .. }) => {
            event::warn(
                state,
                at,
                "FencePathDegraded",
                subject,
                format!("it fails its probes: {why}"),
            );
        }
        (Some(_), PathHealth::Healthy) => {
            event::note(
                state,
                at,
                "FencePathRestored",
                subject,
                "it answers its probes again".to_owned(),
            );
        }
        (None, PathHealth::Healthy) => {}
    }
    Ok(Outcome::Done)
}
