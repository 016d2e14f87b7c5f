//! The Raft log, vote, snapshots and state rows of one coordinator, behind a trait.
//!
//! Two stores implement [`LogStore`]: [`RocksStore`], one RocksDB database with one write-ahead log,
//! and [`MemoryStore`], its twin for tests and simulation, which knows what is written from what is
//! durable. Both carry entries and state as opaque bytes.
//!
//! Does not know openraft, the network or the meaning of an entry. Takes no decision of consensus; it
//! only refuses to open a directory that could make one wrong.

mod boot;
mod chain;
mod form;
mod log_store;
mod memory;
mod model;
mod observed;
mod peer_memory;
pub mod record;
mod rocks;
mod snapshot;

pub use boot::{BOOTS_KEPT, Boot};
pub use chain::Chain;
pub use form::{FormError, RECORD_VERSION, VoteForm};
pub use log_store::{
    AppendError, AppendObserver, Done, LogStore, NoObserver, ReadError, Row, RowChange,
};
pub use memory::{MemoryStore, SyncMode};
pub use model::{
    BadClusterId, ClusterId, LogBounds, LogPosition, Membership, MembershipAt, Payload, Peer,
    PeerId, Record, StoreIdentity, Vote,
};
pub use peer_memory::{Claim, PeerMemory, PeerRefusal};
pub use rocks::{DirectSync, OpenError, OpenOptions, RocksStore, Syncer};
pub use snapshot::{PART_BYTES_MAX, Snapshot, SnapshotFault};
