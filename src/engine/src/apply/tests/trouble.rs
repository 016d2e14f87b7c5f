//! Watchdogs and failed stops in the log (R3, R7).

use super::*;
use crate::command::Difficulty;
use crate::evidence::{WATCHDOG_SLACK, watchdog_wait};

const PERIOD: Duration = Duration::from_secs(1);

/// Granted under `isolation` to the second node.
fn granted(cluster: &mut Cluster, isolation: Isolation) -> (ResourceId, Token) {
    let id = cluster.put("db", isolation);
    match cluster.apply(cluster.granting(&id, 1)) {
        Outcome::Granted(token) => (id, token),
        other => panic!("not granted: {other:?}"),
    }
}

fn armed(cluster: &Cluster, id: &ResourceId, token: Token, period: Duration) -> Command {
    Command::WatchdogArmed {
        resource: id.clone(),
        token,
        incarnation: cluster.newest(1),
        period,
    }
}

fn activated(cluster: &Cluster, id: &ResourceId, token: Token) -> Command {
    Command::Activated {
        resource: id.clone(),
        token,
        incarnation: cluster.newest(1),
        guard: Attestation::Intact,
        address_life: Duration::from_secs(2),
    }
}

fn troubled(
    cluster: &Cluster,
    id: &ResourceId,
    token: Token,
    difficulty: Difficulty,
    why: &str,
) -> Command {
    Command::Troubled {
        resource: id.clone(),
        token,
        incarnation: cluster.newest(1),
        difficulty,
        why: why.to_owned(),
    }
}

fn lapsed(id: &ResourceId, token: Token, waited: Duration) -> Command {
    Command::WatchdogLapsed {
        resource: id.clone(),
        token,
        waited,
    }
}

#[test]
fn nobody_acts_under_watchdog_before_the_armed_period_is_in_the_log() {
    let mut cluster = Cluster::with(Timing::RELAXED);
    let (id, token) = granted(&mut cluster, Isolation::Watchdog);
    let early = activated(&cluster, &id, token);
    cluster.refused(early.clone(), "WatchdogNotAttested");
    let zero = armed(&cluster, &id, token, Duration::ZERO);
    cluster.refused(zero, "BadWatchdogPeriod");
    let arm = armed(&cluster, &id, token, PERIOD);
    assert_eq!(cluster.apply(arm.clone()), Outcome::Done);
    assert_eq!(cluster.apply(early), Outcome::Done);
    // Once it acts, no other period can be slipped in.
    cluster.refused(arm, "OtherHolding");
}

#[test]
fn an_armed_watchdog_says_nothing_of_other_isolations() {
    for isolation in [Isolation::Lease, Isolation::Stonith] {
        let mut cluster = Cluster::with(Timing::RELAXED);
        let (id, token) = granted(&mut cluster, isolation);
        let arm = armed(&cluster, &id, token, PERIOD);
        cluster.refused(arm, "OtherHolding");
        if isolation == Isolation::Stonith {
            let act = activated(&cluster, &id, token);
            assert_eq!(cluster.apply(act), Outcome::Done);
        }
        cluster.expire(1);
        let lapse = lapsed(&id, token, Duration::from_secs(3_600));
        cluster.refused(lapse, "WatchdogProvesNothing");
    }
}

