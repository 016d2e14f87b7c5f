//! The leader task's pulse, and the thread that feels it: a task that hangs in one step, or a
//! runtime that runs nothing any more, ends the process, so that the others elect.
//!
//! A thread of its own, because it must run when nothing else does. It counts its own looks instead
//! of reading a clock: while the whole process is stopped or the machine sleeps nobody looks, and
//! nothing is held against the task then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Looks without a beat after which the process ends.
const LOOKS: u32 = 10;
/// Between two looks at least. A step that decides on everything at once may take seconds where
/// there is much to decide, and a process that ends in the middle of one begins it again.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(2);

/// How far the leader task has come.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The task goes on. It does so once in a second at least, also with nothing to do.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn watch(&self, election_max: Duration) -> std::io::Result<()> {
        let pulse = self.clone();
        let every = election_max.max(LOOK_EVERY_MIN);
        let thread = std::thread::Builder::new().name("haft-pulse".to_owned());
        thread.spawn(move || pulse.feel(every)).map(drop)
    }

    /// Looks on until there have been too many without a beat, and ends the process then.
    fn feel(&self, every: Duration) {
        let mut lapse = Lapse::default();
        while !lapse.look(self.0.load(Ordering::Relaxed)) {
            std::thread::sleep(every);
        }
        tracing::error!(waited = ?every * LOOKS, "the leader task hangs; haftd aborts");
        std::process::abort();
    }
}

/// Looks without a beat, so far.
#[derive(Debug, Default)]
struct Lapse {
    seen: u64,
    looks: u32,
}

impl Lapse {
    /// Says whether there have been too many.
    fn look(&mut self, beats: u64) -> bool {
        self.looks = if self.seen == beats {
            self.looks + 1
        } else {
            0
        };
        self.seen = beats;
        self.looks >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_looks_in_a_row_without_a_beat_count() {
        let mut lapse = Lapse::default();
        for round in 1..50 {
            for _ in 0..LOOKS {
                assert!(!lapse.look(round));
            }
        }
        assert!(lapse.look(49));
    }
}
