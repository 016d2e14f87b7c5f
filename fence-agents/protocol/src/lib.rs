//! The ClusterLabs fence-agent contract as a library, both sides of it.
//!
//! [`agent`] is for executables such as `fence_haft_ipmi`: read parameters, print metadata, end with
//! the exit codes that the field expects. [`caller`] is for `haftd`: find an agent, run one action
//! under a deadline, and say what is *known* afterwards. Both speak the contract of the fence-agents
//! project (doc/FenceAgentAPI.md, lib/metadata.rng), so agents and callers of other makers fit.
//!
//! It decides nothing about fencing: orders, levels, retries and verdicts in the log belong to the
//! engine. It holds no device protocol either.

pub mod action;
pub mod agent;
pub mod caller;
pub mod secret;

pub use action::{Action, ActionError};
pub use secret::Secret;
