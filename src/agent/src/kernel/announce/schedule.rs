//! When to announce: a burst after taking over, then a refresh for as long as the address is held.
//!
//! Pure; takes the time as an argument and sends nothing.

use haft_engine::clock::Moment;
use std::net::IpAddr;
use std::time::Duration;

/// Distances from the start of a burst. The first three cover lost frames; those after a second
/// cover receivers that ignore a change within a second of the last one (Linux `locktime`).
const BURST: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_millis(1_100),
    Duration::from_millis(2_200),
    Duration::from_millis(5_000),
];
/// Refreshes keep switches' forwarding tables (300 s as a rule) from ageing out: 30 s, and up to
/// 30 s more by address, so that many addresses do not speak at once.
const REFRESH: Duration = Duration::from_secs(30);
/// A rival answers our announcement with its own; this bounds the duel to ten bursts a second.
const DUEL_PACE: Duration = Duration::from_millis(100);

/// The announcement times of one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    started: Moment,
    sent: usize,
    next: Moment,
    refresh: Duration,
}

impl Schedule {
    /// A burst for `address` from `now` on.
    pub fn starting(address: IpAddr, now: Moment) -> Schedule {
        let last = match address {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(v6) => v6.octets()[15],
        };
        Schedule {
            started: now,
            sent: 0,
            next: now,
            refresh: REFRESH + Duration::from_secs(u64::from(last % 31)),
        }
    }

    /// When the next announcement is due.
    pub fn next(&self) -> Moment {
        self.next
    }

    /// Whether an announcement is due; if so, the one after it is planned. However late the call,
    /// it is due once.
    pub fn take(&mut self, now: Moment) -> bool {
        if now < self.next {
            return false;
        }
        self.sent = BURST
            .iter()
            .filter(|offset| self.started + **offset <= now)
            .count();
        self.next = match BURST.get(self.sent) {
            Some(offset) => self.started + *offset,
            None => now + self.refresh,
        };
        true
    }

    /// Starts the burst again: a rival was heard, the carrier returned, a node came back. At most
    /// ten times a second.
    pub fn again(&mut self, now: Moment) {
        if self.sent == 0 {
            // About to start anyway; moving it again would let a flood of claims put it off.
            return;
        }
        self.started = now.max(self.started + DUEL_PACE);
        self.next = self.started;
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    fn schedule() -> Schedule {
        Schedule::starting(IpAddr::from([192, 0, 2, 31]), at(1_000))
    }

    #[test]
    fn a_burst_is_followed_by_refreshes_between_30_and_60_seconds() {
        let mut plan = schedule();
        let mut times = Vec::new();
        while times.len() < 8 {
            let due = plan.next();
            assert!(!plan.take(Moment(due.0 - 1)));
            assert!(plan.take(due));
            times.push((due.0 - at(1_000).0) / 1_000_000);
        }
        assert_eq!(times, [0, 10, 100, 1_100, 2_200, 5_000, 35_000, 65_000]);
        let mut latest = Schedule::starting(IpAddr::from([192, 0, 2, 30]), at(0));
        assert!(latest.take(at(9_000)));
        assert_eq!(latest.next(), at(69_000));
    }

    #[test]
    fn a_late_caller_announces_once_and_goes_on_with_the_plan() {
        let mut plan = schedule();
        assert!(plan.take(at(1_500)));
        assert!(!plan.take(at(1_500)));
        assert_eq!(plan.next(), at(2_100));
    }

    #[test]
    fn a_rival_restarts_the_burst_at_most_ten_times_a_second() {
        let mut plan = schedule();
        assert!(plan.take(at(9_000)));
        plan.again(at(10_000));
        assert!(plan.take(at(10_000)));
        plan.again(at(10_001));
        plan.again(at(10_001));
        assert_eq!(plan.next(), at(10_100));
    }
}
