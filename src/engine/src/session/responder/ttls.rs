//! How long a restart silences a coordinator about each life, by the ttl that the life may count by.
//!
//! A beat names the ttl that it is counted by; one that names none, or a longer one than the session's as it is
//! applied here, is not acknowledged (R2a). Before an admission is applied the life is not known at all. Judges
//! nobody.

use crate::clock::Moment;
use crate::command::{Command, Entry};
use crate::gate::GateKind;
use std::time::Duration;

/// Changes of the timing that an earlier life of this process may have known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ttls {
    /// The longest silence that an entry of an earlier life of this process may ask for.
    inherited: Duration,
}

impl Ttls {
    /// Entry appended; `age` says whether it may be older than this process.
    pub(super) fn on_appended(&mut self, entry: &Entry, age: Age) {
        for command in &entry.commands {
            let Command::SetTiming { timing, .. } = command else {
                continue;
            };
            match age {
                Age::PerhapsInherited => {
                    // Of the longer row: it is not known here which nodes count by which.
                    let gated = timing.behind(GateKind::Kernel).silence();
                    self.inherited = self.inherited.max(timing.silence()).max(gated);
                }
                Age::New => {}
            }
        }
    }

    /// How long a coordinator that started at `started` leaves unacknowledged what it may have acknowledged before:
    /// a life that is `judged` so, or that an entry not applied yet may have been changing.
    pub(super) fn silent_until(&self, started: Moment, judged: Duration) -> Moment {
        started + judged.max(self.inherited)
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
