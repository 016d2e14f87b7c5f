//! Three real nodes in one process: real TLS over loopback, real RocksDB in temporary directories.
//!
//! Each test breaks one thing and waits for a state, never for a time. `docs/consensus-traps.md` says
//! which trap each covers, and that it was seen to fail without the handling.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cancelled;
mod cluster;
mod disk;
mod elections;
mod identity;
mod links;
mod network;
mod pinned;
mod reads;
mod recovery;
