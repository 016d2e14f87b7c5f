//! What an executor is opened with, and why it is not.

use crate::kernel::address::{OpenAddressesError, ReadKernelError};
use crate::kernel::gate::{Home, NoGate};
use crate::kernel::guard::{GuardWriteError, OpenGuardError};
use std::path::PathBuf;

/// Why the machine cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum OpenExecutorError {
    /// No guard.
    #[error("cannot open the kernel guard")]
    Guard(#[from] OpenGuardError),
    /// No gate where one was asked for.
    #[error("cannot open the kernel gate")]
    Gate(#[from] NoGate),
    /// The packet filter's layer behind the gate.
    #[error("cannot tell the packet filter where the gate stands")]
    Layer(#[from] GuardWriteError),
    /// No rtnetlink.
    #[error("cannot open the kernel's address interface")]
    Addresses(#[from] OpenAddressesError),
    /// What an earlier life left behind could not be looked for, or not be removed.
    #[error("cannot remove what an earlier life left behind")]
    Leftovers(#[from] ReadKernelError),
}

/// Whether the kernel guard is used. `Open` exists for demonstrations that must show two owners.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Enforcement {
    /// As designed: behind the kernel's gate where this machine can have one, else behind timed elements.
    Guarded,
    /// The same, and a gate lives on in the bpf file system mounted there, which must be one.
    GuardedIn(PathBuf),
    /// Behind a gate that lives on there.
    Gated(Home),
    /// Behind timed elements, whatever the machine can.
    Timed,
    /// Planted: no guard, and addresses that outlive their lease.
    #[cfg(feature = "planted-bugs")]
    Open,
}
