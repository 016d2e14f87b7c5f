//! The two rows of preset `fast`: behind a gate that keeps an absolute lease end, and behind timed elements.
//!
//! A gate compares each packet with the end itself, so W, its renewal and their sums fall away, and what has passed
//! the gate and still lies in a queue takes their place. The row is defined and its sums are asked; no admission
//! takes it yet, because no agent states such a gate.

use super::checks::{Check, LOST_BEATS, REPLY, ms};
use super::{ClusterTiming, Interval};
use crate::clock::Timing;
use std::time::Duration;

/// What keeps an owner's addresses silent after its lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GateKind {
    /// nftables elements, which count from their renewal.
    #[default]
    TimedElements,
    /// A program that compares each packet with the lease's end on CLOCK_BOOTTIME.
    AbsoluteEnd,
}

/// For how long a packet that has passed the gate may lie in a queue of the link (q); a link that queues longer says
/// so itself, or is not eligible.
pub const QUEUE: Duration = Duration::from_millis(10);

/// What closing must leave of the ttl, so that it is committed on most machines before the lease is over.
const CLOSING_ROOM: Duration = Duration::from_millis(20);

impl Timing {
    /// Preset `fast` where the gate keeps an absolute end.
    pub const FAST_GATED: Timing = Timing {
        ttl: Duration::from_millis(180),
        closing_after: Duration::from_millis(160),
        ..Timing::FAST
    };
}

impl ClusterTiming {
    /// What a session of an agent with this gate is admitted under.
    pub fn of(&self, gate: GateKind) -> Timing {
        match gate {
            // One row only until agents state an absolute gate.
            GateKind::TimedElements | GateKind::AbsoluteEnd => self.timing,
        }
    }
}

/// The sums that stand in place of those of W where the gate keeps an absolute end.
pub fn gated_checks(t: &Timing) -> Vec<Check> {
    let beats = t.beat * (LOST_BEATS + 1) + REPLY;
    vec![
        Check {
            protects: "the third beat is acknowledged before the gate closes, with what lies in a queue counted",
            rule: "3*beat + reply + q <= ttl*(1-rho)",
            sum: format!("{} + {} <= {}", ms(beats), ms(QUEUE), ms(t.lease())),
            holds: beats + QUEUE <= t.lease(),
            involves: vec![Interval::Ttl, Interval::Beat],
            fix: "lower beat_ms or raise ttl_ms",
        },
        Check {
            protects: "two beats lost in a row do not look like a lost node",
            rule: "3*beat + reply <= closing_after",
            sum: format!("{} <= {}", ms(beats), ms(t.closing_after)),
            holds: beats <= t.closing_after,
            involves: vec![Interval::ClosingAfter, Interval::Beat],
            fix: "lower beat_ms or raise closing_after_ms",
        },
        Check {
            protects: "Closing is committed while the lost node's lease still runs, so it costs no time",
            rule: "closing_after <= ttl - 20",
            sum: format!(
                "{} <= {}",
                ms(t.closing_after),
                ms(t.ttl.saturating_sub(CLOSING_ROOM))
            ),
            holds: t.closing_after + CLOSING_ROOM <= t.ttl,
            involves: vec![Interval::ClosingAfter, Interval::Ttl],
            fix: "lower closing_after_ms or raise ttl_ms",
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(timing: &Timing) -> Vec<&'static str> {
        let checks = gated_checks(timing);
        checks
            .iter()
            .filter(|check| !check.holds)
            .map(|check| check.rule)
            .collect()
    }

    #[test]
    fn the_gated_row_of_fast_keeps_its_sums_and_has_nothing_to_give_away() {
        let row = Timing::FAST_GATED;
        assert_eq!(failing(&row), Vec::<&str>::new());
        let shorter = |ttl, closing| Timing {
            ttl: Duration::from_millis(ttl),
            closing_after: Duration::from_millis(closing),
            ..row
        };
        assert_eq!(
            failing(&shorter(170, 150)),
            [
                "3*beat + reply + q <= ttl*(1-rho)",
                "3*beat + reply <= closing_after"
            ]
        );
        assert_eq!(failing(&shorter(180, 161)), ["closing_after <= ttl - 20"]);
        // Timed elements could not keep it: their W has no room.
        assert!(super::super::refuted(&row).is_some());
    }
}
