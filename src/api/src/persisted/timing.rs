//! The timing in the log: cluster's, sessions' and the commands that change them.
//!
//! Any number decodes; whether a set can be kept is asked by `apply`.

use super::field::{Decoded, missing, nanos, request_from, request_into, required};
use crate::pb::log as pb;
use haft_engine::clock::Timing;
use haft_engine::command::Command;
use haft_engine::ids::{Generation, Incarnation, NodeId};
use haft_engine::timing::{ClusterTiming, Terms};
use pb::command::Command as Form;
use std::time::Duration;

pub(super) fn timing_into(timing: &Timing) -> pb::Timing {
    pb::Timing {
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

pub(super) fn timing_from(form: pb::Timing) -> Timing {
    // Written before there were two rows: both are this one.
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

pub(super) fn cluster_into(timing: &ClusterTiming) -> pb::ClusterTiming {
    pb::ClusterTiming {
        generation: timing.generation.0,
        timing: Some(timing_into(&timing.timing)),
    }
}

pub(super) fn cluster_from(form: pb::ClusterTiming) -> Decoded<ClusterTiming> {
    Ok(ClusterTiming {
        generation: Generation(form.generation),
        timing: timing_from(required(form.timing, "timing")?),
    })
}

pub(super) fn terms_into(terms: &Terms) -> pb::Terms {
    pb::Terms {
        generation: terms.generation.0,
        timing: Some(timing_into(&terms.timing)),
        judged: Some(timing_into(&terms.judged)),
    }
}

pub(super) fn terms_from(form: pb::Terms) -> Decoded<Terms> {
    Ok(Terms {
        generation: Generation(form.generation),
        timing: timing_from(required(form.timing, "session timing")?),
        judged: timing_from(required(form.judged, "session judged timing")?),
    })
}

pub(super) fn command_into(command: &Command) -> Form {
    match command {
        Command::SetTiming {
            timing,
            expected,
            request,
        } => Form::SetTiming(pb::SetTiming {
            timing: Some(timing_into(timing)),
            expected: expected.map(|generation| generation.0),
            request: request_into(*request),
        }),
        Command::Retimed {
            node,
            incarnation,
            generation,
        } => Form::Retimed(pb::Retimed {
            node: node.0,
            incarnation: incarnation.0,
            generation: generation.0,
        }),
        other => unreachable!("{other:?} is no command of the timing"),
    }
}

pub(super) fn command_from(form: Form) -> Decoded<Command> {
    match form {
        Form::SetTiming(form) => Ok(Command::SetTiming {
            timing: timing_from(required(form.timing, "timing")?),
            expected: form.expected.map(Generation),
            request: request_from(&form.request)?,
        }),
        Form::Retimed(form) => Ok(Command::Retimed {
            node: NodeId(form.node),
            incarnation: Incarnation(form.incarnation),
            generation: Generation(form.generation),
        }),
        _ => Err(missing("timing command")),
    }
}
