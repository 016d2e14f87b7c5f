//! The timing in force, and what one session counts by.
//!
//! The invariant, per incarnation and at every moment: **J >= H**, where J is the ttl by which `apply` judges it
//! ([`Terms::judged`]) and H the longest ttl by which its agent counts any beat that has not run out. Raising: J
//! first ([`Terms::offer`], in the entry that changes the cluster's timing), then the agent is told. Lowering: the
//! agent first, which counts by the shorter one before it says so, then J ([`Terms::accept`]).
//! Knows no agent and no clock.

use crate::clock::Timing;
use crate::ids::Generation;
use crate::plant::{self, Bug};

/// The timing that new sessions are admitted under, and that those open are moved to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterTiming {
    /// Index of the entry that wrote it.
    pub generation: Generation,
    /// Every interval.
    pub timing: Timing,
}

/// What one session counts by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The version that its agent was admitted under, or has last said to count by.
    pub generation: Generation,
    /// That version.
    pub timing: Timing,
    /// What it is judged by: the longest of that version and of every one that its agent may have been told of
    /// since.
    pub judged: Timing,
}

impl Terms {
    /// Of a session that is admitted now.
    pub fn admitted(in_force: &ClusterTiming) -> Terms {
        Terms {
            generation: in_force.generation,
            timing: in_force.timing,
            judged: in_force.timing,
        }
    }

    /// The cluster's timing has changed: from this entry on the agent may be told of it.
    pub fn offer(&mut self, timing: &Timing) {
        if plant::is(Bug::BelieveLoweringAtOnce) {
            self.judged = *timing;
            return;
        }
        self.judged = self.judged.longest(timing);
    }

    /// The agent counts by the timing in force, and by none that is longer.
    pub fn accept(&mut self, in_force: &ClusterTiming) {
        *self = Terms::admitted(in_force);
    }
}
