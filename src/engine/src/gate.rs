//! What keeps an address silent once its owner's lease has ended, and what that is worth as evidence (R3).
//!
//! Two kinds of gate stand before an address. A *kernel* gate compares each packet with an absolute end on
//! the clock that counts suspend; no process, no foreign flush of the packet filter and no late write opens it.
//! *Timed* elements of the packet filter count from their renewal, and whoever flushes the filter while their
//! agent is dead opens them. Which kind a node has is found out by its agent; what follows is decided here.
//! Does not look at any kernel, and does not know how a gate is built.

use crate::clock::Moment;
use crate::command::Attestation;
use crate::plant::{self, Bug};
use std::time::Duration;

/// Which gate stands before a node's addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum GateKind {
    /// Elements of the packet filter that end a while (W) after their renewal.
    #[default]
    Timed,
    /// A program on every link that keeps an absolute end.
    Kernel,
}

impl GateKind {
    /// The word for it in `haftctl`'s tables and in the API.
    pub fn word(self) -> &'static str {
        match self {
            GateKind::Timed => "timed",
            GateKind::Kernel => "kernel",
        }
    }

    /// What it does, in a clause.
    pub fn meaning(self) -> &'static str {
        match self {
            GateKind::Timed => {
                "elements of the packet filter, which end a while (W) after their renewal"
            }
            GateKind::Kernel => {
                "a program on every link, which compares each packet with the lease's end"
            }
        }
    }
}

/// What may still lie in a queue behind the kernel's gate when it closes (q). The gate closes this much before
/// the lease ends; a link that shapes or queues longer cannot carry a guarded address.
pub const QUEUE: Duration = Duration::from_millis(10);

/// The moment that a kernel gate is told for a lease that ends at `end`.
pub fn closes(end: Moment) -> Moment {
    end.before(QUEUE)
}

/// What an agent found when it looked at its gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The kernel gate is first on every link, reads the very ends that are renewed, outlives the agent, and
    /// what is not gated is closed by the packet filter's static layer.
    Gated,
    /// Timed elements in tables that are owned, persistent, and held by a second process which no fate of the
    /// agent's unit touches; that it holds them was verified.
    Held,
    /// As installed, but nobody looks after it once the agent is dead: timed elements, a kernel gate on filters that
    /// anybody may delete, or a link that has no gate and is closed by the packet filter alone.
    Watched,
    /// Something is missing or altered, and is not repaired.
    Broken,
}

/// What the agent says of it in beats and reports (R3).
pub fn attestation(found: Found) -> Attestation {
    match found {
        Found::Gated | Found::Held => Attestation::Intact,
        Found::Watched if plant::is(Bug::TrustWatchedGuard) => Attestation::Intact,
        Found::Watched => Attestation::Watched,
        Found::Broken => Attestation::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_agent_leaves_closed_is_attested_intact() {
        assert_eq!(attestation(Found::Gated), Attestation::Intact);
        assert_eq!(attestation(Found::Held), Attestation::Intact);
        assert_eq!(attestation(Found::Watched), Attestation::Watched);
        assert_eq!(attestation(Found::Broken), Attestation::Broken);
    }

    #[test]
    fn the_gate_closes_before_the_lease_ends() {
        let end = Moment(50_000_000);
        assert_eq!(closes(end), Moment(40_000_000));
        assert_eq!(closes(Moment(1)), Moment(0));
    }
}
