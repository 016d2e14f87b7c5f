//! Bounds and sums of any set; what a session is judged by while the timing changes.

use super::*;
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
    let mut terms = Terms::admitted(&at(5, Timing::NORMAL));
    terms.offer(&Timing::RELAXED);
    assert_eq!(terms.judged.ttl, Timing::RELAXED.ttl);
    terms.offer(&Timing::FAST);
    assert_eq!(
        terms.judged.ttl,
        Timing::RELAXED.ttl,
        "it may have been told"
    );
    assert_eq!(terms.generation, Generation(5));
    terms.accept(&at(9, Timing::FAST));
    assert_eq!(terms.judged, Timing::FAST);
}

proptest! {
    /// A set from the log can be anything; the sums must be asked of it without harm.
    #[test]
    fn the_sums_can_be_asked_of_any_set(values in prop::collection::vec(any::<u64>(), 11), rho_ppm: u32) {
        let mut timing = Timing { rho_ppm, ..Timing::FAST };
        for (interval, value) in Interval::ALL.into_iter().zip(values) {
            interval.put(&mut timing, Duration::from_nanos(value));
        }
        if refuted(&timing).is_none() {
            prop_assert!(timing.closing_after < timing.ttl);
            prop_assert!(timing.ttl <= Timing::LONGEST.ttl);
        }
    }
}
