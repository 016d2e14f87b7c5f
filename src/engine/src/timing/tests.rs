//! Bounds and sums of any set; what a session is judged by while the timing changes.

use super::*;
use crate::gate::GateKind;
use crate::ids::Generation;
use proptest::prelude::*;

#[test]
fn the_longest_timing_is_the_upper_bound_of_each_interval() {
    for interval in Interval::ALL {
        let (low, high) = interval.bounds();
        assert!(low < high, "{interval:?}");
        assert_eq!(interval.of(&Timing::LONGEST), high);
        for preset in [Timing::FAST, Timing::NORMAL, Timing::RELAXED] {
            assert!(interval.of(&preset) <= high && interval.of(&preset) >= low);
        }
    }
}

fn at(generation: u64, timing: Timing) -> ClusterTiming {
    ClusterTiming {
        generation: Generation(generation),
        timing,
    }
}

#[test]
fn a_raise_counts_at_once_and_a_lowering_when_the_agent_has_said_so() {
    let mut terms = Terms::admitted(&at(5, Timing::NORMAL), GateKind::Timed);
    terms.offer(&Timing::RELAXED);
    assert_eq!(terms.judged.ttl, Timing::RELAXED.ttl);
    terms.offer(&Timing::FAST);
    assert_eq!(
        terms.judged.ttl,
        Timing::RELAXED.ttl,
        "it may have been told"
    );
    assert_eq!(terms.generation, Generation(5));
    terms.accept(&at(9, Timing::FAST), GateKind::Timed);
    assert_eq!(terms.judged, Timing::FAST);
}

#[test]
fn each_gate_has_its_row_and_what_is_overridden_alone_is_meant_for_both() {
    let behind = |gate| Terms::admitted(&at(5, Timing::FAST), gate).judged;
    assert_eq!(behind(GateKind::Timed).ttl, Timing::FAST.ttl);
    assert_eq!(behind(GateKind::Kernel).ttl, Timing::FAST.gated_ttl);
    assert_eq!(
        Timing::NORMAL.behind(GateKind::Kernel),
        Timing::NORMAL,
        "one row"
    );
    let millis = Duration::from_millis;
    let mut timing = Timing::FAST;
    override_with(&mut timing, &[(Interval::Ttl, millis(300))].into());
    assert_eq!(timing.behind(GateKind::Kernel).ttl, millis(300));
    assert_eq!(timing.gated_closing_after, millis(160));
    let both = [
        (Interval::Ttl, millis(300)),
        (Interval::GatedTtl, millis(200)),
    ];
    override_with(&mut timing, &both.into());
    assert_eq!((timing.ttl, timing.gated_ttl), (millis(300), millis(200)));
}

proptest! {
    /// A set from the log can be anything; the sums must be asked of it without harm.
    #[test]
    fn the_sums_can_be_asked_of_any_set(values in prop::collection::vec(any::<u64>(), 13), rho_ppm: u32) {
        let mut timing = Timing { rho_ppm, ..Timing::FAST };
        for (interval, value) in Interval::ALL.into_iter().zip(values) {
            interval.put(&mut timing, Duration::from_nanos(value));
        }
        if refuted(&timing).is_none() {
            prop_assert!(timing.closing_after < timing.ttl);
            prop_assert!(timing.ttl <= Timing::LONGEST.ttl);
            let row = timing.behind(GateKind::Kernel);
            prop_assert!(row.closing_after < row.ttl && row.ttl <= timing.ttl);
            prop_assert!(refuted_behind(GateKind::Kernel, &row).is_none());
        }
    }
}
