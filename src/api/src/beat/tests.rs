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
        membership: LogIndex(4),
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
            index: LogIndex(8),
            sets,
        },
        kind: AnswerKind::OtherMembership,
    }
}

#[test]
fn a_beat_survives_the_wire_and_stays_within_the_bound() {
    let bytes = seal_beat(&key(), &beat(), 11);
    assert_eq!(bytes.len(), 72);
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
fn voters_that_do_not_fit_are_left_out() {
    let bytes = seal_answer(&key(), NodeId(5), &refusal(40));
    assert!(bytes.len() <= DATAGRAM_MAX);
    let Ok(OpenedAnswer::Answer(answer)) = open_answer(&key(), &bytes) else {
        panic!("not an answer")
    };
    assert!(answer.membership.sets.is_empty());
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
    fn altered_or_cut_datagrams_are_dropped(at in 0usize..64, flip in 1u8.., cut in 0usize..64) {
        let mut bytes = seal_beat(&key(), &beat(), 11);
        prop_assert!(open_beat(&key(), &bytes[..cut]).is_err());
        bytes[at] ^= flip;
        prop_assert!(open_beat(&key(), &bytes).is_err());
    }

    /// Noise of any length never panics and opens nothing.
    #[test]
    fn noise_is_dropped(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open_beat(&key(), &bytes).is_err());
        prop_assert!(open_answer(&key(), &bytes).is_err());
    }
}
