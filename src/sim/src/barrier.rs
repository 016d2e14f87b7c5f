//! What stands before a machine's addresses: one of four kinds, which the machine keeps for good.
//!
//! Three of them ship: the kernel's gate on its two footings, and timed elements. The fourth, a second process that
//! holds timed elements, is not built. What a barrier is worth may be less for a while: a link that has no gate, a
//! second holder that is gone, tables that cannot be attested. Says what each is to the engine; what it does is the
//! kernel's business.

use haft_engine::gate::{Found, GateKind};

/// The kinds that agents tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Barrier {
    /// A program on every link that keeps an absolute end, and that no accident takes away (from Linux 6.6).
    Gate,
    /// The same program as a filter, which goes with its qdisc: anybody can delete that (Linux below 6.6).
    Filters,
    /// Timed elements that whoever flushes opens while the agent is dead.
    #[default]
    Watched,
    /// Timed elements in tables that a second process holds: no flush opens them. It ships nowhere. Beside the gate it
    /// is the other guard that is attested intact, and the only one that a late write could revive.
    Held,
}

impl Barrier {
    /// The one that a machine has, by a number that it was dealt: three in ten of each that ships, else held.
    pub(crate) fn of(number: u64) -> Barrier {
        match number % 10 {
            0..=2 => Barrier::Gate,
            3..=5 => Barrier::Filters,
            6..=8 => Barrier::Watched,
            _ => Barrier::Held,
        }
    }

    /// What the keeper must know of it.
    pub(crate) fn kind(self) -> GateKind {
        match self {
            Barrier::Gate | Barrier::Filters => GateKind::Kernel,
            Barrier::Watched | Barrier::Held => GateKind::Timed,
        }
    }

    /// What an agent finds when it looks, all being well.
    pub(crate) fn found(self) -> Found {
        match self {
            Barrier::Gate => Found::Gated,
            Barrier::Filters | Barrier::Watched => Found::Watched,
            Barrier::Held => Found::Held,
        }
    }
}
