//! The moment after which nothing of a call may act, on the clock that counts suspends.
//!
//! CLOCK_BOOTTIME, because the rest of the cluster goes on while a machine sleeps: a deadline on
//! CLOCK_MONOTONIC stands still meanwhile, and an agent would act long after the order's other side
//! has let the node in again. Decides nothing: what is begun before it and what is killed at it is
//! the runner's.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

/// tokio's timers stand still in a suspend, so a wait looks again at least this often: what the
/// runner itself does is late by no more after a resume. The agent's own end is not (see
/// [`super::run`]).
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A moment on CLOCK_BOOTTIME.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Deadline(Duration);

impl Deadline {
    /// This long after the machine's boot.
    pub fn at(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// This long from now.
    pub fn within(span: Duration) -> Self {
        Self(now().saturating_add(span))
    }

    /// The time since the machine's boot.
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// What is left of it; zero once it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_sub(now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// Waits until it has passed.
    pub async fn passed(self) {
        loop {
            let left = self.left();
            if left.is_zero() {
                return;
            }
            sleep(left.min(LOOK_EVERY)).await;
        }
    }

    /// Waits for `work`, but no longer.
    pub async fn or<T>(self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.passed() => None,
        }
    }
}

impl Add<Duration> for Deadline {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_that_has_passed_ends_every_wait_at_once() {
        let past = Deadline::within(Duration::ZERO);
        assert!(past.has_passed());
        past.passed().await;
        assert_eq!(past.or(std::future::pending::<()>()).await, None);
        assert_eq!(past.or(std::future::ready(7)).await, Some(7));
        assert!(past + Duration::from_secs(3_600) > past);
        assert!(!(past + Duration::from_secs(3_600)).has_passed());
    }
}
