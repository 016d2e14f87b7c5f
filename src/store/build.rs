//! Compiles the record forms. Needs no protoc: protox parses the files.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../../proto/haft/internal/v1/record.proto");
    let files = protox::compile(["haft/internal/v1/record.proto"], ["../../proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .compile_fds(files)?;
    Ok(())
}
