//! `fence_haft_ipmi`: reads argv or stdin, runs one action, ends with the contract's exit code.
//!
//! Everything it does is in the library beside it and in the contract's.

use std::process::ExitCode;

use haft_fence_ipmi::{run, spec};
use haft_fence_protocol::agent::edge;

fn main() -> ExitCode {
    edge::serve(&spec::AGENT, run::run)
}
