//! What the disks' thread and the lease thread know of each other: two numbers, and a word to begin.
//!
//! No lock and no wait: a hung disk must not reach the lease thread. Whoever dies stops writing, and what
//! was written runs out by itself.

use haft_engine::clock::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// The disks' word that this node is watched: until when, and with which watchdog at most.
#[derive(Clone, Debug)]
pub struct Vouch {
    shared: Arc<Shared>,
    admitted: SyncSender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Nanoseconds of CLOCK_BOOTTIME; zero while nothing is vouched for.
    until: AtomicU64,
    /// Milliseconds; zero before a header was read.
    period: AtomicU64,
}

impl Vouch {
    /// A word not given yet, and where the admissions arrive.
    pub fn none() -> (Vouch, Receiver<()>) {
        let (admitted, began) = sync_channel(1);
        let shared = Arc::default();
        (Vouch { shared, admitted }, began)
    }

    /// Gives the word, or takes it back (the moment zero).
    pub fn set_until(&self, until: Moment) {
        self.shared.until.store(until.0, Ordering::SeqCst);
    }

    /// Whether a pet that is decided now is covered.
    pub fn holds(&self, now: Moment) -> bool {
        now.0 < self.shared.until.load(Ordering::SeqCst)
    }

    /// States the longest period for the watchdog.
    pub fn set_longest(&self, period: Duration) {
        let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        self.shared.period.store(millis, Ordering::SeqCst);
    }

    /// Longest period for the watchdog; `None` before a header was read.
    pub fn longest(&self) -> Option<Duration> {
        let millis = self.shared.period.load(Ordering::SeqCst);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// Says that the coordinators have admitted this node: no order against its former life is open.
    pub fn admit(&self) {
        // Full: said already.
        let _ = self.admitted.try_send(());
    }
}
