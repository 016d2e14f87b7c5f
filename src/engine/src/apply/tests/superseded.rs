//! Superseded tries keep their deadlines, whoever leads by then (S7).

use super::*;
use crate::state::SUPERSEDED_MAX;

fn attempt(cluster: &Cluster, order: OrderId, attempt: u32, seconds: u64) -> Command {
    let place = usize::try_from(attempt).expect("small") % 2;
    Command::FenceAttempt {
        order,
        attempt,
        executor: cluster.ids[place * 2],
        level: 1,
        deadline: Duration::from_secs(seconds),
    }
}

fn over(order: OrderId, attempt: u32, waited: Duration) -> Command {
    Command::FenceTryOver {
        order,
        attempt,
        waited,
    }
}

fn lost() -> (Cluster, OrderId) {
    let mut cluster = Cluster::new();
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    let order = cluster.fence(1, FenceCause::Orphans);
    (cluster, order)
}

#[test]
fn a_new_life_waits_for_a_superseded_try_also_when_the_order_is_closed() {
    let (mut cluster, order) = lost();
    let second = attempt(&cluster, order, 2, 5);
    assert_eq!(cluster.apply(second), Outcome::Done);
    assert_eq!(cluster.verdict(order, 2, Verdict::Confirmed), Outcome::Done);
    let reboot = cluster.admission(1, 2, Probe::Clean);
    cluster.refused(reboot.clone(), "FenceRunning");
    let early = over(order, 1, Duration::from_secs(5));
    cluster.refused(early, "WaitTooShort");
    let other = over(order, 2, Duration::from_secs(60));
    cluster.refused(other, "NoSuchTry");
    let waited = over(order, 1, lengthened(Duration::from_secs(5)));
    assert_eq!(cluster.apply(waited), Outcome::Done);
    assert!(matches!(cluster.apply(reboot), Outcome::Admitted(_)));
}

#[test]
fn too_many_superseded_tries_are_waited_for_as_long_as_the_longest_of_them() {
    let (mut cluster, order) = lost();
    let count = u32::try_from(SUPERSEDED_MAX).expect("small") + 4;
    for number in 2..=count {
        // One of those that no longer stand apart has by far the longest time.
        let seconds = if number == count - 3 { 500 } else { 5 };
        let next = attempt(&cluster, order, number, seconds);
        assert_eq!(cluster.apply(next), Outcome::Done);
    }
    let kept = &cluster.state.orders[&order].superseded;
    assert_eq!(kept.len(), SUPERSEDED_MAX);
    assert_eq!(kept[0].attempt, 1);
    let last = kept[SUPERSEDED_MAX - 1];
    assert_eq!(last.attempt, count - 1, "the newest stands for the rest");
    assert_eq!(last.deadline, Duration::from_secs(500));
}
