//! The timing on the wire: every interval in nanoseconds. Whether a set can be kept is the engine's question.

use super::{FieldError, wrong};
use crate::pb::v1;
use haft_engine::clock::Timing;
use haft_engine::gate::GateKind;
use haft_engine::ids::{Generation, Incarnation};
use haft_engine::timing::ClusterTiming;
use std::time::Duration;

/// The set in a message.
pub fn timing_into(timing: &Timing) -> v1::Timing {
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    v1::Timing {
        beat_ns: nanos(timing.beat),
        ttl_ns: nanos(timing.ttl),
        guard_life_ns: nanos(timing.guard_life),
        guard_renewal_ns: nanos(timing.guard_renewal),
        closing_after_ns: nanos(timing.closing_after),
        raft_heartbeat_ns: nanos(timing.raft_heartbeat),
        election_min_ns: nanos(timing.election_min),
        election_max_ns: nanos(timing.election_max),
        address_life_ns: nanos(timing.address_life),
        stop_ns: nanos(timing.stop),
        watchdog_ns: nanos(timing.watchdog),
        gated_ttl_ns: nanos(timing.gated_ttl),
        gated_closing_after_ns: nanos(timing.gated_closing_after),
        rho_ppm: timing.rho_ppm,
    }
}

/// The set in a message, whatever it says.
pub fn timing_from(form: &v1::Timing) -> Timing {
    // From a program that knows one row: it means it for both.
    let or = |gated: u64, plain: u64| Duration::from_nanos(if gated == 0 { plain } else { gated });
    Timing {
        beat: Duration::from_nanos(form.beat_ns),
        ttl: Duration::from_nanos(form.ttl_ns),
        guard_life: Duration::from_nanos(form.guard_life_ns),
        guard_renewal: Duration::from_nanos(form.guard_renewal_ns),
        closing_after: Duration::from_nanos(form.closing_after_ns),
        raft_heartbeat: Duration::from_nanos(form.raft_heartbeat_ns),
        election_min: Duration::from_nanos(form.election_min_ns),
        election_max: Duration::from_nanos(form.election_max_ns),
        address_life: Duration::from_nanos(form.address_life_ns),
        stop: Duration::from_nanos(form.stop_ns),
        watchdog: Duration::from_nanos(form.watchdog_ns),
        gated_ttl: or(form.gated_ttl_ns, form.ttl_ns),
        gated_closing_after: or(form.gated_closing_after_ns, form.closing_after_ns),
        rho_ppm: form.rho_ppm,
    }
}

/// A version of it.
pub fn versioned_into(timing: &ClusterTiming) -> v1::VersionedTiming {
    v1::VersionedTiming {
        generation: timing.generation.0,
        timing: Some(timing_into(&timing.timing)),
    }
}

/// What an agent with this gate is told of a version. A row whose sums do not hold is refused: no agent counts by one.
pub fn versioned_from(
    form: &v1::VersionedTiming,
    gate: GateKind,
) -> Result<ClusterTiming, FieldError> {
    let timing = form
        .timing
        .as_ref()
        .map(timing_from)
        .ok_or_else(|| wrong("timing", "missing", "upgrade the coordinators"))?;
    if let Some(check) = haft_engine::timing::refuted_behind(gate, &timing) {
        return Err(wrong("timing", check.sum, "upgrade this node"));
    }
    Ok(ClusterTiming {
        generation: Generation(form.generation),
        timing,
    })
}

/// The report that a life counts by a version.
pub fn report_retimed(incarnation: Incarnation, generation: Generation) -> v1::RetimedReport {
    v1::RetimedReport {
        incarnation: incarnation.0,
        generation: generation.0,
    }
}
