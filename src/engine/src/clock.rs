//! Time as a value: moments on one node's clock, and the timing that a cluster runs with.
//!
//! Reads no clock. A [`Moment`] is only comparable with moments of the same node and boot.

use crate::gate::GateKind;
use std::ops::Add;
use std::time::Duration;

/// A moment on one machine's suspend-counting clock (CLOCK_BOOTTIME), in nanoseconds since its boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// Time passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment less `span`, stopping at boot.
    pub fn before(self, span: Duration) -> Moment {
        Moment(self.0.saturating_sub(nanos(span)))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(span)))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Largest clock-rate error assumed between any two machines, in parts per million: ten times a
/// bad crystal (hazards 2.0).
pub const RHO_PPM: u32 = 1_000;

/// `span` on a clock that runs slow by [`RHO_PPM`]: `span·(1−ρ)`, what a holder may count on.
pub fn shortened(span: Duration) -> Duration {
    span - span * RHO_PPM / 1_000_000
}

/// `span` on a clock that runs fast by [`RHO_PPM`]: `span·(1+ρ)`, what a judge must wait.
pub fn lengthened(span: Duration) -> Duration {
    span + span * RHO_PPM / 1_000_000
}

/// Every interval of a cluster, already derived and checked by haft-config.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// A node's beat interval.
    pub beat: Duration,
    /// Session time to live.
    pub ttl: Duration,
    /// Life of a guard element after its last renewal (W).
    pub guard_life: Duration,
    /// Interval of guard renewals.
    pub guard_renewal: Duration,
    /// A leader's own silence from a node after which it commits `Closing`.
    pub closing_after: Duration,
    /// Raft heartbeat interval.
    pub raft_heartbeat: Duration,
    /// Raft election timeout, lower bound.
    pub election_min: Duration,
    /// Raft election timeout, upper bound; also openraft's leader lease.
    pub election_max: Duration,
    /// `valid_lft` put on addresses behind the guard; whole seconds.
    pub address_life: Duration,
    /// How long an owner may take to stop before that counts as a failure (S; R7).
    pub stop: Duration,
    /// Watchdog period to ask the driver for; zero if the ttl is too short for any.
    pub watchdog: Duration,
    /// What `ttl` is for a session whose agent keeps the lease's end in the kernel's gate.
    pub gated_ttl: Duration,
    /// What `closing_after` is for such a session.
    pub gated_closing_after: Duration,
    /// Clock-rate error allowed for between any two machines, in parts per million. In the set and not in the
    /// build, so that two builds judge one entry alike.
    pub rho_ppm: u32,
}

/// What a holder keeps in hand beside its stop and its watchdog (G; hazards 2.0): scheduling and ticks.
pub const WATCHDOG_MARGIN: Duration = Duration::from_secs(1);

impl Timing {
    const fn of_millis(v: [u64; 9], address_life_s: u64, watchdog_s: u64) -> Timing {
        Timing {
            beat: Duration::from_millis(v[0]),
            ttl: Duration::from_millis(v[1]),
            guard_life: Duration::from_millis(v[2]),
            guard_renewal: Duration::from_millis(v[3]),
            closing_after: Duration::from_millis(v[4]),
            raft_heartbeat: Duration::from_millis(v[5]),
            election_min: Duration::from_millis(v[6]),
            election_max: Duration::from_millis(v[7]),
            address_life: Duration::from_secs(address_life_s),
            stop: Duration::from_millis(v[8]),
            watchdog: Duration::from_secs(watchdog_s),
            gated_ttl: Duration::from_millis(v[1]),
            gated_closing_after: Duration::from_millis(v[4]),
            rho_ppm: RHO_PPM,
        }
    }

    /// What the node may count on after a beat was sent: `ttl·(1−ρ)`.
    pub fn lease(&self) -> Duration {
        self.shortened(self.ttl)
    }

    /// The age that a coordinator must state before the session is over: `ttl·(1+ρ)`.
    pub fn silence(&self) -> Duration {
        self.ttl
            .saturating_add(self.ttl.saturating_mul(self.rho_ppm) / 1_000_000)
    }

    /// `span·(1−ρ)`, what may be counted on by a clock that runs slow.
    pub fn shortened(&self, span: Duration) -> Duration {
        span.saturating_sub(span.saturating_mul(self.rho_ppm) / 1_000_000)
    }

    /// What must fit into `ttl·(1−ρ)` for watchdog isolation with this period: two lost beats, the stop,
    /// twice the period (a pet decided now may take effect a period later and lasts another) and the margin.
    pub fn watchdog_sum(&self, period: Duration) -> Duration {
        self.beat * 2 + self.stop + period * 2 + WATCHDOG_MARGIN
    }

    /// Whether a watchdog of this period can isolate within this ttl.
    pub fn admits_watchdog(&self, period: Duration) -> bool {
        !period.is_zero() && self.watchdog_sum(period) < self.lease()
    }

    /// The longest whole-second period that fits, at most ten seconds; zero if none does.
    pub fn longest_watchdog(&self) -> Duration {
        (1..=10)
            .rev()
            .map(Duration::from_secs)
            .find(|period| self.admits_watchdog(*period))
            .unwrap_or_default()
    }

    /// The row of this set for a session behind such a gate: what it is admitted under, and judged by.
    #[must_use]
    pub fn behind(&self, gate: GateKind) -> Timing {
        match gate {
            GateKind::Timed => *self,
            GateKind::Kernel => Timing {
                ttl: self.gated_ttl,
                closing_after: self.gated_closing_after,
                ..*self
            },
        }
    }

    /// Preset `fast`. Behind a gate W and its sums fall away, and with them a third of the session's life; the
    /// other presets have room for both and one row.
    pub const FAST: Timing = Timing {
        gated_ttl: Duration::from_millis(180),
        gated_closing_after: Duration::from_millis(160),
        ..Self::of_millis([50, 250, 60, 25, 200, 100, 400, 800, 500], 2, 0)
    };
    /// Preset `normal`.
    pub const NORMAL: Timing =
        Self::of_millis([200, 1_200, 300, 100, 1_000, 200, 1_000, 2_000, 500], 3, 0);
    /// Preset `relaxed`.
    pub const RELAXED: Timing = Self::of_millis(
        [1_000, 6_000, 1_400, 400, 5_000, 500, 2_000, 4_000, 900],
        8,
        1,
    );
}
