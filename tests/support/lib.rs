//! What several suites share: real peers started for a test and ended with it.
//!
//! [`built`] finds this workspace's own executables, [`ipmi_sim`] runs a real BMC. It holds no
//! assertions about haft and no network namespaces.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

pub mod built;
pub mod coordinators;
pub mod ipmi_sim;
pub mod sbd_lab;
