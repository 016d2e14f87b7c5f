//! Compiles the protobuf files under proto/haft with protox, a protoc in Rust, so that no protoc is needed.

use std::path::Path;

const API: [&str; 8] = [
    "haft/v1/cluster.proto",
    "haft/v1/event.proto",
    "haft/v1/fence_device.proto",
    "haft/v1/fence_topology.proto",
    "haft/v1/node.proto",
    "haft/v1/session.proto",
    "haft/v1/timing.proto",
    "haft/v1/virtual_ip.proto",
];
const LOG: [&str; 3] = [
    "haft/log/v1/command.proto",
    "haft/log/v1/state.proto",
    "haft/log/v1/timing.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../../proto");
    println!("cargo:rerun-if-changed=../../proto/haft/v1");
    println!("cargo:rerun-if-changed=../../proto/haft/log");
    // Debug is left out where a message carries a secret: their Debug is written by hand.
    let secret = [
        ".haft.v1.BeatKey",
        ".haft.v1.CreateJoinTokenResponse",
        ".haft.v1.JoinRequest",
        ".haft.v1.ShareCaKeyResponse",
        ".haft.log.v1.HeartbeatKey",
    ];
    let mut files: Vec<&str> = API.to_vec();
    files.extend(LOG);
    let descriptors = protox::compile(files, [root])?;
    let mut prost = tonic_prost_build::Config::new();
    prost.skip_debug(secret);
    prost.btree_map(["."]);
    tonic_prost_build::configure().compile_fds_with_config(descriptors, prost)?;
    Ok(())
}
