//! The agent's side of the contract: what an executable `fence_*` needs and nothing of any device.
//!
//! [`options`] is the table that an agent declares once; [`input`] reads stdin or argv by that table;
//! [`front`] is the process around it; [`password`] gets pass phrases from files and programs; [`metadata`] prints the table as XML and as help;
//! [`report`] holds the exit codes and the lines that people and other tools look for. Nothing here opens a
//! socket.

pub mod edge;
pub mod input;
pub mod metadata;
pub mod options;
pub mod password;
pub mod report;

pub use edge::{Talk, talk};
pub use input::{Input, InputError, read_argv, read_stdin};
pub use options::{AgentSpec, Kind, Need, OptionSpec};
pub use report::Report;

/// Keeps the password of this process out of core dumps and away from other users' debuggers
/// (hazard R40). A kernel that refuses leaves things as they are, which is no reason not to fence.
pub fn forbid_core_dumps() {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
