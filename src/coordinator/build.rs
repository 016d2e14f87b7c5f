//! Compiles the peer protocol. Needs no protoc: protox parses the files.

use std::error::Error;

/// Messages that the store has already compiled; one type serves disk and wire.
const OF_STORE: [&str; 15] = [
    "Position",
    "RecordKind",
    "VoteRecord",
    "MembershipRecord",
    "StoredMembership",
    "SnapshotHead",
    "Boot",
    "LogRecord",
    "ChainAnchor",
    "PeerRecord",
    "VoterSet",
    "AppliedRecord",
    "StoreMark",
    "BootHistory",
    "PeerMemory",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../../proto/haft/internal/v1");
    let files = protox::compile(["haft/internal/v1/raft.proto"], ["../../proto"])?;
    let mut builder = tonic_prost_build::configure();
    for name in OF_STORE {
        builder = builder.extern_path(
            format!(".haft.internal.v1.{name}"),
            format!("::haft_store::record::{name}"),
        );
    }
    builder.compile_fds(files)?;
    Ok(())
}
