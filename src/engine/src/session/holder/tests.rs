//! Scenarios of a node's lease, and a property over random answers. Does not involve a real responder; the model check does.

use super::*;
use crate::clock::shortened;
use crate::ids::{EntryId, Epoch};
use proptest::prelude::*;

mod retiming;

const T: Timing = Timing::FAST;
const LIFE: Incarnation = Incarnation(20);

fn ms(n: u64) -> Moment {
    Moment(n * 1_000_000)
}

fn voters(index: u64, sets: &[&[u64]]) -> VoterSets {
    VoterSets {
        at: EntryId::new(1, index),
        sets: sets
            .iter()
            .map(|set| set.iter().copied().map(NodeId).collect())
            .collect(),
    }
}

fn holder() -> Holder {
    Holder::new(NodeId(9), LIFE, voters(5, &[&[1, 2, 3]]), T)
}

fn answer(from: u64, sequence: u64, membership: VoterSets, kind: AnswerKind) -> Answer {
    Answer {
        from: NodeId(from),
        incarnation: LIFE,
        sequence,
        membership,
        epoch: Epoch(1),
        log: EntryId::new(1, 40),
        kind,
    }
}

fn ack(from: u64, sequence: u64) -> Answer {
    answer(
        from,
        sequence,
        voters(5, &[&[1, 2, 3]]),
        AnswerKind::Acknowledged,
    )
}

fn send(h: &mut Holder, at: u64) -> Beat {
    h.on_tick(ms(at), Attestation::Intact).unwrap()
}

#[test]
fn a_majority_extends_the_lease_from_the_send_time() {
    let mut h = holder();
    assert_eq!(send(&mut h, 1_000).sequence, 1);
    assert_eq!(h.end(), None);
    assert_eq!(h.on_answer(ms(1_010), &ack(1, 1)), Learned::Nothing);
    let end = ms(1_000) + shortened(T.ttl);
    assert_eq!(h.on_answer(ms(1_040), &ack(2, 1)), Learned::Extended(end));
    assert_eq!(h.end(), Some(end));
}

#[test]
fn an_acknowledgement_without_room_for_its_voters_counts_by_its_entry() {
    let mut h = holder();
    assert_eq!(send(&mut h, 1_000).ttl, T.ttl);
    let without = |at: EntryId, from: u64| Answer {
        membership: VoterSets { at, sets: vec![] },
        ..ack(from, 1)
    };
    let entry = voters(5, &[]).at;
    // Another leader's entry at the same index is another membership.
    let other = EntryId::new(2, 5);
    assert_eq!(h.on_answer(ms(1_010), &without(other, 1)), Learned::Nothing);
    assert_eq!(h.on_answer(ms(1_010), &without(other, 2)), Learned::Nothing);
    assert_eq!(h.on_answer(ms(1_010), &without(entry, 1)), Learned::Nothing);
    let end = ms(1_000) + shortened(T.ttl);
    assert_eq!(
        h.on_answer(ms(1_010), &without(entry, 2)),
        Learned::Extended(end)
    );
}

#[test]
fn the_same_coordinator_twice_is_no_majority() {
    let mut h = holder();
    send(&mut h, 1_000);
    h.on_answer(ms(1_010), &ack(1, 1));
    assert_eq!(h.on_answer(ms(1_020), &ack(1, 1)), Learned::Nothing);
    assert_eq!(h.on_answer(ms(1_020), &ack(8, 1)), Learned::Nothing);
}

#[test]
fn an_older_beat_completed_late_never_takes_the_end_back() {
    let mut h = holder();
    send(&mut h, 1_000);
    send(&mut h, 1_050);
    h.on_answer(ms(1_060), &ack(1, 1));
    h.on_answer(ms(1_060), &ack(1, 2));
    h.on_answer(ms(1_060), &ack(2, 2));
    let end = h.end();
    assert_eq!(h.on_answer(ms(1_070), &ack(2, 1)), Learned::Nothing);
    assert_eq!(h.end(), end);
}

#[test]
fn refusals_do_not_count() {
    let mut h = holder();
    send(&mut h, 1_000);
    h.on_answer(ms(1_010), &ack(1, 1));
    for kind in [
        AnswerKind::Sealed,
        AnswerKind::NotAdmitted,
        AnswerKind::OtherMembership,
        AnswerKind::NotReady,
    ] {
        let refusal = answer(2, 1, voters(5, &[&[1, 2, 3]]), kind);
        assert_eq!(h.on_answer(ms(1_010), &refusal), Learned::Nothing);
    }
    assert_eq!(h.end(), None);
}

#[test]
fn one_word_of_an_ended_life_is_enough_and_stops_the_beats() {
    let mut h = holder();
    send(&mut h, 1_000);
    let over = answer(2, 1, voters(5, &[&[1, 2, 3]]), AnswerKind::Ended);
    assert_eq!(h.on_answer(ms(1_010), &over), Learned::Over);
    assert_eq!(h.on_tick(ms(5_000), Attestation::Intact), None);
}

