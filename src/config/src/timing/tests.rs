//! Tests of the derivation and of the sums.

use super::*;

fn failing(timing: &Timing) -> Vec<&'static str> {
    checks(timing)
        .into_iter()
        .filter(|check| !check.holds)
        .map(|check| check.rule)
        .collect()
}

#[test]
fn every_preset_satisfies_every_sum() {
    for (name, timing) in [
        ("fast", Timing::FAST),
        ("normal", Timing::NORMAL),
        ("relaxed", Timing::RELAXED),
    ] {
        assert_eq!(failing(&timing), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn every_budget_in_range_satisfies_every_sum_and_keeps_within_itself() {
    for budget_ms in (320..20_000).chain((20_000..=300_000).step_by(997)) {
        let budget = Duration::from_millis(budget_ms);
        let timing = derive(&Failover::Budget(budget)).expect("the budget is in range");
        assert_eq!(
            failing(&timing),
            Vec::<&str>::new(),
            "{budget_ms} ms: {timing:?}"
        );
        let spent = haft_engine::clock::lengthened(timing.ttl) + commit_allowance(budget);
        assert!(spent <= budget, "{budget_ms} ms: {spent:?}");
    }
}

#[test]
fn a_watchdog_is_derived_where_it_fits_and_only_there() {
    let watchdog = |failover| derive(&failover).expect("in range").watchdog.as_secs();
    assert_eq!(watchdog(Failover::Fast), 0);
    assert_eq!(watchdog(Failover::Normal), 0);
    assert_eq!(watchdog(Failover::Relaxed), 1);
    let budget = |seconds| Failover::Budget(Duration::from_secs(seconds));
    assert_eq!(watchdog(budget(6)), 0);
    assert_eq!(watchdog(budget(7)), 1);
    assert_eq!(watchdog(budget(20)), 4);
    assert_eq!(watchdog(budget(300)), 10);
}

#[test]
fn a_budget_outside_the_range_is_refused() {
    for budget_ms in [0, 100, 319, 300_001] {
        let budget = Duration::from_millis(budget_ms);
        assert_eq!(
            derive(&Failover::Budget(budget)),
            Err(BudgetOutOfRange(budget))
        );
    }
}

#[test]
fn each_override_that_breaks_a_sum_is_caught_by_that_sum() {
    let rows = [
        (Interval::Beat, 350, "3*beat < closing_after"),
        (Interval::ClosingAfter, 1_200, "closing_after < ttl"),
        (
            Interval::GuardLife,
            600,
            "2*beat + 2*W + renewal < ttl*(1-rho)",
        ),
        (
            Interval::GuardLife,
            500,
            "3*beat + reply <= ttl*(1-rho) - W - renewal",
        ),
        (Interval::GuardRenewal, 150, "2*renewal < W"),
        (
            Interval::RaftHeartbeat,
            340,
            "3*raft_heartbeat < election_min",
        ),
        (
            Interval::ElectionMax,
            1_100,
            "election_min + raft_heartbeat <= election_max",
        ),
        (Interval::AddressLife, 2_000, "ttl + 1000 <= address_life"),
        (Interval::AddressLife, 3_500, "address_life mod 1000 = 0"),
        (
            Interval::Watchdog,
            1_000,
            "2*beat + stop + 2*watchdog + 1000 < ttl*(1-rho)",
        ),
        (Interval::Watchdog, 1_500, "watchdog mod 1000 = 0"),
        (Interval::Stop, 50, "stop_ms"),
        (Interval::Beat, 10, "beat_ms"),
    ];
    for (interval, value, rule) in rows {
        let request = TimingRequest {
            failover: Failover::Normal,
            overrides: BTreeMap::from([(interval, Duration::from_millis(value))]),
        };
        let timing = request.timing().expect("a preset is in range");
        assert!(
            failing(&timing).contains(&rule),
            "{interval:?} = {value}: {:?}",
            failing(&timing)
        );
    }
}
