//! The caller's side of the contract: run one action of one agent, and say what is known afterwards.
//!
//! `find` an agent that is safe to run → take the device's `turn` → `run` one action under a deadline
//! → read the [`Outcome`]. `power` builds the two questions of fencing on top: is it off, and make it
//! off; `patience` repeats what may be repeated, `plugs` and `metadata` tell what the device has and how
//! it is aimed. Levels, delays and the log belong to whoever calls.
//!
//! Cancel safety: dropping a running future kills the agent's process group at once; the runtime
//! reaps it. Nothing here blocks a thread or waits without a deadline.

pub mod deadline;
pub mod find;
pub mod metadata;
pub mod outcome;
pub mod parameters;
pub mod patience;
pub mod plugs;
pub mod power;
pub mod prepared;
pub mod run;
pub mod turn;

pub use deadline::Deadline;
pub use find::{AgentDirs, AgentPath, FindAgentError};
pub use metadata::{Metadata, MetadataError, OnIsUnfencing, RunsOn, read_metadata};
pub use outcome::{Exit, Outcome, Report, interpret};
pub use parameters::{HostArgument, Parameter, ParameterError, Parameters};
pub use patience::{Patience, run_patiently};
pub use plugs::{Plugs, PlugsError, read_plugs};
pub use power::{
    OffOrder, OffProof, OffVerdict, PowerReading, Standing, adopt_off, always, confirm_off,
    confirm_off_with, read_power, untold,
};
pub use prepared::Prepared;
pub use run::{Call, run, run_and_tell};
pub use turn::{DeviceLock, DeviceTurn, TurnTimedOut};

#[cfg(test)]
mod tests;
