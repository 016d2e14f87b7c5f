//! The cluster's timing as a replicated value: its intervals by name, what a session counts by, and the bounds.
//!
//! Rule R2a: the log holds the timing, each session a copy of what it was admitted under, and everything that
//! judges a session asks that copy. The sums that a set must satisfy are in [`checks`]: the configuration asks
//! them before anything starts, and `apply` before it takes a set in. Derives nothing from a knob (haft-config
//! does) and reads no file.

mod checks;
mod rows;
mod terms;

pub use checks::{Check, LOST_BEATS, REPLY, checks, ms};
pub use rows::{gated_checks, refuted_behind};
pub use terms::{ClusterTiming, Terms};

use crate::clock::Timing;
use std::collections::BTreeMap;
use std::time::Duration;

/// One interval of [`Timing`], so that it can be named, overridden and shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Interval {
    /// `beat_ms`
    Beat,
    /// `ttl_ms`
    Ttl,
    /// `guard_life_ms`
    GuardLife,
    /// `guard_renewal_ms`
    GuardRenewal,
    /// `closing_after_ms`
    ClosingAfter,
    /// `raft_heartbeat_ms`
    RaftHeartbeat,
    /// `election_min_ms`
    ElectionMin,
    /// `election_max_ms`
    ElectionMax,
    /// `address_life_ms`
    AddressLife,
    /// `stop_ms`
    Stop,
    /// `watchdog_ms`
    Watchdog,
    /// `gated_ttl_ms`
    GatedTtl,
    /// `gated_closing_after_ms`
    GatedClosingAfter,
}

impl Interval {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Interval; 13] = [
        Interval::Beat,
        Interval::Ttl,
        Interval::GuardLife,
        Interval::GuardRenewal,
        Interval::ClosingAfter,
        Interval::RaftHeartbeat,
        Interval::ElectionMin,
        Interval::ElectionMax,
        Interval::AddressLife,
        Interval::Stop,
        Interval::Watchdog,
        Interval::GatedTtl,
        Interval::GatedClosingAfter,
    ];

    /// The key that overrides it in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Interval::Beat => "beat_ms",
            Interval::Ttl => "ttl_ms",
            Interval::GuardLife => "guard_life_ms",
            Interval::GuardRenewal => "guard_renewal_ms",
            Interval::ClosingAfter => "closing_after_ms",
            Interval::RaftHeartbeat => "raft_heartbeat_ms",
            Interval::ElectionMin => "election_min_ms",
            Interval::ElectionMax => "election_max_ms",
            Interval::AddressLife => "address_life_ms",
            Interval::Stop => "stop_ms",
            Interval::Watchdog => "watchdog_ms",
            Interval::GatedTtl => "gated_ttl_ms",
            Interval::GatedClosingAfter => "gated_closing_after_ms",
        }
    }

    /// What it is, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Interval::Beat => "a node's beat to every coordinator",
            Interval::Ttl => "life of a session after the newest beat that a majority acknowledged",
            Interval::GuardLife => {
                "W: timed elements, where no gate is, end this long after their last renewal"
            }
            Interval::GuardRenewal => "the guard is renewed this often",
            Interval::ClosingAfter => "a leader that heard nothing this long commits Closing",
            Interval::RaftHeartbeat => "Raft heartbeat",
            Interval::ElectionMin => "Raft election timeout, lower bound",
            Interval::ElectionMax => "Raft election timeout, upper bound, and the leader's lease",
            Interval::AddressLife => "valid_lft of an address behind its guard, whole seconds",
            Interval::Stop => {
                "S: a stop that takes longer has failed (stonith: fenced; watchdog: reset; lease: it runs out)"
            }
            Interval::Watchdog => {
                "period asked of a hardware watchdog; 0: the ttl is too short for any"
            }
            Interval::GatedTtl => "ttl of a node whose kernel keeps the lease's end (see its gate)",
            Interval::GatedClosingAfter => "closing_after of such a node",
        }
    }

    /// Its value in a timing.
    pub fn of(self, timing: &Timing) -> Duration {
        match self {
            Interval::Beat => timing.beat,
            Interval::Ttl => timing.ttl,
            Interval::GuardLife => timing.guard_life,
            Interval::GuardRenewal => timing.guard_renewal,
            Interval::ClosingAfter => timing.closing_after,
            Interval::RaftHeartbeat => timing.raft_heartbeat,
            Interval::ElectionMin => timing.election_min,
            Interval::ElectionMax => timing.election_max,
            Interval::AddressLife => timing.address_life,
            Interval::Stop => timing.stop,
            Interval::Watchdog => timing.watchdog,
            Interval::GatedTtl => timing.gated_ttl,
            Interval::GatedClosingAfter => timing.gated_closing_after,
        }
    }

    /// Replaces its value.
    pub fn put(self, timing: &mut Timing, value: Duration) {
        let slot = match self {
            Interval::Beat => &mut timing.beat,
            Interval::Ttl => &mut timing.ttl,
            Interval::GuardLife => &mut timing.guard_life,
            Interval::GuardRenewal => &mut timing.guard_renewal,
            Interval::ClosingAfter => &mut timing.closing_after,
            Interval::RaftHeartbeat => &mut timing.raft_heartbeat,
            Interval::ElectionMin => &mut timing.election_min,
            Interval::ElectionMax => &mut timing.election_max,
            Interval::AddressLife => &mut timing.address_life,
            Interval::Stop => &mut timing.stop,
            Interval::Watchdog => &mut timing.watchdog,
            Interval::GatedTtl => &mut timing.gated_ttl,
            Interval::GatedClosingAfter => &mut timing.gated_closing_after,
        };
        *slot = value;
    }

    /// Bounds of its value. Below, timers of the kernel and of a loaded machine are too coarse (nftables keeps
    /// element timeouts in jiffies, 4 ms at 250 Hz); above, it is no failover.
    pub const fn bounds(self) -> (Duration, Duration) {
        let (low, high) = match self {
            Interval::Beat => (20, 60_000),
            Interval::Ttl | Interval::GatedTtl => (100, 600_000),
            // The most that haft-agent writes into an element.
            Interval::GuardLife => (20, 60_000),
            Interval::GuardRenewal => (5, 60_000),
            Interval::ClosingAfter | Interval::GatedClosingAfter => (60, 600_000),
            Interval::RaftHeartbeat => (20, 10_000),
            Interval::ElectionMin => (100, 60_000),
            Interval::ElectionMax => (150, 120_000),
            Interval::AddressLife => (1_000, 3_600_000),
            Interval::Stop => (100, 60_000),
            Interval::Watchdog => (0, 60_000),
        };
        (Duration::from_millis(low), Duration::from_millis(high))
    }

    /// The same in milliseconds.
    pub fn bounds_ms(self) -> (u64, u64) {
        let (low, high) = self.bounds();
        (millis(low), millis(high))
    }
}

