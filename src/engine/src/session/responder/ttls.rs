//! What a coordinator knows of the ttl that each life may count by, and how long a restart silences it for each.
//!
//! A beat names the ttl that it is counted by; one that names none, or a longer one than the session's as it is
//! known here, is not acknowledged (R2a). Of an admission that is appended and not applied the session's timing is
//! not known for sure: whichever of those that it may copy is the shortest counts. Judges nobody.

use crate::clock::{Moment, Timing};
use crate::command::{Command, Entry};
use crate::ids::LogIndex;
use crate::state::ClusterState;
use std::collections::BTreeMap;
use std::time::Duration;

/// Changes of the timing, as far as they are known here.
#[derive(Clone, Debug, Default)]
pub(super) struct Ttls {
    /// Of the applied state.
    in_force: Option<Timing>,
    /// `SetTiming` entries appended and not yet applied; of several in one entry the shortest and the longest.
    appended: BTreeMap<LogIndex, (Duration, Duration)>,
    /// The longest silence that an entry of an earlier life of this process may ask for.
    inherited: Duration,
}

impl Ttls {
    /// Entry appended; `inherited` says whether it may be older than this process.
    pub(super) fn on_appended(&mut self, index: LogIndex, entry: &Entry, age: Age) {
        for command in &entry.commands {
            let Command::SetTiming { timing, .. } = command else {
                continue;
            };
            let (shortest, longest) = self
                .appended
                .entry(index)
                .or_insert((timing.ttl, timing.ttl));
            *shortest = (*shortest).min(timing.ttl);
            *longest = (*longest).max(timing.ttl);
            match age {
                Age::PerhapsInherited => self.inherited = self.inherited.max(timing.silence()),
                Age::New => {}
            }
        }
    }

    pub(super) fn on_truncated(&mut self, from: LogIndex) {
        self.appended.retain(|index, _| *index < from);
    }

    pub(super) fn on_applied(&mut self, state: &ClusterState) {
        let applied = state.applied;
        self.appended.retain(|index, _| *index > applied);
        self.in_force = state.timing.map(|now| now.timing);
    }

    /// The longest ttl that a life whose admission at `index` is not applied yet surely has.
    pub(super) fn of_admission(&self, index: LogIndex) -> Option<Duration> {
        let in_force = self.in_force.as_ref()?.ttl;
        let shortest = self.appended.range(..index).map(|(_, (ttl, _))| *ttl);
        Some(shortest.fold(in_force, Duration::min))
    }

    /// How long a coordinator that started at `started` leaves unacknowledged what it may have acknowledged before:
    /// a life that is `judged` so, or that an entry not applied yet may have been changing.
    pub(super) fn silent_until(&self, started: Moment, judged: Duration) -> Moment {
        started + judged.max(self.inherited)
    }

    /// The silence for a life whose admission is not applied yet.
    pub(super) fn unapplied_silence(&self) -> Duration {
        let in_force = self.in_force.as_ref().map_or(Timing::LONGEST, |now| *now);
        in_force.silence()
    }
}

/// Whether an entry may be from before this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Age {
    /// Appended while this process is still silent after a restart.
    PerhapsInherited,
    /// Appended since.
    New,
}
