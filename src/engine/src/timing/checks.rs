//! The sums that a set of intervals must satisfy, each with its arithmetic.
//!
//! One function per rule; adding a rule means adding it to [`checks`].

use super::RHO_BOUNDS_PPM;
use super::rows::gated_checks;
use super::{Interval, millis};
use crate::clock::{Timing, WATCHDOG_MARGIN};
use crate::gate::GateKind;
use std::time::Duration;

/// Beats that may be lost in a row without costing a session.
pub const LOST_BEATS: u32 = 2;
/// Time for a majority's acknowledgements to come back, and for the agent to be scheduled.
pub const REPLY: Duration = Duration::from_millis(10);

/// One sum that must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What it protects, one clause.
    pub protects: &'static str,
    /// The rule in symbols.
    pub rule: &'static str,
    /// The rule with the numbers of this timing, in milliseconds.
    pub sum: String,
    /// Whether it holds.
    pub holds: bool,
    /// The intervals in it, the one most likely wrong first.
    pub involves: Vec<Interval>,
    /// What to do when it does not hold.
    pub fix: &'static str,
}

/// Every sum, in the order in which they are shown.
pub fn checks(timing: &Timing) -> Vec<Check> {
    let mut all = vec![
        silence_outlasts_lost_beats(timing),
        closing_comes_before_the_end(timing),
        guard_outlives_the_next_beat(timing),
        lease_covers_guard_and_lost_beats(timing),
        guard_survives_a_late_renewal(timing),
    ];
    all.extend(row_checks(timing));
    let row = timing.behind(GateKind::Kernel);
    // Where both rows are one, the sums of W hold for it, and ask for more.
    if row != *timing {
        all.push(losing_the_gate_only_raises(timing));
        all.extend(gated_checks(&row));
        if !timing.watchdog.is_zero() {
            all.push(watchdog_fits(&row));
        }
    }
    all
}

/// The sums that hold for a row whatever the gate.
pub(super) fn row_checks(timing: &Timing) -> Vec<Check> {
    let mut all = vec![
        followers_survive_lost_heartbeats(timing),
        election_has_room(timing),
        address_outlives_the_session(timing),
        address_life_is_whole_seconds(timing),
    ];
    if !timing.watchdog.is_zero() {
        all.push(watchdog_fits(timing));
        all.push(watchdog_is_whole_seconds(timing));
    }
    all.push(rho_within_bounds(timing));
    all.extend(Interval::ALL.map(|interval| within_bounds(timing, interval)));
    all
}

/// A node that comes back without its gate is told a ttl that nobody has to wait out twice.
fn losing_the_gate_only_raises(t: &Timing) -> Check {
    Check {
        protects: "a node whose kernel keeps no lease end is judged by the longer ttl",
        rule: "gated_ttl <= ttl",
        sum: format!("{} <= {}", ms(t.gated_ttl), ms(t.ttl)),
        holds: t.gated_ttl <= t.ttl,
        involves: vec![Interval::GatedTtl, Interval::Ttl],
        fix: "lower gated_ttl_ms or raise ttl_ms",
    }
}

fn silence_outlasts_lost_beats(t: &Timing) -> Check {
    let left = t.beat * (LOST_BEATS + 1);
    Check {
        protects: "two beats lost in a row do not look like a lost node",
        rule: "3*beat < closing_after",
        sum: format!("3*{} = {} < {}", ms(t.beat), ms(left), ms(t.closing_after)),
        holds: left < t.closing_after,
        involves: vec![Interval::ClosingAfter, Interval::Beat],
        fix: "lower beat_ms or raise closing_after_ms",
    }
}

fn closing_comes_before_the_end(t: &Timing) -> Check {
    Check {
        protects: "Closing is committed while the lost node's lease still runs, so it costs no time",
        rule: "closing_after < ttl",
        sum: format!("{} < {}", ms(t.closing_after), ms(t.ttl)),
        holds: t.closing_after < t.ttl,
        involves: vec![Interval::ClosingAfter, Interval::Ttl],
        fix: "lower closing_after_ms, usually to ttl_ms less one beat",
    }
}

fn guard_outlives_the_next_beat(t: &Timing) -> Check {
    let left = t.beat * (LOST_BEATS + 1) + REPLY;
    let lease = t.lease();
    let right = lease.saturating_sub(t.guard_life + t.guard_renewal);
    Check {
        protects: "the address keeps answering until the third beat is acknowledged",
        rule: "3*beat + reply <= ttl*(1-rho) - W - renewal",
        sum: format!(
            "3*{} + {} = {} <= {} - {} - {} = {}",
            ms(t.beat),
            ms(REPLY),
            ms(left),
            ms(lease),
            ms(t.guard_life),
            ms(t.guard_renewal),
            ms(right)
        ),
        holds: left <= right,
        involves: vec![
            Interval::GuardLife,
            Interval::Beat,
            Interval::Ttl,
            Interval::GuardRenewal,
        ],
        fix: "lower guard_life_ms or beat_ms, or raise ttl_ms",
    }
}

fn lease_covers_guard_and_lost_beats(t: &Timing) -> Check {
    let left = t.beat * LOST_BEATS + t.guard_life * 2 + t.guard_renewal;
    let right = t.lease();
    Check {
        protects: "after two lost beats there is still a moment at which the guard may be renewed (now + 2W <= E)",
        rule: "2*beat + 2*W + renewal < ttl*(1-rho)",
        sum: format!(
            "2*{} + 2*{} + {} = {} < {}",
            ms(t.beat),
            ms(t.guard_life),
            ms(t.guard_renewal),
            ms(left),
            ms(right)
        ),
        holds: left < right,
        involves: vec![
            Interval::GuardLife,
            Interval::Ttl,
            Interval::Beat,
            Interval::GuardRenewal,
        ],
        fix: "lower guard_life_ms or beat_ms, or raise ttl_ms",
    }
}

