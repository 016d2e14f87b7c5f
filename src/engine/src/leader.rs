//! What the leader proposes: it judges sessions, places resources and drives fence orders.
//!
//! One machine: inputs with the time, outputs as values, and the moment of its next wake. A new leader
//! starts a new machine and restarts every timer. Proposes only; `apply` decides.

use crate::apply::Outcome;
use crate::clock::{Moment, Timing};
use crate::command::{Entry, FenceAction, Probe, StatedAge, Verdict, VoterSets};
use crate::ids::{BootId, DeviceName, Incarnation, LogIndex, NodeId, OrderId};
use crate::state::ClusterState;
use std::time::Duration;

/// What happens to the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Time passes.
    Tick,
    /// The state machine applied an entry (the state passed along is the newest).
    Applied {
        /// Which.
        index: LogIndex,
        /// What its commands did (empty for entries proposed by others).
        outcomes: Vec<Outcome>,
    },
    /// A proposal of ours came to nothing known; it may or may not commit later.
    ProposalUnknown,
    /// The effective membership changed.
    Membership(VoterSets),
    /// A coordinator stated an age for `closing` (the leader's own statement comes this way, too).
    AgeStated {
        /// The closing asked about.
        closing: LogIndex,
        /// The statement.
        age: StatedAge,
    },
    /// An agent asks to be admitted.
    AttachRequested {
        /// Which node.
        node: NodeId,
        /// Its boot.
        boot: BootId,
        /// What it found of its earlier life.
        probe: Probe,
    },
    /// The owner acts.
    Reported(Report),
    /// A try is over.
    FenceAnswered {
        /// The order.
        order: OrderId,
        /// Which try.
        attempt: u32,
        /// What it proved.
        verdict: Verdict,
        /// The devices' words.
        detail: String,
    },
}

/// What an owner reports over its stream; relayed by any coordinator, it counts when committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// It acts under this token.
    Activated(crate::command::Command),
    /// It has stopped, finally.
    Released(crate::command::Command),
}

/// Silence as the leader's own responder heard it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Silence {
    /// Which node.
    pub node: NodeId,
    /// Since its last authentic beat, or since listening began without a gap.
    pub silent: Duration,
}

/// What the leader wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Propose under the term in which this machine leads.
    Propose(Entry),
    /// Ask every voter (also itself) for the age of this closing.
    AskAges {
        /// Which node.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// The committed closing.
        closing: LogIndex,
    },
    /// Run a try whose `FenceAttempt` is committed with this coordinator as executor.
    Fence(FenceRun),
    /// Hand leadership to this coordinator, whose node owns nothing (R9).
    TransferTo(NodeId),
}

/// One try at the devices of a level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FenceRun {
    /// The order.
    pub order: OrderId,
    /// Which try.
    pub attempt: u32,
    /// The target.
    pub node: NodeId,
    /// The life that is to end; the executor re-checks it just before the irreversible call.
    pub incarnation: Incarnation,
    /// Off or on.
    pub action: FenceAction,
    /// All must succeed.
    pub devices: Vec<DeviceName>,
    /// Ask for status first: an earlier executor may have done it (adoption).
    pub status: StatusFirst,
    /// Kill the agents at this moment.
    pub deadline: Moment,
}

/// Whether a try starts by asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusFirst {
    /// A fresh intent.
    No,
    /// Another executor may have acted before.
    Yes,
}

/// The leader's machine.
#[derive(Clone, Debug)]
pub struct Leader;

impl Leader {
    /// This coordinator became leader at `now`.
    pub fn new(own: NodeId, timing: Timing, now: Moment, state: &ClusterState) -> Leader {
        let _ = (own, timing, now, state);
        todo!()
    }
    /// One step. `silences` holds an entry for every node with a live session. `stamp_unix_ms` goes
    /// into entries unchanged.
    pub fn step(
        &mut self,
        now: Moment,
        stamp_unix_ms: u64,
        state: &ClusterState,
        silences: &[Silence],
        input: Input,
    ) -> Vec<Output> {
        let _ = (now, stamp_unix_ms, state, silences, input);
        todo!()
    }
    /// When to step with `Tick` at the latest.
    pub fn next_wake(&self) -> Moment {
        todo!()
    }
}
