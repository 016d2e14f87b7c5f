//! The datagram: sizes, round trips, and everything that must be dropped.

use super::*;
use haft_engine::command::HeartbeatKey;
use proptest::prelude::*;
use std::time::Duration;

fn key() -> BeatKey {
    let heartbeat = HeartbeatKey {
        generation: 3,
        secret: [7; 32],
    };
    BeatKey::derive(&heartbeat, NodeId(5), Incarnation(9))
}

fn beat() -> Beat {
    Beat {
        node: NodeId(5),
        incarnation: Incarnation(9),
        sequence: 77,
        membership: EntryId::new(2, 4),
        ttl: Duration::from_millis(250),
        guards: Attestation::Intact,
    }
}

fn refusal(voters: u64) -> Answer {
    let sets = vec![
        (1..=voters).map(NodeId).collect(),
        (2..=voters + 1).map(NodeId).collect(),
    ];
    Answer {
        from: NodeId(2),
        incarnation: Incarnation(9),
        sequence: 77,
        membership: VoterSets {
            at: EntryId::new(3, 8),
            sets,
        },
        epoch: Epoch(2),
        log: EntryId::new(3, 90),
        kind: AnswerKind::OtherMembership,
    }
}

#[test]
fn a_beat_survives_the_wire_and_stays_within_the_bound() {
    let bytes = seal_beat(&key(), &beat(), 11);
    assert_eq!(bytes.len(), 80);
    assert_eq!(
        open_beat(&key(), &bytes),
        Ok(OpenedBeat {
            beat: beat(),
            nonce: 11
        })
    );
}

#[test]
fn a_joint_refusal_carries_both_sets_within_the_bound() {
    let bytes = seal_answer(&key(), NodeId(5), &refusal(7));
    assert!(bytes.len() <= DATAGRAM_MAX, "{} bytes", bytes.len());
    assert_eq!(
        open_answer(&key(), &bytes),
        Ok(OpenedAnswer::Answer(refusal(7)))
    );
}

#[test]
fn as_many_voters_as_a_cluster_may_have_travel_with_ids_of_any_size() {
    for first in [1, u64::from(u32::MAX), u64::MAX - 200] {
        let mut answer = refusal(14);
        let id = |n: u64| NodeId(first + n);
        answer.membership.sets = vec![(0..62).map(id).collect(), (63..126).map(id).collect()];
        assert_eq!(answer.membership.all().len(), VOTERS_MAX);
        let bytes = seal_answer(&key(), NodeId(5), &answer);
        assert!(bytes.len() <= DATAGRAM_MAX, "{} bytes", bytes.len());
        assert_eq!(
            open_answer(&key(), &bytes),
            Ok(OpenedAnswer::Answer(answer))
        );
    }
}

#[test]
fn voters_that_do_not_fit_are_left_out_and_their_entry_still_names_them() {
    let bytes = seal_answer(&key(), NodeId(5), &refusal(VOTERS_MAX as u64));
    assert!(bytes.len() <= DATAGRAM_MAX);
    let Ok(OpenedAnswer::Answer(answer)) = open_answer(&key(), &bytes) else {
        panic!("not an answer")
    };
    assert!(answer.membership.sets.is_empty());
    assert_eq!(answer.membership.at, EntryId::new(3, 8));
}

#[test]
fn every_number_survives_at_its_extremes() {
    for extreme in [0, u64::MAX] {
        let entry = EntryId::new(extreme, extreme);
        let beat = Beat {
            node: NodeId(extreme),
            incarnation: Incarnation(extreme),
            sequence: extreme,
            membership: entry,
            ttl: Duration::from_nanos(extreme),
            guards: Attestation::Broken,
        };
        let bytes = seal_beat(&key(), &beat, extreme);
        let nonce = extreme;
        assert_eq!(open_beat(&key(), &bytes), Ok(OpenedBeat { beat, nonce }));
        let answer = Answer {
            from: NodeId(extreme),
            incarnation: beat.incarnation,
            sequence: extreme,
            membership: VoterSets {
                at: entry,
                sets: vec![[NodeId(extreme)].into()],
            },
            epoch: Epoch(u32::try_from(extreme.min(u64::from(u32::MAX))).unwrap()),
            log: entry,
            kind: AnswerKind::Acknowledged,
        };
        let bytes = seal_answer(&key(), beat.node, &answer);
        assert_eq!(
            open_answer(&key(), &bytes),
            Ok(OpenedAnswer::Answer(answer))
        );
        let from = NodeId(extreme);
        let bytes = seal_challenge(&key(), &beat, from, nonce);
        assert_eq!(
            open_answer(&key(), &bytes),
            Ok(OpenedAnswer::Challenge { from, nonce })
        );
    }
    // A ttl beyond what 64 bits hold (584 years) arrives as the longest that they do.
    let endless = Beat {
        ttl: Duration::MAX,
        ..beat()
    };
    let opened = open_beat(&key(), &seal_beat(&key(), &endless, 1)).unwrap();
    assert_eq!(opened.beat.ttl, Duration::from_nanos(u64::MAX));
}

#[test]
fn a_challenge_survives_the_wire() {
    let bytes = seal_challenge(&key(), &beat(), NodeId(2), 99);
    let opened = open_answer(&key(), &bytes);
    assert_eq!(
        opened,
        Ok(OpenedAnswer::Challenge {
            from: NodeId(2),
            nonce: 99
        })
    );
}

#[test]
fn another_key_opens_nothing() {
    let other = BeatKey::derive(
        &HeartbeatKey {
            generation: 3,
            secret: [7; 32],
        },
        NodeId(5),
        Incarnation(10),
    );
    let bytes = seal_beat(&key(), &beat(), 11);
    assert_eq!(open_beat(&other, &bytes), Err(Dropped::Tag));
}

#[test]
fn an_answer_is_no_beat_and_a_beat_no_answer() {
    let answer = seal_answer(&key(), NodeId(5), &refusal(3));
    assert!(open_beat(&key(), &answer).is_err());
    assert!(open_answer(&key(), &seal_beat(&key(), &beat(), 1)).is_err());
}

proptest! {
    /// Any single altered byte, and any truncation, is dropped.
    #[test]
    fn altered_or_cut_datagrams_are_dropped(at in 0usize..80, flip in 1u8.., cut in 0usize..80) {
        let mut bytes = seal_beat(&key(), &beat(), 11);
        prop_assert!(open_beat(&key(), &bytes[..cut]).is_err());
        bytes[at] ^= flip;
        prop_assert!(open_beat(&key(), &bytes).is_err());
    }

    /// Noise of any length never panics and opens nothing.
    #[test]
    fn noise_is_dropped(bytes in proptest::collection::vec(any::<u8>(), 0..1_300)) {
        prop_assert!(open_beat(&key(), &bytes).is_err());
        prop_assert!(open_answer(&key(), &bytes).is_err());
    }
}
