//! The timing in force, and what one session counts by.
//!
//! The invariant, per incarnation and at every moment: **J >= H**, where J is the ttl by which `apply` judges it
//! ([`Terms::judged`]) and H the longest ttl by which its agent counts any beat that has not run out. Raising: J
//! first ([`Terms::offer`], in the entry that changes the cluster's timing), then the agent is told. Lowering: the
//! agent first, which counts by the shorter one before it says so, then J ([`Terms::accept`]).
//! Knows no agent and no clock.

use crate::clock::Timing;
use crate::gate::GateKind;
use crate::ids::Generation;
use crate::plant::{self, Bug};

/// The timing that new sessions are admitted under, and that those open are moved to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterTiming {
    /// Index of the entry that wrote it.
    pub generation: Generation,
    /// Every interval; in what an agent is told, its row of them.
    pub timing: Timing,
}

impl ClusterTiming {
    /// What an agent with this gate is told of it.
    #[must_use]
    pub fn behind(&self, gate: GateKind) -> ClusterTiming {
        ClusterTiming {
            generation: self.generation,
            timing: self.timing.behind(gate),
        }
    }
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
    /// Of a session that is admitted now, behind this gate.
    pub fn admitted(in_force: &ClusterTiming, gate: GateKind) -> Terms {
        let row = in_force.timing.behind(gate);
        Terms {
            generation: in_force.generation,
            timing: row,
            judged: row,
        }
    }

    /// The cluster's timing has changed: from this entry on the agent may be told of this row of it.
    pub fn offer(&mut self, row: &Timing) {
        if plant::is(Bug::BelieveLoweringAtOnce) {
            self.judged = *row;
            return;
        }
        self.judged = self.judged.longest(row);
    }

    /// The agent, which has this gate, counts by the timing in force, and by none that is longer.
    pub fn accept(&mut self, in_force: &ClusterTiming, gate: GateKind) {
        *self = Terms::admitted(in_force, gate);
    }
}
