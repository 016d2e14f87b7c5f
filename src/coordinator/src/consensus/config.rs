//! Numbers of consensus: timings, compaction, limits.
//!
//! openraft derives its leader lease from them: the lease is `election_max`, and an election after a
//! leader's crash takes `election_max` plus a random part between `election_min` and `election_max`.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

/// Bytes of one command: 512 KiB. With [`ENTRIES_PER_MESSAGE`] it bounds a message on the peer port.
pub const PAYLOAD_BYTES_MAX: usize = 512 << 10;

/// Entries in one message. At the largest commands a message has 16 MiB.
const ENTRIES_PER_MESSAGE: u64 = 32;

/// Limit of one message on the peer port: the largest append, and some room for its frame.
pub(super) const MESSAGE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX * 32 + (1 << 20);

/// A whole snapshot must arrive within this. openraft's default is 200 ms, in which no real snapshot
/// crosses a real network; it would be sent again and again.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// Raft's own timings. Those of sessions are others and shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timings {
    /// Between two heartbeats of a leader, and the limit of one heartbeat's answer.
    pub heartbeat: Duration,
    /// Least random part of an election timeout.
    pub election_min: Duration,
    /// Greatest random part, and the leader's lease.
    pub election_max: Duration,
}

/// Timings that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("heartbeat {:?}, election {:?} to {:?}: {reason}", timings.heartbeat, timings.election_min, timings.election_max)]
pub struct BadTimings {
    /// The timings.
    pub timings: Timings,
    /// What does not fit.
    pub reason: String,
}

impl Timings {
    /// How long followers stay with a leader they hear nothing of.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.election_max
    }

    /// Part of the lease that a leader gives up early: its own clock and the followers' are only
    /// known to agree to within scheduling, and a tenth covers a late task as well.
    #[must_use]
    pub(super) fn lease_margin(&self) -> Duration {
        self.election_max / 10
    }

    /// A sync that takes longer makes a leader step back.
    #[must_use]
    pub(super) fn disk_patience(&self) -> Duration {
        self.election_min / 2
    }
}

/// When the log is compacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compaction {
    /// Entries between two snapshots.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot for followers that are a little late.
    pub keep: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            snapshot_every: 5000,
            keep: 1000,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The configuration that openraft gets.
pub(super) fn raft_config(timings: Timings, compaction: Compaction) -> Result<Config, BadTimings> {
    let refused = |reason: String| BadTimings { timings, reason };
    if timings.election_min < timings.heartbeat * 3 {
        return Err(refused(
            "election_min must be at least three heartbeats".to_owned(),
        ));
    }
    let config = Config {
        cluster_name: "haft".to_owned(),
        heartbeat_interval: millis(timings.heartbeat),
        election_timeout_min: millis(timings.election_min),
        election_timeout_max: millis(timings.election_max),
        install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
        max_payload_entries: ENTRIES_PER_MESSAGE,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(compaction.snapshot_every),
        max_in_snapshot_log_to_keep: compaction.keep,
        // Below the snapshot's stride a lagging follower would be sent a snapshot that still leaves
        // it lagging.
        replication_lag_threshold: compaction.snapshot_every.max(compaction.keep) + 1,
        purge_batch_size: 1,
        // Off by default: a node that was cut off would raise the term and unseat the leader.
        enable_pre_vote: Some(true),
        // On by default: a restarted leader would lead on without having asked anybody.
        enable_leader_restore: Some(false),
        // Never: a follower that lost its log must be replaced, not refilled under the same id.
        allow_log_reversion: Some(false),
        // A leader that reaches only a minority falls silent in turns, so that the others elect.
        quorum_loss_probe_interval: Some(millis(timings.election_max * 2)),
        backoff: "50ms 100ms 200ms ..1s".to_owned(),
        ..Config::default()
    };
    config
        .validate()
        .map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings() -> Timings {
        Timings {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(800),
        }
    }

    #[test]
    fn the_defaults_that_would_bite_are_overridden() {
        let config = raft_config(timings(), Compaction::default()).unwrap();
        assert_eq!(config.enable_pre_vote, Some(true));
        assert_eq!(config.enable_leader_restore, Some(false));
        assert_eq!(config.allow_log_reversion, Some(false));
        assert_eq!(config.quorum_loss_probe_interval, Some(1600));
        assert_eq!(config.install_snapshot_timeout, 30_000);
        assert!(config.replication_lag_threshold > 5000);
    }

    #[test]
    fn timings_that_cannot_work_are_refused() {
        let reversed = Timings {
            election_min: Duration::from_millis(900),
            ..timings()
        };
        assert!(raft_config(reversed, Compaction::default()).is_err());
        let hasty = Timings {
            heartbeat: Duration::from_millis(200),
            ..timings()
        };
        assert!(raft_config(hasty, Compaction::default()).is_err());
    }
}
