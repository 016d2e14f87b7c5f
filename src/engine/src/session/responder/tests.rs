//! Scenarios of one coordinator's receipts, seals and ages. Moments are milliseconds since boot.

use super::*;
use crate::command::{NodeRole, Probe};
use crate::ids::{BootId, Generation, NodeName};
use crate::spec::NodeSpec;
use crate::state::{Ending, Node};
use crate::timing::{ClusterTiming, Terms};

const NODE: NodeId = NodeId(9);
const LIFE: Incarnation = Incarnation(20);
const T: Timing = Timing::FAST;

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

fn terms(timing: Timing) -> Terms {
    Terms::admitted(
        &ClusterTiming {
            generation: Generation(1),
            timing,
        },
        crate::gate::GateKind::Timed,
    )
}

fn state(applied: u64, session: Session) -> ClusterState {
    let node = Node {
        id: NODE,
        name: NodeName::from("n9"),
        role: NodeRole::AgentOnly,
        host: String::new(),
        key_sha256: [0; 32],
        spec: NodeSpec::default(),
        generation: Generation(1),
        session,
        terms: Some(terms(T)),
        boot: BootId::default(),
        boot_epoch: Default::default(),
        place: Default::default(),
        witnessed: None,
        fenced_at_ms: Vec::new(),
        quarantined: false,
        unfenced: Incarnation::default(),
    };
    ClusterState {
        applied: LogIndex(applied),
        nodes: [(NODE, node)].into(),
        timing: Some(ClusterTiming {
            generation: Generation(1),
            timing: T,
        }),
        ..ClusterState::default()
    }
}

fn open() -> Session {
    Session::Open { incarnation: LIFE }
}

fn beat(sequence: u64, membership: u64) -> Beat {
    Beat {
        node: NODE,
        incarnation: LIFE,
        sequence,
        membership: EntryId::new(1, membership),
        ttl: T.ttl,
        guards: Attestation::Intact,
    }
}

fn got(at: Moment) -> Received {
    Received::after(|| (), || at).1
}

fn in_force(index: u64) -> Session {
    Session::Closing {
        incarnation: LIFE,
        closing: LogIndex(index),
    }
}

/// The closing is appended, committed and applied.
fn close(r: &mut Responder, at: u64) {
    r.on_appended(ms(at), EntryId::new(1, 30), &closing());
    r.on_applied(ms(at), &state(30, in_force(30)));
}

fn closing() -> Entry {
    Entry {
        stamp_unix_ms: 0,
        commands: vec![Command::Closing {
            node: NODE,
            incarnation: LIFE,
        }],
    }
}

/// A voter of three that knows the live incarnation, started at 1 s.
fn responder(restart: Restart) -> Responder {
    let mut responder = Responder::new(NodeId(1), T, ms(1_000), restart);
    responder.on_membership(ms(1_000), voters(5, &[&[1, 2, 3]]));
    responder.on_applied(ms(1_000), &state(20, open()));
    responder
}

fn kind(responder: &mut Responder, at: u64, beat: &Beat) -> AnswerKind {
    responder.on_beat(got(ms(at)), beat).kind
}

#[test]
fn a_beat_naming_the_effective_membership_is_acknowledged() {
    let mut r = responder(Restart::Fresh);
    let answer = r.on_beat(got(ms(1_010)), &beat(1, 5));
    assert_eq!(answer.kind, AnswerKind::Acknowledged);
    assert_eq!(answer.membership, voters(5, &[&[1, 2, 3]]));
}

#[test]
fn a_beat_naming_another_membership_is_refused_with_ours_and_still_heard() {
    let mut r = responder(Restart::Fresh);
    r.on_membership(ms(1_100), voters(30, &[&[1, 2, 3], &[1, 2, 4]]));
    let answer = r.on_beat(got(ms(1_150)), &beat(1, 5));
    assert_eq!(answer.kind, AnswerKind::OtherMembership);
    assert_eq!(answer.membership.at, EntryId::new(1, 30));
    assert_eq!(r.silence(ms(1_160), NODE), Duration::from_millis(10));
}

