//! Consensus: one replicated log among the coordinators, and the one module that names openraft.
//!
//! ```text
//!   propose, read_index, membership, transfer            StateMachine (the caller's)
//!                  │                                            ▲ apply, snapshot, restore
//!            [ Consensus ] ── openraft ── [ MachineAdapter ] ───┘
//!                  │             │   └─── [ LogAdapter ] ── haft_store::LogStore
//!            [ watchdog ]        └─────── [ Network ] ── Pool ── TLS ── peers' [ PeerServer ]
//! ```
//!
//! openraft is pinned to one alpha and changes its interface every few weeks; nothing of it shows in
//! what this module publishes. The traps it sets, and how each is handled, are in
//! `docs/consensus-traps.md`.
//!
//! Does not know what a command means, opens no gate, and serves no reads by lease: a decision rests
//! on a committed entry or on a read index.

mod config;
#[cfg(test)]
mod conformance;
mod gate;
mod handle;
mod links;
mod log;
mod machine;
mod mark;
mod members;
mod mute;
mod network;
mod pool;
mod server;
mod start;
mod tls;
mod transfer;
mod types;
mod watchdog;
mod wire;

pub use haft_store::{LogPosition, Peer, PeerId, RowChange, StoreIdentity};

pub use config::{BadTimings, Compaction, PAYLOAD_BYTES_MAX, Timings};
pub use handle::{
    Applied, Condition, Consensus, Metrics, PeerProgress, ProposeError, RaftState, ReadError,
};
pub use links::{Fate, Links, OpenLinks, Purpose};
pub use machine::{RestoreError, StateMachine};
pub use members::{ChangeError, MembershipView, Memberships};
pub use start::{Options, StartError};
pub use tls::{PeerTls, TlsError};
pub use transfer::TransferError;
pub use watchdog::{Leadership, StopReason};