#[test]
fn an_answer_to_another_life_changes_nothing() {
    let mut h = holder();
    send(&mut h, 1_000);
    let mut other = answer(2, 1, voters(5, &[&[1, 2, 3]]), AnswerKind::Ended);
    other.incarnation = Incarnation(19);
    assert_eq!(h.on_answer(ms(1_010), &other), Learned::Nothing);
}

#[test]
fn beats_keep_their_cadence_and_do_not_burst_after_a_pause() {
    let mut h = holder();
    send(&mut h, 1_000);
    assert_eq!(h.on_tick(ms(1_049), Attestation::Intact), None);
    send(&mut h, 1_052);
    assert_eq!(h.next_wake(), ms(1_100));
    send(&mut h, 3_000);
    assert_eq!(h.on_tick(ms(3_049), Attestation::Intact), None);
}

#[test]
fn a_joint_membership_needs_both_halves() {
    let joint = voters(30, &[&[1, 2, 3], &[1, 4, 5]]);
    let mut h = Holder::new(NodeId(9), LIFE, joint.clone(), T);
    send(&mut h, 1_000);
    for from in [1, 2, 3] {
        let ack = answer(from, 1, joint.clone(), AnswerKind::Acknowledged);
        assert_eq!(h.on_answer(ms(1_010), &ack), Learned::Nothing);
    }
    let ack = answer(4, 1, joint, AnswerKind::Acknowledged);
    assert!(matches!(h.on_answer(ms(1_010), &ack), Learned::Extended(_)));
}

#[test]
fn acknowledgements_under_another_membership_of_the_same_index_do_not_count() {
    let mut h = Holder::new(NodeId(9), LIFE, voters(30, &[&[1, 2, 3], &[1, 2, 4]]), T);
    send(&mut h, 1_000);
    let twin = voters(30, &[&[1, 2, 3], &[1, 2, 5]]);
    for from in [1, 2, 3, 4, 5] {
        let ack = answer(from, 1, twin.clone(), AnswerKind::Acknowledged);
        assert_eq!(h.on_answer(ms(1_010), &ack), Learned::Nothing);
    }
}

#[test]
fn a_member_replacement_costs_one_beat_out_of_turn() {
    let mut h = holder();
    send(&mut h, 1_000);
    let joint = voters(30, &[&[1, 2, 3], &[1, 2, 4]]);
    let refusal = |from| answer(from, 1, joint.clone(), AnswerKind::OtherMembership);
    h.on_answer(ms(1_010), &refusal(1));
    assert_eq!(h.membership().at, EntryId::new(1, 5));
    h.on_answer(ms(1_011), &refusal(2));
    assert_eq!(h.membership(), &joint);
    assert_eq!(h.recipients().len(), 4);
    let beat = send(&mut h, 1_011);
    assert_eq!((beat.sequence, beat.membership), (2, EntryId::new(1, 30)));
    assert_eq!(h.next_wake(), ms(1_050));
}

#[test]
fn a_truncated_membership_is_left_again() {
    let mut h = holder();
    let joint = voters(30, &[&[1, 2, 3], &[1, 2, 4]]);
    send(&mut h, 1_000);
    for from in [1, 2] {
        h.on_answer(
            ms(1_010),
            &answer(from, 1, joint.clone(), AnswerKind::OtherMembership),
        );
    }
    for from in [2, 3] {
        let back = answer(
            from,
            1,
            voters(5, &[&[1, 2, 3]]),
            AnswerKind::OtherMembership,
        );
        h.on_answer(ms(1_020), &back);
    }
    assert_eq!(h.membership().at, EntryId::new(1, 5));
}

proptest! {
    /// Whatever is answered, in whatever order: the end is that of some beat really sent, acknowledged
    /// by two of three, and it only rises.
    #[test]
    fn the_end_is_always_backed_by_a_majority(
        answers in proptest::collection::vec((1u64..=4, 1u64..=12, 0u8..4), 0..80)
    ) {
        let mut h = holder();
        let mut sent = std::collections::BTreeMap::new();
        let mut acknowledged: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        let mut now = 1_000;
        let mut last = None;
        for (from, sequence, kind) in answers {
            now += 7;
            if let Some(beat) = h.on_tick(ms(now), Attestation::Intact) {
                sent.insert(beat.sequence, ms(now));
            }
            let kind = match kind {
                0 | 1 => AnswerKind::Acknowledged,
                2 => AnswerKind::Sealed,
                _ => AnswerKind::NotReady,
            };
            if kind == AnswerKind::Acknowledged && from <= 3 && sent.contains_key(&sequence) {
                acknowledged.entry(sequence).or_default().insert(from);
            }
            h.on_answer(ms(now), &answer(from, sequence, voters(5, &[&[1, 2, 3]]), kind));
            prop_assert!(h.end() >= last);
            last = h.end();
            if let Some(end) = h.end() {
                let backed = acknowledged.iter().any(|(sequence, by)| {
                    by.len() >= 2 && sent[sequence] + shortened(T.ttl) == end
                });
                prop_assert!(backed);
            }
        }
    }
}