#[test]
fn unknown_older_and_ended_lives_get_their_own_refusals() {
    let mut r = responder(Restart::Fresh);
    let mut other = beat(1, 5);
    other.incarnation = Incarnation(21);
    assert_eq!(kind(&mut r, 1_010, &other), AnswerKind::NotAdmitted);
    other.incarnation = Incarnation(19);
    assert_eq!(kind(&mut r, 1_010, &other), AnswerKind::Ended);
    let ended = Session::Ended {
        incarnation: LIFE,
        ending: Ending::Expired,
    };
    r.on_applied(ms(1_020), &state(40, ended));
    assert_eq!(kind(&mut r, 1_030, &beat(1, 5)), AnswerKind::Ended);
}

#[test]
fn an_admission_is_known_once_it_is_applied_and_not_before() {
    let mut r = responder(Restart::Fresh);
    let admit = Entry {
        stamp_unix_ms: 0,
        commands: vec![Command::Admit {
            node: NODE,
            boot: BootId::default(),
            previous: LIFE,
            probe: Probe::Clean,
            place: crate::place::Place::default(),
        }],
    };
    // Another leader may have written another admission at this index.
    r.on_appended(ms(1_010), EntryId::new(1, 33), &admit);
    let mut next = beat(1, 5);
    next.incarnation = Incarnation(33);
    assert_eq!(kind(&mut r, 1_020, &next), AnswerKind::NotAdmitted);
    let open = Session::Open {
        incarnation: Incarnation(33),
    };
    r.on_applied(ms(1_030), &state(33, open));
    assert_eq!(kind(&mut r, 1_040, &next), AnswerKind::Acknowledged);
}

#[test]
fn truncation_gives_back_the_membership_that_was_in_force_before() {
    let mut r = responder(Restart::Fresh);
    let old = voters(5, &[&[1, 2, 3]]);
    r.on_membership(ms(1_100), voters(30, &[&[1, 2, 3], &[1, 2, 4]]));
    assert_eq!(
        kind(&mut r, 1_110, &beat(1, 5)),
        AnswerKind::OtherMembership
    );
    r.on_truncated(ms(1_120), EntryId::new(1, 29), old.clone());
    let answer = r.on_beat(got(ms(1_130)), &beat(2, 5));
    assert_eq!(answer.kind, AnswerKind::Acknowledged);
    assert_eq!((answer.membership, answer.log), (old, EntryId::new(1, 29)));
}

/// The review's history S2: a closing of an older term at the same index, which leaves the log again.
#[test]
fn no_age_is_stated_for_another_leaders_closing_at_the_same_index() {
    let mut r = responder(Restart::Fresh);
    r.on_appended(ms(1_010), EntryId::new(1, 30), &closing());
    assert_eq!(kind(&mut r, 1_020, &beat(1, 5)), AnswerKind::Sealed);
    assert_eq!(
        r.state_age(ms(1_900), NODE, LIFE, LogIndex(30)),
        Err(NoAge::ClosingNotHeld)
    );
    r.on_truncated(ms(1_910), EntryId::new(1, 29), voters(5, &[&[1, 2, 3]]));
    assert_eq!(kind(&mut r, 1_920, &beat(2, 5)), AnswerKind::Acknowledged);
    r.on_appended(ms(1_930), EntryId::new(2, 30), &closing());
    r.on_applied(ms(1_940), &state(30, in_force(30)));
    let stated = r.state_age(ms(1_940), NODE, LIFE, LogIndex(30)).unwrap();
    assert_eq!(stated.age, Duration::from_millis(20));
}

#[test]
fn an_appended_closing_seals_until_it_is_truncated() {
    let mut r = responder(Restart::Fresh);
    r.on_appended(ms(1_010), EntryId::new(1, 30), &closing());
    assert_eq!(kind(&mut r, 1_020, &beat(1, 5)), AnswerKind::Sealed);
    assert_eq!(r.silence(ms(1_020), NODE), Duration::ZERO);
    r.on_truncated(ms(1_030), EntryId::new(1, 29), voters(5, &[&[1, 2, 3]]));
    assert_eq!(kind(&mut r, 1_040, &beat(2, 5)), AnswerKind::Acknowledged);
}