/// Replaces single values of a set. One that names `ttl_ms` or `closing_after_ms` alone means it for every node,
/// whatever its gate.
pub fn override_with(timing: &mut Timing, values: &BTreeMap<Interval, Duration>) {
    for (interval, value) in values {
        interval.put(timing, *value);
    }
    for (plain, gated) in [
        (Interval::Ttl, Interval::GatedTtl),
        (Interval::ClosingAfter, Interval::GatedClosingAfter),
    ] {
        if let (Some(value), false) = (values.get(&plain), values.contains_key(&gated)) {
            gated.put(timing, *value);
        }
    }
}

/// Bounds of the clock-rate error that a set may allow for, in parts per million: below, no crystal of a
/// server is trusted; above, a clock is broken.
pub const RHO_BOUNDS_PPM: (u32, u32) = (100, 10_000);

impl Timing {
    /// The longest of every interval that any configuration may choose: what a session whose timing is unknown
    /// (a state written before the log held one) is judged by.
    pub const LONGEST: Timing = Timing {
        beat: Interval::Beat.bounds().1,
        ttl: Interval::Ttl.bounds().1,
        guard_life: Interval::GuardLife.bounds().1,
        guard_renewal: Interval::GuardRenewal.bounds().1,
        closing_after: Interval::ClosingAfter.bounds().1,
        raft_heartbeat: Interval::RaftHeartbeat.bounds().1,
        election_min: Interval::ElectionMin.bounds().1,
        election_max: Interval::ElectionMax.bounds().1,
        address_life: Interval::AddressLife.bounds().1,
        stop: Interval::Stop.bounds().1,
        watchdog: Interval::Watchdog.bounds().1,
        gated_ttl: Interval::GatedTtl.bounds().1,
        gated_closing_after: Interval::GatedClosingAfter.bounds().1,
        rho_ppm: RHO_BOUNDS_PPM.1,
    };

    /// Each interval of the longer of both: what judges somebody who may be counting by either.
    #[must_use]
    pub fn longest(&self, other: &Timing) -> Timing {
        let mut longest = *self;
        for interval in Interval::ALL {
            interval.put(&mut longest, interval.of(self).max(interval.of(other)));
        }
        longest.rho_ppm = self.rho_ppm.max(other.rho_ppm);
        longest
    }
}

/// The first sum that does not hold, in words; `None` for a set that can be kept.
pub fn refuted(timing: &Timing) -> Option<Check> {
    checks(timing).into_iter().find(|check| !check.holds)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
