//! Leaders that follow, lag, lie behind and contradict one another.

use super::*;
use crate::ids::Incarnation;
use crate::session::AnswerKind;

fn origin(epoch: u32, term: u64, index: u64) -> Origin {
    Origin {
        epoch: Epoch(epoch),
        term: Term(term),
        index: LogIndex(index),
    }
}

fn three() -> VoterSets {
    VoterSets {
        at: EntryId::new(1, 5),
        sets: vec![[1, 2, 3].map(NodeId).into()],
    }
}

fn ack(from: u64, term: u64, index: u64) -> Answer {
    Answer {
        from: NodeId(from),
        incarnation: Incarnation(20),
        sequence: 1,
        membership: three(),
        epoch: Epoch(1),
        log: EntryId::new(term, index),
        kind: AnswerKind::Acknowledged,
    }
}

fn obedient() -> Authority {
    let mut authority = Authority::default();
    assert_eq!(authority.hear(origin(1, 4, 6_000)), Heed::Obey);
    authority
}

#[test]
fn the_greatest_term_and_index_is_obeyed_and_the_older_dropped() {
    let mut authority = obedient();
    // The review's history H1: the stream of a paused leader delivers after the new one's.
    assert_eq!(authority.hear(origin(1, 3, 5_990)), Heed::Older);
    assert_eq!(authority.hear(origin(1, 3, 7_000)), Heed::Older);
    assert_eq!(authority.hear(origin(1, 4, 5_999)), Heed::Older);
    assert_eq!(authority.hear(origin(1, 4, 6_000)), Heed::Obey);
    assert_eq!(authority.hear(origin(1, 5, 6_000)), Heed::Obey);
    assert_eq!(authority.newest(), Some(origin(1, 5, 6_000)));
}

#[test]
fn another_epoch_is_dropped_whatever_its_term() {
    let mut authority = obedient();
    assert_eq!(authority.hear(origin(0, 9, 9_000)), Heed::EarlierEpoch);
    assert_eq!(authority.hear(origin(2, 9, 9_000)), Heed::LaterEpoch);
    assert_eq!(authority.newest(), Some(origin(1, 4, 6_000)));
    assert!(!authority.is_foreign(&ack(1, 4, 6_000)));
    let restored = Answer {
        epoch: Epoch(0),
        ..ack(1, 4, 6_000)
    };
    assert!(authority.is_foreign(&restored));
}

#[test]
fn a_log_that_went_back_stops_nobody_until_a_majority_that_acknowledges_says_the_same() {
    let mut authority = obedient();
    assert_eq!(authority.hear(origin(1, 5, 4_000)), Heed::WentBack);
    // One that was restored alone.
    for _ in 0..3 {
        let said = authority.on_acknowledged(&ack(1, 5, 4_000), &three());
        assert_eq!(said, Agreement::Holds);
    }
    // One that merely lags, in the term that was obeyed, and one that has everything.
    for answer in [ack(2, 4, 5_000), ack(3, 5, 6_001)] {
        let said = authority.on_acknowledged(&answer, &three());
        assert_eq!(said, Agreement::Holds);
    }
    let said = authority.on_acknowledged(&ack(2, 5, 4_001), &three());
    assert_eq!(said, Agreement::WentBack);
}

#[test]
fn a_greater_leader_ends_the_doubt() {
    let mut authority = obedient();
    assert_eq!(authority.hear(origin(1, 5, 4_000)), Heed::WentBack);
    authority.on_acknowledged(&ack(1, 5, 4_000), &three());
    assert_eq!(authority.hear(origin(1, 6, 6_010)), Heed::Obey);
    let said = authority.on_acknowledged(&ack(2, 5, 4_000), &three());
    assert_eq!(said, Agreement::Holds);
    assert_eq!(authority.hear(origin(1, 5, 4_000)), Heed::Older);
}

#[test]
fn without_a_leaders_word_voters_alone_stop_nobody() {
    let mut authority = obedient();
    for from in [1, 2, 3] {
        let said = authority.on_acknowledged(&ack(from, 5, 10), &three());
        assert_eq!(said, Agreement::Holds);
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn obeying_whatever_came_last_is_noticed() {
    plant::set(Some(Bug::ObeyTheLatest));
    let older = obedient().hear(origin(1, 3, 5_990));
    plant::set(None);
    assert_ne!(older, Heed::Older);
}

#[test]
fn a_leader_hands_nothing_out_before_it_has_applied_the_first_entry_of_its_term() {
    let stands = |term, applied| Origin::of_leader(Epoch(1), Term(term), applied);
    assert_eq!(stands(5, EntryId::new(4, 90)), None);
    assert_eq!(stands(5, EntryId::new(5, 91)), Some(origin(1, 5, 91)));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_leader_that_hands_out_what_it_has_not_caught_up_with_is_noticed() {
    plant::set(Some(Bug::HandOutBehind));
    let behind = Origin::of_leader(Epoch(1), Term(5), EntryId::new(4, 90));
    plant::set(None);
    assert_ne!(behind, None);
}

#[test]
fn a_life_ends_by_the_greatest_leaders_word_or_by_anybodys_once_its_lease_has_ended() {
    let end = |origin, now, lease_end: Option<u64>| {
        obedient().hear_end(origin, Moment(now), lease_end.map(Moment))
    };
    for (restored, live) in [
        (origin(1, 9, 12), Heed::WentBack),
        (origin(1, 3, 5_990), Heed::Older),
        (origin(0, 9, 7_000), Heed::EarlierEpoch),
        (origin(2, 1, 1), Heed::LaterEpoch),
    ] {
        assert_eq!(end(restored, 99, Some(100)), live);
        assert_eq!(end(restored, 100, Some(100)), Heed::Obey);
        assert_eq!(end(restored, 1, None), Heed::Obey);
    }
    assert_eq!(end(origin(1, 4, 6_001), 1, Some(100)), Heed::Obey);
}
