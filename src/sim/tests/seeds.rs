//! A short slice of the default seeds on every test run; the whole set is `haft-sim run` (5,000 seeds).
//!
//! With `--features planted-bugs` the suite also shows that each planted bug is caught.

use haft_sim::run::run;
use haft_sim::sweep::{replay_command, sweep};
use haft_sim::trace::Detail;

/// Seeds in the slice.
const SLICE: u64 = 300;

#[test]
fn the_first_seeds_keep_every_promise_and_meet_every_fault_while_something_is_granted() {
    let sum = sweep(0..SLICE);
    if let Some((seed, violation)) = &sum.failure {
        panic!("{violation:?}\nreplay: {}", replay_command(*seed));
    }
    assert_eq!(sum.seeds, SLICE);
    assert_eq!(
        sum.unmet(),
        [],
        "classes of faults that hit nothing granted"
    );
    assert_eq!(sum.idle_seeds, [], "seeds whose faults hit nothing granted");
    let counts = sum.counts;
    assert!(counts.grants > SLICE, "{counts:?}");
    assert!(counts.expired > SLICE, "{counts:?}");
    assert!(counts.reopened > 0, "{counts:?}");
    assert!(counts.confirmed > SLICE, "{counts:?}");
    assert!(counts.unproven > 0, "{counts:?}");
    assert!(counts.vouched > 0, "{counts:?}");
    assert!(counts.ordered_on > 0, "{counts:?}");
    assert!(counts.drills > 0, "{counts:?}");
    assert!(counts.held > 0, "{counts:?}");
    assert!(counts.quarantined > 0, "{counts:?}");
}

#[test]
fn a_seed_replays_line_by_line() {
    let first = run(5, Detail::Messages);
    let again = run(5, Detail::Messages);
    assert!(first.lines.len() > 1_000, "the trace is there");
    let differs = first
        .lines
        .iter()
        .zip(&again.lines)
        .find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(first.events, again.events);
}

#[test]
fn seeds_differ_from_each_other() {
    assert_ne!(
        run(5, Detail::Story).lines,
        run(6, Detail::Story).lines,
        "the seed is used"
    );
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use haft_engine::plant::Bug;
    use haft_sim::planted::search;

    #[test]
    fn the_default_seeds_catch_every_planted_bug() {
        let catches = search(&Bug::ALL, &(1..1_500));
        assert_eq!(catches.len(), Bug::ALL.len());
        let missed: Vec<Bug> = catches
            .iter()
            .filter(|catch| catch.caught().is_none())
            .map(|catch| catch.bug)
            .collect();
        assert_eq!(missed, [], "{catches:#?}");
    }
}