#[test]
fn an_applied_closing_stays_sealed_until_reopened() {
    let mut r = responder(Restart::Fresh);
    r.on_appended(ms(1_010), EntryId::new(1, 30), &closing());
    let state_closing = Session::Closing {
        incarnation: LIFE,
        closing: LogIndex(30),
    };
    r.on_applied(ms(1_020), &state(30, state_closing));
    assert_eq!(kind(&mut r, 1_030, &beat(1, 5)), AnswerKind::Sealed);
    r.on_applied(ms(1_040), &state(31, open()));
    assert_eq!(kind(&mut r, 1_050, &beat(2, 5)), AnswerKind::Acknowledged);
}

#[test]
fn a_closing_that_apply_refused_seals_nothing() {
    let mut r = responder(Restart::Fresh);
    r.on_appended(ms(1_010), EntryId::new(1, 30), &closing());
    r.on_applied(ms(1_020), &state(30, open()));
    assert_eq!(kind(&mut r, 1_030, &beat(1, 5)), AnswerKind::Acknowledged);
}

#[test]
fn a_restart_rebuilds_the_seal_from_the_log_and_from_a_snapshot() {
    let mut from_log = responder(Restart::Returned);
    from_log.on_appended(ms(1_000), EntryId::new(1, 30), &closing());
    let mut from_snapshot = responder(Restart::Returned);
    let state_closing = Session::Closing {
        incarnation: LIFE,
        closing: LogIndex(30),
    };
    from_snapshot.on_applied(ms(1_000), &state(50, state_closing));
    for r in [&mut from_log, &mut from_snapshot] {
        let later = r.silent_about(NODE, LIFE).0 / 1_000_000 + 1;
        assert_eq!(kind(r, later, &beat(1, 5)), AnswerKind::Sealed);
        r.on_applied(ms(later), &state(50, in_force(30)));
        assert!(r.state_age(ms(later), NODE, LIFE, LogIndex(30)).is_ok());
    }
}

#[test]
fn an_installed_snapshot_opens_no_seal_whether_it_is_above_it_or_in_it() {
    let mut above = responder(Restart::Fresh);
    above.on_appended(ms(1_010), EntryId::new(1, 30), &closing());
    above.on_membership(ms(1_015), voters(31, &[&[1, 2, 3]]));
    above.on_ground(
        ms(1_020),
        EntryId::new(1, 20),
        voters(31, &[&[1, 2, 3]]),
        &state(20, open()),
    );
    assert_eq!(kind(&mut above, 1_030, &beat(1, 31)), AnswerKind::Sealed);
    let answer = above.on_beat(got(ms(1_031)), &beat(2, 31));
    assert_eq!(answer.log, EntryId::new(1, 31), "the log has not shrunk");
    let mut within = responder(Restart::Fresh);
    within.on_appended(ms(1_010), EntryId::new(1, 30), &closing());
    let ground = state(40, in_force(30));
    within.on_ground(
        ms(1_020),
        EntryId::new(1, 40),
        voters(5, &[&[1, 2, 3]]),
        &ground,
    );
    assert_eq!(kind(&mut within, 1_030, &beat(1, 5)), AnswerKind::Sealed);
}

#[test]
fn a_restarted_coordinator_is_silent_for_one_lease_and_at_least_one_ttl() {
    for timing in [Timing::FAST, Timing::NORMAL, Timing::RELAXED] {
        // Whatever its own file says of sessions.
        let mut r = Responder::new(NodeId(1), Timing::FAST, ms(0), Restart::Returned);
        let mut applied = state(20, open());
        if let Some(node) = applied.nodes.get_mut(&NODE) {
            node.terms = Some(terms(timing));
        }
        r.on_applied(ms(0), &applied);
        let silence = r.silent_about(NODE, LIFE).since(ms(0));
        assert!(silence >= Timing::FAST.election_max && silence >= timing.silence());
    }
    let mut r = responder(Restart::Returned);
    close(&mut r, 1_000);
    let before = r.silent_about(NODE, LIFE).before(Duration::from_nanos(1));
    assert_eq!(
        r.on_beat(got(before), &beat(1, 5)).kind,
        AnswerKind::NotReady
    );
    assert_eq!(
        r.state_age(before, NODE, LIFE, LogIndex(30)),
        Err(NoAge::NotReady)
    );
}

