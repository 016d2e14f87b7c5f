//! Where an agent runs, as it says: the machine's own facts and its namespaces (R3b), and its gate (R3).
//!
//! The first tell a copy from the original where they differ. Where they agree they prove nothing: a copied definition has
//! the same facts.

use crate::gate::GateKind;

/// What an agent says of where it runs. Nothing of it is a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The firmware's UUID of the machine (DMI `product_uuid`), 16 bytes; absent where there is none to read.
    pub machine: Option<[u8; 16]>,
    /// Its network namespace: where addresses leave their traces.
    pub network: Option<Namespace>,
    /// Its mount namespace: where mounts leave theirs.
    pub mounts: Option<Namespace>,
    /// What stands before its addresses for as long as this life lasts; chooses the row of the timing (R2a).
    pub gate: GateKind,
}

/// Device and inode of a namespace's file under `/proc/self/ns`, which name it as long as it lives (namespaces(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// Whether two statements of one fact speak of the same thing. What was never stated (by an agent of an older build,
/// or where there is nothing to read) contradicts nothing; what was stated once has to be stated again.
pub fn agrees<T: PartialEq>(recorded: Option<T>, stated: Option<T>) -> bool {
    recorded.is_none_or(|recorded| stated == Some(recorded))
}
