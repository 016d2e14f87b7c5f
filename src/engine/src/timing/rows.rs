//! The row of a set that is counted by behind a gate which keeps an absolute lease end.
//!
//! A gate compares each packet with the end itself, so W, its renewal and their sums fall away, and what has passed
//! the gate and still lies in a queue takes their place. Which row a session gets is [`Timing::behind`]'s question.

use super::checks::{Check, LOST_BEATS, REPLY, ms, row_checks};
use super::{Interval, refuted};
use crate::clock::Timing;
use crate::gate::{GateKind, QUEUE};
use std::time::Duration;

/// What closing must leave of the ttl, so that it is committed on most machines before the lease is over.
const CLOSING_ROOM: Duration = Duration::from_millis(20);

/// The first sum that a row does not keep behind this gate; `None` for one that an agent with it can count by.
pub fn refuted_behind(gate: GateKind, row: &Timing) -> Option<Check> {
    let timed = refuted(row)?;
    match gate {
        GateKind::Timed => Some(timed),
        GateKind::Kernel => {
            let mut asked = row_checks(row);
            asked.extend(gated_checks(row));
            asked.into_iter().find(|check| !check.holds)
        }
    }
}

/// The sums that stand in place of those of W where the gate keeps an absolute end, of the row for it.
pub fn gated_checks(t: &Timing) -> Vec<Check> {
    let beats = t.beat * (LOST_BEATS + 1) + REPLY;
    vec![
        Check {
            protects: "the third beat is acknowledged before the gate closes, with what lies in a queue counted",
            rule: "3*beat + reply + q <= gated_ttl*(1-rho)",
            sum: format!("{} + {} <= {}", ms(beats), ms(QUEUE), ms(t.lease())),
            holds: beats + QUEUE <= t.lease(),
            involves: vec![Interval::GatedTtl, Interval::Beat],
            fix: "lower beat_ms or raise gated_ttl_ms",
        },
        Check {
            protects: "two beats lost in a row do not look like a lost node",
            rule: "3*beat + reply <= gated_closing_after",
            sum: format!("{} <= {}", ms(beats), ms(t.closing_after)),
            holds: beats <= t.closing_after,
            involves: vec![Interval::GatedClosingAfter, Interval::Beat],
            fix: "lower beat_ms or raise gated_closing_after_ms",
        },
        Check {
            protects: "Closing is committed while the lost node's lease still runs, so it costs no time",
            rule: "gated_closing_after <= gated_ttl - 20",
            sum: format!(
                "{} <= {}",
                ms(t.closing_after),
                ms(t.ttl.saturating_sub(CLOSING_ROOM))
            ),
            holds: t.closing_after + CLOSING_ROOM <= t.ttl,
            involves: vec![Interval::GatedClosingAfter, Interval::GatedTtl],
            fix: "lower gated_closing_after_ms or raise gated_ttl_ms",
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
        let row = Timing::FAST.behind(GateKind::Kernel);
        let millis = Duration::from_millis;
        assert_eq!((row.ttl, row.closing_after), (millis(180), millis(160)));
        assert_eq!(failing(&row), Vec::<&str>::new());
        let shorter = |ttl, closing| Timing {
            ttl: millis(ttl),
            closing_after: millis(closing),
            ..row
        };
        assert_eq!(
            failing(&shorter(170, 150)),
            [
                "3*beat + reply + q <= gated_ttl*(1-rho)",
                "3*beat + reply <= gated_closing_after"
            ]
        );
        assert_eq!(
            failing(&shorter(180, 161)),
            ["gated_closing_after <= gated_ttl - 20"]
        );
    }

    #[test]
    fn a_row_without_room_for_w_is_counted_by_behind_a_gate_alone() {
        let row = Timing::FAST.behind(GateKind::Kernel);
        assert_eq!(refuted_behind(GateKind::Kernel, &row), None);
        assert!(refuted_behind(GateKind::Timed, &row).is_some());
        for preset in [Timing::FAST, Timing::NORMAL, Timing::RELAXED] {
            assert_eq!(refuted_behind(GateKind::Timed, &preset), None);
            assert_eq!(refuted(&preset), None);
        }
    }

    #[test]
    fn a_set_whose_gated_row_is_the_longer_or_cannot_be_kept_is_refuted() {
        let rule = |gated_ttl, gated_closing| {
            let set = Timing {
                gated_ttl: Duration::from_millis(gated_ttl),
                gated_closing_after: Duration::from_millis(gated_closing),
                ..Timing::FAST
            };
            refuted(&set).map(|check| check.rule)
        };
        assert_eq!(rule(180, 160), None);
        assert_eq!(rule(250, 200), None, "one row for both");
        assert_eq!(rule(260, 200), Some("gated_ttl <= ttl"));
        assert_eq!(
            rule(180, 161),
            Some("gated_closing_after <= gated_ttl - 20")
        );
    }

    #[test]
    fn a_row_that_its_agents_would_refuse_is_refused_before_it_is_in_force() {
        let set = Timing {
            gated_ttl: Duration::from_millis(5_000),
            gated_closing_after: Duration::from_millis(4_000),
            ..Timing::RELAXED
        };
        let row = set.behind(GateKind::Kernel);
        assert!(
            refuted_behind(GateKind::Kernel, &row).is_some(),
            "no room for its watchdog"
        );
        assert!(refuted(&set).is_some());
    }
}