#[test]
fn who_is_not_a_voter_neither_acknowledges_nor_states_ages() {
    let mut r = responder(Restart::Fresh);
    r.on_membership(ms(1_000), voters(6, &[&[2, 3, 4]]));
    close(&mut r, 1_000);
    assert_eq!(kind(&mut r, 1_010, &beat(1, 6)), AnswerKind::NotReady);
    assert_eq!(
        r.state_age(ms(1_010), NODE, LIFE, LogIndex(30)),
        Err(NoAge::NotReady)
    );
}

#[test]
fn an_age_counts_from_receipt_start_or_membership_whichever_is_latest() {
    let mut r = responder(Restart::Fresh);
    close(&mut r, 1_000);
    let age = |r: &Responder, at| {
        let stated = r.state_age(ms(at), NODE, LIFE, LogIndex(30));
        stated.unwrap().age
    };
    assert_eq!(age(&r, 1_700), Duration::from_millis(700));
    r.on_applied(ms(1_700), &state(31, open()));
    assert_eq!(kind(&mut r, 1_710, &beat(1, 5)), AnswerKind::Acknowledged);
    close(&mut r, 1_720);
    assert_eq!(age(&r, 1_800), Duration::from_millis(90));
    r.on_membership(ms(1_900), voters(40, &[&[1, 2, 4]]));
    assert_eq!(age(&r, 1_950), Duration::from_millis(50));
}

#[test]
fn no_age_is_stated_for_a_closing_that_is_not_held() {
    let mut r = responder(Restart::Fresh);
    close(&mut r, 1_000);
    assert_eq!(
        r.state_age(ms(1_500), NODE, LIFE, LogIndex(31)),
        Err(NoAge::ClosingNotHeld)
    );
    assert_eq!(
        r.state_age(ms(1_500), NODE, Incarnation(19), LogIndex(30)),
        Err(NoAge::ClosingNotHeld)
    );
}

#[test]
fn sealed_beats_are_heard_and_their_attestation_is_stated() {
    let mut r = responder(Restart::Fresh);
    assert_eq!(kind(&mut r, 1_010, &beat(1, 5)), AnswerKind::Acknowledged);
    close(&mut r, 1_020);
    let mut broken = beat(2, 5);
    broken.guards = Attestation::Broken;
    assert_eq!(kind(&mut r, 1_100, &broken), AnswerKind::Sealed);
    let stated = r.state_age(ms(1_150), NODE, LIFE, LogIndex(30)).unwrap();
    assert_eq!(stated.age, Duration::from_millis(140));
    assert_eq!(stated.heard, Duration::from_millis(50));
    assert_eq!((stated.sequence, stated.guards), (2, Attestation::Broken));
}

/// The test must fail under the bug.
#[cfg(feature = "planted-bugs")]
fn is_noticed(bug: plant::Bug, test: fn()) {
    plant::set(Some(bug));
    let outcome = std::panic::catch_unwind(test);
    plant::set(None);
    assert!(outcome.is_err(), "{bug:?} was not noticed");
}

#[cfg(feature = "planted-bugs")]
#[test]
fn what_is_planted_in_the_responder_is_noticed() {
    use plant::Bug;
    is_noticed(
        Bug::KeepTruncatedMembership,
        truncation_gives_back_the_membership_that_was_in_force_before,
    );
    is_noticed(
        Bug::StateAgeUncommitted,
        no_age_is_stated_for_another_leaders_closing_at_the_same_index,
    );
    is_noticed(
        Bug::NoRestartSilence,
        a_restarted_coordinator_is_silent_for_one_lease_and_at_least_one_ttl,
    );
    is_noticed(
        Bug::OpenSealsBySnapshot,
        an_installed_snapshot_opens_no_seal_whether_it_is_above_it_or_in_it,
    );
}

