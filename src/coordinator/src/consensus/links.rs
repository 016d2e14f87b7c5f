//! A seam in the network for tests: decides the fate of each call to a peer.
//!
//! In haftd every call passes.

use haft_store::PeerId;

/// What a connection carries. Each kind has its own, so that a long transfer delays no heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Purpose {
    /// Entries.
    Log,
    /// Heartbeats.
    Heartbeat,
    /// Votes and the transfer of leadership; they share the connection of the heartbeats, since both
    /// are small and urgent.
    Vote,
    /// Snapshots: large and patient.
    Snapshot,
}

/// What happens to a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is sent, and its answer arrives.
    Pass,
    /// It is never sent.
    Cut,
    /// It is sent and acted upon, but its answer never arrives.
    LoseAnswer,
}

/// Decides the fate of calls.
pub trait Links: Send + Sync + 'static {
    /// The fate of one call.
    fn fate(&self, from: PeerId, to: PeerId, purpose: Purpose) -> Fate;
}

/// Everything passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenLinks;

impl Links for OpenLinks {
    fn fate(&self, _: PeerId, _: PeerId, _: Purpose) -> Fate {
        Fate::Pass
    }
}
