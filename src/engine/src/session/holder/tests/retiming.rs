//! The timing of a live session changes: no beat is ever counted by more than it names or the log allows.

use super::*;

const LONG: Timing = Timing::RELAXED;

fn next(h: &mut Holder) -> (Moment, Beat) {
    let at = h.next_wake().max(ms(1_000));
    (at, h.on_tick(at, Attestation::Intact).expect("due"))
}

fn acknowledge(h: &mut Holder, at: Moment, sequence: u64) -> Learned {
    h.on_answer(at, &ack(1, sequence));
    h.on_answer(at, &ack(2, sequence))
}

#[test]
fn a_longer_ttl_is_tried_with_every_second_beat_until_a_majority_takes_it() {
    let mut h = holder();
    let (at, beat) = next(&mut h);
    acknowledge(&mut h, at, beat.sequence);
    h.retime(LONG);
    let mut names = Vec::new();
    for _ in 0..4 {
        let (at, beat) = next(&mut h);
        names.push(beat.ttl);
        // Coordinators that lag refuse the longer one; the lease goes on by the shorter.
        if beat.ttl == T.ttl {
            assert_eq!(
                acknowledge(&mut h, at, beat.sequence),
                Learned::Extended(at + T.lease())
            );
        }
        assert!(h.counts_by(at) <= T.ttl);
    }
    assert_eq!(names, [LONG.ttl, T.ttl, LONG.ttl, T.ttl]);
    assert_eq!(h.timing(), &T);
    let (at, beat) = next(&mut h);
    assert_eq!(
        acknowledge(&mut h, at, beat.sequence),
        Learned::Extended(at + LONG.lease())
    );
    assert_eq!((h.timing(), h.counts_by(at)), (&LONG, LONG.ttl));
    assert!(h.is_settled(at));
}

#[test]
fn a_shorter_ttl_is_named_at_once_and_the_end_is_capped_when_nothing_acts_beyond_it() {
    let mut h = Holder::new(NodeId(9), LIFE, voters(5, &[&[1, 2, 3]]), LONG);
    let (at, beat) = next(&mut h);
    acknowledge(&mut h, at, beat.sequence);
    let old = at + LONG.lease();
    h.retime(T);
    let (at, beat) = next(&mut h);
    assert_eq!((beat.ttl, at), (T.ttl, ms(1_050)), "it beats sooner, too");
    acknowledge(&mut h, at, beat.sequence);
    assert_eq!((h.end(), h.counts_by(at)), (Some(old), LONG.ttl));
    assert!(!h.is_settled(at));
    assert_eq!(
        h.cap(at + T.lease() + Duration::from_nanos(1)),
        None,
        "something acts longer"
    );
    let capped = at + T.lease();
    assert_eq!(h.cap(capped), Some(capped));
    assert_eq!((h.end(), h.counts_by(at)), (Some(capped), T.ttl));
    assert!(h.is_settled(at));
    assert_eq!(h.cap(capped), None, "there is nothing left to cap");
}

#[test]
fn a_beat_that_named_the_longer_ttl_counts_by_the_shorter_once_that_is_in_force() {
    let mut h = Holder::new(NodeId(9), LIFE, voters(5, &[&[1, 2, 3]]), LONG);
    let (at, beat) = next(&mut h);
    h.retime(T);
    assert_eq!(
        acknowledge(&mut h, at, beat.sequence),
        Learned::Extended(at + T.lease())
    );
    assert_eq!(h.counts_by(at), T.ttl);
}

#[test]
fn the_newest_beat_caps_by_no_more_than_it_names() {
    let mut h = holder();
    h.retime(LONG);
    let (at, first) = next(&mut h);
    let (later, second) = next(&mut h);
    assert_eq!((first.ttl, second.ttl), (T.ttl, LONG.ttl));
    acknowledge(&mut h, later, second.sequence);
    assert!(h.counts_by(at) == LONG.ttl);
    let between = Timing {
        ttl: Duration::from_millis(1_200),
        ..Timing::NORMAL
    };
    h.retime(between);
    assert_eq!(h.cap(later), Some(later + between.lease()));
}

proptest! {
    /// H never exceeds what the log allows, whatever is told, acknowledged or lost, in whatever order.
    #[test]
    fn nothing_is_counted_by_more_than_the_longest_that_was_told_and_not_given_up(
        steps in prop::collection::vec((0_usize..3, 0_u8..4, any::<bool>()), 1..120),
    ) {
        let presets = [Timing::FAST, Timing::NORMAL, Timing::RELAXED];
        let mut h = holder();
        let mut judged = T.ttl;
        let mut now = ms(1_000);
        for (preset, action, heard) in steps {
            let told = presets[preset];
            match action {
                0 => {
                    judged = judged.max(told.ttl);
                    h.retime(told);
                }
                1 if h.is_settled(now) => judged = h.timing().ttl,
                2 => {
                    h.cap(now);
                }
                _ => {
                    now = now.max(h.next_wake());
                    if let Some(beat) = h.on_tick(now, Attestation::Intact) {
                        prop_assert!(beat.ttl <= judged);
                        if heard {
                            now = now + Duration::from_millis(1);
                            acknowledge(&mut h, now, beat.sequence);
                        }
                    }
                }
            }
            prop_assert!(h.counts_by(now) <= judged);
            prop_assert!(h.end().is_none_or(|end| end <= now + judged));
        }
    }
}
