//! haft-agent as a library: what one node does with the machine it runs on.
//!
//! [`kernel`] touches addresses, frames and the packet filter. Nothing in here decides ownership:
//! decisions come from haft-engine, orders from the coordinators.

pub mod kernel;
