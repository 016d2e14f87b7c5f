//! What a node does with its assignments, and when it stops by itself (R6): the node's self-guard.
//!
//! Level-triggered: the leader sends the whole assignment, the keeper compares it with what it holds and
//! says which kernel operations to do. Every permission to act is computed here from the lease's end;
//! the driver only executes and reports back. A release is final.

use crate::clock::{Moment, Timing};
use crate::command::Attestation;
use crate::ids::{Incarnation, ResourceId, Token};
use crate::spec::ResourceSpec;

/// Everything that the log says this node should do, as of one revision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assignment {
    /// Applied index at the leader that sent it; older ones are ignored.
    pub revision: crate::ids::LogIndex,
    /// The life it is for; others are ignored.
    pub incarnation: Incarnation,
    /// Each resource granted to this incarnation.
    pub items: Vec<AssignedItem>,
}

/// One granted resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssignedItem {
    /// What.
    pub resource: ResourceId,
    /// Under which token.
    pub token: Token,
    /// As granted.
    pub spec: ResourceSpec,
    /// Hold it, or stop and release it.
    pub want: Want,
}

/// What the log wants of an owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Act.
    Hold,
    /// Stop and release.
    Release,
}

/// What happens to the keeper.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Time passes.
    Tick,
    /// A new assignment arrived.
    Assigned(Assignment),
    /// The lease now ends at this moment.
    LeaseEnds(Moment),
    /// The incarnation is over: stop everything, release, join anew.
    SessionOver,
    /// A kernel operation finished.
    Done {
        /// The operation.
        operation: Operation,
        /// How.
        result: OperationResult,
    },
    /// The kernel's guard state changed outside our hands and was repaired or not.
    GuardsAttested(Attestation),
    /// Something else removed the address.
    AddressVanished(ResourceId),
    /// The link that carries it lost or regained its carrier.
    Carrier(ResourceId, Carrier),
    /// The process is asked to end: release everything.
    Shutdown,
}

/// Link state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// Usable.
    Up,
    /// Not.
    Down,
}

/// How a kernel operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OperationResult {
    /// As asked.
    Done,
    /// The guard element had lapsed, so the transaction failed as it must.
    Lapsed,
    /// The kernel refused.
    Failed(String),
}

/// Kernel operations, each carrying the token under which it was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Put the address under management (blocked) if it is not, then set its short-lived `armed` element.
    Arm(ResourceId, Token),
    /// Move the armed element to `held` in one transaction; decided after re-reading the clock.
    Install(ResourceId, Token),
    /// Add the address (behind the guard) and announce it.
    AddAddress(ResourceId, Token),
    /// Renew `held` elements by delete and add in one transaction.
    Renew(Vec<(ResourceId, Token)>),
    /// Refresh the address's own lifetime.
    RefreshAddress(ResourceId, Token),
    /// Delete the `held` element, then the address; success is proof that it stopped.
    Remove(ResourceId, Token),
    /// Announce again.
    Announce(ResourceId, Token),
}

/// What the keeper wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Do this and answer with `Input::Done`.
    Do(Operation),
    /// Tell the leader: acting under this token.
    ReportActive {
        /// What.
        resource: ResourceId,
        /// Under which token.
        token: Token,
        /// The guard.
        guard: Attestation,
    },
    /// Tell the leader, now and until the assignment no longer names the token: stopped, finally.
    ReportReleased {
        /// What.
        resource: ResourceId,
        /// The token given up.
        token: Token,
    },
    /// Tell the leader why it does not act.
    ReportFailed {
        /// What.
        resource: ResourceId,
        /// Under which token.
        token: Token,
        /// Why.
        why: String,
    },
    /// Everything is released: the driver may join anew (or end).
    Idle,
}

/// The keeper's machine.
#[derive(Clone, Debug)]
pub struct Keeper;

impl Keeper {
    /// A keeper that holds nothing.
    pub fn new(incarnation: Incarnation, timing: Timing) -> Keeper {
        let _ = (incarnation, timing);
        todo!()
    }
    /// One step.
    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Output> {
        let _ = (now, input);
        todo!()
    }
    /// Just before the driver sends a decided guard write: is it still allowed at `now`?
    pub fn may_still(&self, now: Moment, operation: &Operation) -> bool {
        let _ = (now, operation);
        todo!()
    }
    /// When to step with `Tick` at the latest.
    pub fn next_wake(&self) -> Moment {
        todo!()
    }
}