#[test]
fn a_replayed_beat_is_neither_acknowledged_nor_heard() {
    let mut r = responder(Restart::Fresh);
    for sequence in [1, 2, 70, 69] {
        assert_eq!(
            kind(&mut r, 1_010, &beat(sequence, 5)),
            AnswerKind::Acknowledged
        );
    }
    for sequence in [0, 1, 2, 5, 69, 70] {
        assert!(r.is_replay(&beat(sequence, 5)));
        assert_eq!(
            kind(&mut r, 1_200, &beat(sequence, 5)),
            AnswerKind::NotReady
        );
    }
    assert!(!r.is_replay(&beat(71, 5)));
    assert_eq!(r.silence(ms(1_200), NODE), Duration::from_millis(190));
}

#[test]
fn a_late_loop_restarts_silence_but_not_ages() {
    let mut r = responder(Restart::Fresh);
    assert_eq!(kind(&mut r, 1_010, &beat(1, 5)), AnswerKind::Acknowledged);
    close(&mut r, 1_020);
    r.on_late(ms(1_500));
    assert_eq!(r.silence(ms(1_520), NODE), Duration::from_millis(20));
    let stated = r.state_age(ms(1_520), NODE, LIFE, LogIndex(30)).unwrap();
    assert_eq!(stated.age, Duration::from_millis(510));
}

#[test]
fn receipts_of_ended_lives_are_forgotten() {
    let mut r = responder(Restart::Fresh);
    assert_eq!(kind(&mut r, 1_010, &beat(1, 5)), AnswerKind::Acknowledged);
    let next = Session::Open {
        incarnation: Incarnation(50),
    };
    r.on_applied(ms(1_020), &state(50, next));
    assert!(r.receipts.is_empty());
    assert_eq!(r.silence(ms(1_030), NODE), Duration::from_millis(10));
}

fn named(sequence: u64, ttl: Duration) -> Beat {
    Beat {
        ttl,
        ..beat(sequence, 5)
    }
}

#[test]
fn a_beat_that_names_no_ttl_or_a_longer_one_than_the_sessions_is_refused_and_not_heard() {
    let mut r = responder(Restart::Fresh);
    for ttl in [
        Duration::ZERO,
        T.ttl + Duration::from_nanos(1),
        Timing::RELAXED.ttl,
    ] {
        assert_eq!(kind(&mut r, 1_100, &named(1, ttl)), AnswerKind::OtherTtl);
    }
    assert_eq!(r.silence(ms(1_100), NODE), Duration::from_millis(100));
    for ttl in [T.ttl, Duration::from_nanos(1)] {
        let sequence = 2 + u64::from(ttl == T.ttl);
        assert_eq!(
            kind(&mut r, 1_100, &named(sequence, ttl)),
            AnswerKind::Acknowledged
        );
    }
}

#[test]
fn a_longer_ttl_counts_once_the_change_is_applied_and_not_when_it_is_appended() {
    let mut r = responder(Restart::Fresh);
    let change = Entry {
        stamp_unix_ms: 0,
        commands: vec![Command::SetTiming {
            timing: Timing::RELAXED,
            expected: None,
            request: crate::ids::RequestId::default(),
        }],
    };
    r.on_appended(ms(1_010), EntryId::new(1, 30), &change);
    let long = |sequence| named(sequence, Timing::RELAXED.ttl);
    assert_eq!(kind(&mut r, 1_020, &long(1)), AnswerKind::OtherTtl);
    let mut applied = state(30, open());
    let node = applied.nodes.get_mut(&NODE).expect("there");
    node.terms
        .as_mut()
        .expect("admitted")
        .offer(&Timing::RELAXED);
    r.on_applied(ms(1_030), &applied);
    assert_eq!(kind(&mut r, 1_040, &long(2)), AnswerKind::Acknowledged);
}
