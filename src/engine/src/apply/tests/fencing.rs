//! Orders, verdicts, admission beside them, and a human's word (R5).

use super::*;
use crate::state::OrderPhase;

#[test]
fn unknown_and_refused_verdicts_never_open_the_gate() {
    let mut cluster = Cluster::new();
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    let order = cluster.fence(1, FenceCause::Orphans);
    assert_eq!(cluster.verdict(order, 1, Verdict::Unknown), Outcome::Done);
    let again = |attempt| Command::FenceAttempt {
        order,
        attempt,
        executor: NodeId(1),
        level: 1,
        deadline: Duration::from_secs(5),
    };
    cluster.refused(again(1), "OtherAttempt");
    assert_eq!(cluster.apply(again(2)), Outcome::Done);
    assert_eq!(cluster.verdict(order, 2, Verdict::Refused), Outcome::Done);
    assert!(matches!(
        cluster.state.resources[&id].ownership,
        Ownership::Orphaned(_)
    ));
    assert_eq!(cluster.apply(again(3)), Outcome::Done);
    let late = cluster.verdict(order, 2, Verdict::Confirmed);
    assert!(matches!(late, Outcome::Refused(_)), "a stale attempt");
    assert_eq!(cluster.verdict(order, 3, Verdict::Confirmed), Outcome::Done);
    assert!(matches!(cluster.proof(&id), Some(Proof::Fenced { .. })));
    let closed = cluster.verdict(order, 3, Verdict::Confirmed);
    assert!(matches!(closed, Outcome::Refused(why) if why.reason == "OrderClosed"));
}

#[test]
fn one_open_order_stands_for_all_who_ask() {
    let mut cluster = Cluster::new();
    let id = cluster.put("db", Isolation::Stonith);
    let orphans = cluster.intent(1, FenceCause::Orphans);
    cluster.refused(orphans, "NothingToFence");
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    let order = cluster.fence(1, FenceCause::Orphans);
    assert_eq!(cluster.fence(1, FenceCause::Orphans), order);
    cluster.refused(
        Command::FenceCancelled {
            order,
            reason: "why not".to_owned(),
        },
        "AttemptRunning",
    );
}

#[test]
fn a_new_life_waits_until_the_executor_has_answered() {
    let mut cluster = Cluster::new();
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    let order = cluster.fence(1, FenceCause::Orphans);
    let command = cluster.admission(1, 2, Probe::Clean);
    cluster.refused(command, "FenceRunning");
    cluster.verdict(order, 1, Verdict::Unknown);
    // Nothing proves that it was this machine that has rebooted (R3b).
    let command = cluster.admission(1, 2, Probe::Clean);
    cluster.refused(command, "RebootProvesTooLittle");
    // The same boot, having looked: that is proof of what leaves its traces in the kernel.
    let life = cluster.admit(1, 1, Probe::Clean);
    assert!(matches!(life, Outcome::Admitted(_)));
    assert!(!cluster.state.orders[&order].phase.is_open());
    assert!(matches!(cluster.proof(&id), Some(Proof::ProbedClean)));
    let late = cluster.verdict(order, 1, Verdict::Confirmed);
    assert!(matches!(late, Outcome::Refused(_)), "the order is closed");
}

#[test]
fn an_unclean_probe_with_holdings_and_a_live_session_elsewhere_are_kept_out() {
    let mut cluster = Cluster::new();
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    let reboot = cluster.admission(1, 2, Probe::Clean);
    cluster.refused(reboot, "SessionNotEnded");
    let unclean = cluster.admission(1, 1, Probe::Unclean);
    cluster.refused(unclean, "SessionNotEnded");
    cluster.expire(1);
    let unclean = cluster.admission(1, 2, Probe::Unclean);
    assert_eq!(
        cluster.refused(unclean, "ProbeUnclean"),
        RefusalKind::Unsafe
    );
    let stale = Command::Admit {
        node: cluster.ids[1],
        boot: BootId([2; 16]),
        previous: Incarnation(1),
        probe: Probe::Clean,
        place: Place::default(),
    };
    cluster.refused(stale, "OtherIncarnation");
}

#[test]
fn a_human_vouches_only_for_a_session_that_has_ended() {
    let mut cluster = Cluster::new();
    let confirm = |cluster: &Cluster, reason: &str| Command::ConfirmOff {
        node: cluster.ids[1],
        incarnation: cluster.newest(1),
        boot: Some(BootId([1; 16])),
        by: "alice".to_owned(),
        reason: reason.to_owned(),
        witnesses: Vec::new(),
        overruled: Vec::new(),
        request: RequestId::default(),
    };
    let early = confirm(&cluster, "unplugged");
    assert_eq!(
        cluster.refused(early, "SessionNotEnded"),
        RefusalKind::Unsafe
    );
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    let silent = confirm(&cluster, "  ");
    cluster.refused(silent, "ReasonMissing");
    let words = confirm(&cluster, "unplugged");
    assert_eq!(cluster.apply(words), Outcome::Done);
    assert!(matches!(
        cluster.proof(&id),
        Some(Proof::ConfirmedByHuman { .. })
    ));
}

