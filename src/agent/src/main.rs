//! haft-agent: placeholder of the binary; the library holds what exists so far.

fn main() {}