#[test]
fn a_lapse_shorter_than_the_reset_may_take_opens_nothing() {
    let mut cluster = Cluster::with(Timing::RELAXED);
    let (id, token) = granted(&mut cluster, Isolation::Watchdog);
    let arm = armed(&cluster, &id, token, PERIOD);
    assert_eq!(cluster.apply(arm), Outcome::Done);
    let act = activated(&cluster, &id, token);
    assert_eq!(cluster.apply(act), Outcome::Done);
    // While the session lives nothing has lapsed.
    cluster.refused(lapsed(&id, token, Duration::from_secs(9)), "OtherHolding");
    cluster.expire(1);
    let Ownership::Orphaned(holding) = &cluster.state.resources[&id].ownership else {
        panic!("not orphaned");
    };
    let wait = watchdog_wait(holding);
    assert_eq!(wait, lengthened(WATCHDOG_SLACK + PERIOD / 10));
    let short = wait - Duration::from_nanos(1);
    cluster.refused(lapsed(&id, token, short), "WatchdogProvesNothing");
    assert_eq!(cluster.apply(lapsed(&id, token, wait)), Outcome::Done);
    assert!(matches!(
        cluster.proof(&id),
        Some(Proof::WatchdogLapsed {
            period: Some(PERIOD),
            ..
        })
    ));
}

#[test]
fn an_edited_spec_does_not_let_a_watchdog_open_a_stonith_grant() {
    let mut cluster = Cluster::new();
    let (id, token) = granted(&mut cluster, Isolation::Stonith);
    cluster.put("db", Isolation::Watchdog);
    let act = activated(&cluster, &id, token);
    assert_eq!(cluster.apply(act), Outcome::Done);
    cluster.expire(1);
    let lapse = lapsed(&id, token, Duration::from_secs(3_600));
    cluster.refused(lapse, "WatchdogProvesNothing");
}

#[test]
fn a_failed_stop_calls_for_fencing_and_a_failed_start_does_not() {
    let mut cluster = Cluster::new();
    let id = cluster.put("db", Isolation::Stonith);
    let token = cluster.active(&id, 1, Attestation::Intact);
    let cause = || FenceCause::StopFailed {
        resource: ResourceId::vip("db"),
    };
    let premature = cluster.intent(1, cause());
    cluster.refused(premature, "NothingToFence");
    let start = troubled(&cluster, &id, token, Difficulty::Start, "no carrier");
    assert_eq!(cluster.apply(start.clone()), Outcome::Done);
    let premature = cluster.intent(1, cause());
    cluster.refused(premature, "NothingToFence");
    let stop = troubled(&cluster, &id, token, Difficulty::Stop, "busy");
    assert_eq!(cluster.apply(stop), Outcome::Done);
    // A later failure to start does not make it stoppable again.
    assert_eq!(cluster.apply(start), Outcome::Done);
    let order = cluster.fence(1, cause());
    assert_eq!(cluster.verdict(order, 1, Verdict::Unknown), Outcome::Done);
    assert!(cluster.state.resources[&id].ownership.holding().is_some());
    cluster.apply(Command::FenceAttempt {
        order,
        attempt: 2,
        executor: cluster.ids[0],
        level: 1,
        deadline: Duration::from_secs(5),
    });
    assert_eq!(cluster.verdict(order, 2, Verdict::Confirmed), Outcome::Done);
    assert_eq!(cluster.state.resources[&id].ownership, Ownership::Unowned);
    assert_eq!(cluster.state.resources[&id].trouble, None);
}

#[test]
fn under_lease_and_watchdog_a_failed_stop_fences_nobody() {
    for isolation in [Isolation::Lease, Isolation::Watchdog] {
        let mut cluster = Cluster::new();
        let (id, token) = granted(&mut cluster, isolation);
        let stop = troubled(&cluster, &id, token, Difficulty::Stop, "busy");
        assert_eq!(cluster.apply(stop), Outcome::Done);
        let intent = cluster.intent(
            1,
            FenceCause::StopFailed {
                resource: id.clone(),
            },
        );
        cluster.refused(intent, "NothingToFence");
    }
}

#[test]
fn trouble_under_an_old_token_is_nobodys() {
    let mut cluster = Cluster::new();
    let (id, token) = granted(&mut cluster, Isolation::Stonith);
    let other = Token {
        index: LogIndex(token.index.0 - 1),
        ..token
    };
    let stale = troubled(&cluster, &id, other, Difficulty::Stop, "busy");
    cluster.refused(stale, "OtherHolding");
}