#[test]
fn what_is_kept_for_people_is_bounded() {
    let mut cluster = Cluster::new();
    for round in 0..EVENTS_MAX {
        let address = if round % 2 == 0 {
            "198.51.100.1"
        } else {
            "198.51.100.2"
        };
        cluster.apply(wanted("web", Isolation::Lease, address));
    }
    assert_eq!(cluster.state.events.len(), EVENTS_MAX);
    let detail = "ä".repeat(4_000);
    let order = cluster.fence(
        1,
        FenceCause::Administrator {
            by: "alice".to_owned(),
            reason: "test".to_owned(),
        },
    );
    cluster.apply(Command::FenceVerdict {
        order,
        attempt: 1,
        verdict: Verdict::Unknown,
        detail,
        lie: None,
    });
    assert!(cluster.state.orders[&order].detail.len() <= 1_024);
}

#[test]
fn a_power_on_follows_one_confirmed_off_and_only_where_it_is_wanted() {
    let mut cluster = Cluster::new();
    let power_on = |cluster: &Cluster| Command::FenceIntent {
        node: cluster.ids[1],
        incarnation: cluster.newest(1),
        action: FenceAction::On,
        cause: FenceCause::AfterFence,
        request: RequestId::default(),
        first: None,
    };
    let wants = |after_fence| Command::Put {
        object: ObjectSpec::Node(
            NodeName::from("n2"),
            NodeSpec {
                after_fence,
                ..NodeSpec::default()
            },
        ),
        expected: None,
        request: RequestId::default(),
    };
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    cluster.apply(wants(AfterFence::PowerOn));
    let early = power_on(&cluster);
    cluster.refused(early, "NotToBePoweredOn");
    cluster.expire(1);
    let backwards = cluster.intent(1, FenceCause::AfterFence);
    cluster.refused(backwards, "PowerOnOnly");
    let order = cluster.fence(1, FenceCause::Orphans);
    cluster.verdict(order, 1, Verdict::Unknown);
    cluster.apply(Command::FenceAttempt {
        order,
        attempt: 2,
        executor: cluster.ids[0],
        level: 1,
        deadline: Duration::from_secs(5),
    });
    assert_eq!(cluster.verdict(order, 2, Verdict::Confirmed), Outcome::Done);
    cluster.apply(wants(AfterFence::StayOff));
    let unwanted = power_on(&cluster);
    cluster.refused(unwanted, "NotToBePoweredOn");
    cluster.apply(wants(AfterFence::PowerOn));
    let command = power_on(&cluster);
    let Outcome::Ordered(on) = cluster.apply(command.clone()) else {
        panic!("it is off, proven, and wanted on");
    };
    assert_ne!(on, order, "an order of its own");
    cluster.apply(Command::FenceCancelled {
        order: on,
        reason: "nobody answered".to_owned(),
    });
    cluster.refused(command, "NotToBePoweredOn");
}

#[test]
fn tries_under_way_spare_the_quorum_together() {
    let mut cluster = Cluster::new();
    let administrator = || FenceCause::Administrator {
        by: "root".to_owned(),
        reason: String::new(),
    };
    let first = cluster.fence(1, administrator());
    // Planned without the other, because both were in flight: the order stands and its try does not begin.
    let second = cluster.fence(2, administrator());
    assert_eq!(cluster.state.orders[&second].phase, OrderPhase::Intended);
    let attempt = Command::FenceAttempt {
        order: second,
        attempt: 1,
        executor: cluster.ids[0],
        level: 1,
        deadline: Duration::from_secs(5),
    };
    cluster.refused(attempt.clone(), "QuorumNotSpared");
    // The same machine may be tried again by somebody else.
    let again = Command::FenceAttempt {
        order: first,
        attempt: 2,
        executor: cluster.ids[0],
        level: 1,
        deadline: Duration::from_secs(5),
    };
    assert_eq!(cluster.apply(again), Outcome::Done);
    cluster.verdict(first, 2, Verdict::Unknown);
    assert_eq!(cluster.apply(attempt), Outcome::Done);
    cluster.verdict(second, 1, Verdict::Unknown);
    // Who has no vote takes nothing from the quorum.
    cluster.vote(&[&[0, 1]]);
    let attempt = Command::FenceAttempt {
        order: second,
        attempt: 2,
        executor: cluster.ids[0],
        level: 1,
        deadline: Duration::from_secs(5),
    };
    assert_eq!(cluster.apply(attempt), Outcome::Done);
}
