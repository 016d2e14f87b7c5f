//! What stands before a machine's addresses: one of three kinds, which the machine keeps for good.
//!
//! What it is worth may be less for a while: a link that has no gate, a second holder that is gone, tables that
//! cannot be attested. Says what each is to the engine; what it does is the kernel's business.

use haft_engine::gate::{Found, GateKind};

/// The kinds that agents tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Barrier {
    /// A program on every link that keeps an absolute end.
    Gate,
    /// Timed elements in tables that a second process holds: no flush opens them.
    #[default]
    Held,
    /// Timed elements that whoever flushes opens while the agent is dead.
    Watched,
}

impl Barrier {
    /// The one that a machine has, by a number that it was dealt: half of them held, a quarter of each other.
    pub(crate) fn of(number: u64) -> Barrier {
        match number % 4 {
            0 => Barrier::Gate,
            1 => Barrier::Watched,
            _ => Barrier::Held,
        }
    }

    /// What the keeper must know of it.
    pub(crate) fn kind(self) -> GateKind {
        match self {
            Barrier::Gate => GateKind::Kernel,
            Barrier::Held | Barrier::Watched => GateKind::Timed,
        }
    }

    /// What an agent finds when it looks, all being well.
    pub(crate) fn found(self) -> Found {
        match self {
            Barrier::Gate => Found::Gated,
            Barrier::Held => Found::Held,
            Barrier::Watched => Found::Watched,
        }
    }
}
