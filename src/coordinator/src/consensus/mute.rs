//! Notices a leader that decides nothing: for Raft it leads, with a fresh quorum and a working
//! disk, so nobody else is elected, and still this node does not act as the leader.
//!
//! That is right for as long as a transfer of leadership takes, and for no longer. Whatever the
//! cause, the process then ends and the others elect. Decides nothing else; what the conditions are
//! is the watchdog's.

use std::time::Duration;

use tokio::time::Instant;

use super::config::Timings;
use super::watchdog::StopReason;

/// For how long that has been so.
pub(super) struct Mute {
    since: Option<Instant>,
    patience: Duration,
}

impl Mute {
    /// More than two election timeouts: the longest that a transfer may take (see `transfer_to`),
    /// and half a timeout for its end to be seen.
    pub(super) fn new(timings: Timings) -> Self {
        Self {
            since: None,
            patience: timings.election_max * 2 + timings.election_max / 2,
        }
    }

    /// Takes what is seen now; the reason to end once it has lasted too long.
    pub(super) fn look(&mut self, now: Instant, is_mute: bool) -> Option<StopReason> {
        if !is_mute {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        (now.duration_since(since) > self.patience).then_some(StopReason::Mute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silence_without_a_gap_and_longer_than_a_transfer_ends_the_process() {
        let millis = Duration::from_millis;
        let mut mute = Mute::new(Timings {
            heartbeat: millis(100),
            election_min: millis(400),
            election_max: millis(800),
        });
        let begin = Instant::now();
        assert_eq!(mute.look(begin, true), None);
        assert_eq!(mute.look(begin + millis(2_000), true), None);
        assert_eq!(mute.look(begin + millis(2_001), false), None);
        assert_eq!(mute.look(begin + millis(2_002), true), None);
        assert_eq!(mute.look(begin + millis(4_002), true), None);
        let reason = mute.look(begin + millis(4_003), true);
        assert_eq!(reason, Some(StopReason::Mute));
    }
}