fn guard_survives_a_late_renewal(t: &Timing) -> Check {
    let left = t.guard_renewal * 2;
    Check {
        protects: "one late renewal does not silence the address",
        rule: "2*renewal < W",
        sum: format!(
            "2*{} = {} < {}",
            ms(t.guard_renewal),
            ms(left),
            ms(t.guard_life)
        ),
        holds: left < t.guard_life,
        involves: vec![Interval::GuardRenewal, Interval::GuardLife],
        fix: "lower guard_renewal_ms or raise guard_life_ms",
    }
}

fn followers_survive_lost_heartbeats(t: &Timing) -> Check {
    let left = t.raft_heartbeat * 3;
    Check {
        protects: "two lost Raft heartbeats start no election",
        rule: "3*raft_heartbeat < election_min",
        sum: format!(
            "3*{} = {} < {}",
            ms(t.raft_heartbeat),
            ms(left),
            ms(t.election_min)
        ),
        holds: left < t.election_min,
        involves: vec![Interval::RaftHeartbeat, Interval::ElectionMin],
        fix: "lower raft_heartbeat_ms or raise election_min_ms",
    }
}

fn election_has_room(t: &Timing) -> Check {
    let left = t.election_min + t.raft_heartbeat;
    Check {
        protects: "candidates start far enough apart to elect one of them",
        rule: "election_min + raft_heartbeat <= election_max",
        sum: format!(
            "{} + {} = {} <= {}",
            ms(t.election_min),
            ms(t.raft_heartbeat),
            ms(left),
            ms(t.election_max)
        ),
        holds: left <= t.election_max,
        involves: vec![Interval::ElectionMax, Interval::ElectionMin],
        fix: "raise election_max_ms, usually to twice election_min_ms",
    }
}

fn address_outlives_the_session(t: &Timing) -> Check {
    let left = t.ttl + Duration::from_secs(1);
    Check {
        protects: "the kernel removes no address under a live lease (it counts whole seconds)",
        rule: "ttl + 1000 <= address_life",
        sum: format!(
            "{} + 1000 = {} <= {}",
            ms(t.ttl),
            ms(left),
            ms(t.address_life)
        ),
        holds: left <= t.address_life,
        involves: vec![Interval::AddressLife, Interval::Ttl],
        fix: "raise address_life_ms or lower ttl_ms",
    }
}

fn address_life_is_whole_seconds(t: &Timing) -> Check {
    Check {
        protects: "the kernel keeps address lifetimes in whole seconds",
        rule: "address_life mod 1000 = 0",
        sum: format!(
            "{} mod 1000 = {}",
            ms(t.address_life),
            t.address_life.subsec_millis()
        ),
        holds: t.address_life.subsec_nanos() == 0,
        involves: vec![Interval::AddressLife],
        fix: "write address_life_ms as a multiple of 1000",
    }
}

fn watchdog_fits(t: &Timing) -> Check {
    let left = t.watchdog_sum(t.watchdog);
    Check {
        protects: "a watchdog that is petted no more fires before the lease ends, and a cut node stops before that",
        rule: "2*beat + stop + 2*watchdog + 1000 < ttl*(1-rho)",
        sum: format!(
            "2*{} + {} + 2*{} + {} = {} < {}",
            ms(t.beat),
            ms(t.stop),
            ms(t.watchdog),
            ms(WATCHDOG_MARGIN),
            ms(left),
            ms(t.lease())
        ),
        holds: left < t.lease(),
        involves: vec![Interval::Watchdog, Interval::Stop, Interval::Ttl],
        fix: "lower watchdog_ms (0 for none), or raise the failover budget",
    }
}

fn watchdog_is_whole_seconds(t: &Timing) -> Check {
    Check {
        protects: "watchdog drivers count whole seconds",
        rule: "watchdog mod 1000 = 0",
        sum: format!(
            "{} mod 1000 = {}",
            ms(t.watchdog),
            t.watchdog.subsec_millis()
        ),
        holds: t.watchdog.subsec_nanos() == 0,
        involves: vec![Interval::Watchdog],
        fix: "write watchdog_ms as a multiple of 1000",
    }
}

fn rho_within_bounds(t: &Timing) -> Check {
    let (low, high) = RHO_BOUNDS_PPM;
    Check {
        protects: "clocks of two machines run apart by no more than this",
        rule: "rho_ppm",
        sum: format!("{low} <= {} <= {high}", t.rho_ppm),
        holds: (low..=high).contains(&t.rho_ppm),
        involves: Vec::new(),
        fix: "use a version of haft that allows for a sane clock error",
    }
}

fn within_bounds(timing: &Timing, interval: Interval) -> Check {
    let (low, high) = interval.bounds_ms();
    let value = millis(interval.of(timing));
    Check {
        protects: "timers can keep it",
        rule: interval.key(),
        sum: format!("{low} <= {value} <= {high}"),
        holds: (low..=high).contains(&value),
        involves: vec![interval],
        fix: "choose a value within the bounds, or leave it to be derived",
    }
}

/// Milliseconds, with the fraction that the clock-rate allowance leaves.
pub fn ms(span: Duration) -> String {
    let micros = span.as_micros();
    let text = format!("{}.{:03}", micros / 1_000, micros % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
