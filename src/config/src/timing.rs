//! Every interval of a cluster from one knob, and the sums that must hold between them.
//!
//! Pure arithmetic: no file, no clock. The presets and their reasons are in `haft_engine::clock` and
//! ARCHITECTURE.md, the sums that every set must satisfy in `haft_engine::timing`, where `apply` asks them, too;
//! here a budget becomes intervals and single values are overridden.

mod explain;

pub use explain::explain;
pub use haft_engine::timing::{Check, Interval, checks};

use haft_engine::clock::{RHO_PPM, Timing};
use haft_engine::timing::override_with;
use std::collections::BTreeMap;
use std::time::Duration;

/// The knob.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Failover {
    /// Preset `fast`: a lost owner's address answers elsewhere in about a third of a second.
    Fast,
    /// Preset `normal`.
    #[default]
    Normal,
    /// Preset `relaxed`.
    Relaxed,
    /// From the loss of an owner to the next owner's first announcement, under `lease`.
    Budget(Duration),
}

impl std::str::FromStr for Failover {
    type Err = NoFailover;

    fn from_str(text: &str) -> Result<Self, NoFailover> {
        match text {
            "fast" => Ok(Failover::Fast),
            "normal" => Ok(Failover::Normal),
            "relaxed" => Ok(Failover::Relaxed),
            _ => crate::parse_span(text)
                .map(Failover::Budget)
                .ok_or(NoFailover),
        }
    }
}

/// A text is neither a preset nor a budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write fast, normal, relaxed, or a budget such as 2s or 800ms")]
pub struct NoFailover;

/// The smallest budget: nothing has been measured below preset `fast`.
pub const BUDGET_MIN: Duration = Duration::from_millis(320);
/// The largest budget: more is no failover.
pub const BUDGET_MAX: Duration = Duration::from_secs(300);

/// A budget outside [`BUDGET_MIN`] to [`BUDGET_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a failover budget of {} ms is outside {} ms to {} ms", .0.as_millis(), BUDGET_MIN.as_millis(), BUDGET_MAX.as_millis())]
pub struct BudgetOutOfRange(pub Duration);

/// The knob and the single values that the user set beside it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TimingRequest {
    /// The knob.
    pub failover: Failover,
    /// Values that replace derived ones. Nothing else is derived from them.
    pub overrides: BTreeMap<Interval, Duration>,
}

impl TimingRequest {
    /// The derived timing with the overrides in place; not yet checked against [`checks()`].
    pub fn timing(&self) -> Result<Timing, BudgetOutOfRange> {
        let mut timing = derive(&self.failover)?;
        override_with(&mut timing, &self.overrides);
        Ok(timing)
    }
}

/// The part of a budget set aside for two commits, the grant's way to the node and the announcement.
pub fn commit_allowance(budget: Duration) -> Duration {
    Duration::from_millis(50) + budget / 20
}

/// Intervals for a preset, or from a budget B:
///
/// - ttl = (B − (50 ms + B/20)) / (1+ρ), down to 10 ms: the age that a majority must state is ttl·(1+ρ),
///   counted from a beat that was sent before the loss;
/// - beat = ttl/6, W = ttl/4, at most a minute, renewed every ttl/12, Closing after ttl − beat: the ratios of preset `normal`;
/// - Raft heartbeat = ttl/6 within 100 to 500 ms, election 4 and 8 heartbeats;
/// - `valid_lft` = ttl + 1 s, up to a whole second;
/// - the stop deadline = ttl/6 within 500 ms to 5 s; the watchdog's period: the longest whole seconds, at most
///   ten, of which two fit into the ttl beside two beats, the stop and a second; else none.
pub fn derive(failover: &Failover) -> Result<Timing, BudgetOutOfRange> {
    let budget = match failover {
        Failover::Fast => return Ok(Timing::FAST),
        Failover::Normal => return Ok(Timing::NORMAL),
        Failover::Relaxed => return Ok(Timing::RELAXED),
        Failover::Budget(budget) => *budget,
    };
    if !(BUDGET_MIN..=BUDGET_MAX).contains(&budget) {
        return Err(BudgetOutOfRange(budget));
    }
    let left = budget - commit_allowance(budget);
    let ttl_ms = millis(left) * 1_000_000 / u64::from(1_000_000 + RHO_PPM) / 10 * 10;
    let ttl = Duration::from_millis(ttl_ms);
    let beat = Duration::from_millis(ttl_ms / 6);
    let guard_life = Duration::from_millis(ttl_ms / 4).min(Interval::GuardLife.bounds().1);
    let heartbeat = Duration::from_millis((ttl_ms / 6).clamp(100, 500));
    let timing = Timing {
        beat,
        ttl,
        guard_life,
        guard_renewal: Duration::from_millis(ttl_ms / 12),
        closing_after: ttl - beat,
        raft_heartbeat: heartbeat,
        election_min: heartbeat * 4,
        election_max: heartbeat * 8,
        address_life: Duration::from_secs(ttl_ms.div_ceil(1_000) + 1),
        stop: Duration::from_millis((ttl_ms / 6).clamp(500, 5_000)),
        watchdog: Duration::ZERO,
        gated_ttl: ttl,
        gated_closing_after: ttl - beat,
        rho_ppm: RHO_PPM,
    };
    Ok(Timing {
        watchdog: timing.longest_watchdog(),
        ..timing
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
