//! What several suites share: real peers started for a test and ended with it.
//!
//! [`built`] finds this workspace's own executables, [`ipmi_sim`] runs a real BMC, [`snmp_pdu`] a real SNMP agent as a
//! PDU, [`canary`] searches for secrets in all their forms, [`jail`] makes a machine of namespaces, [`coordinators`] a real cluster on loopback, [`seed`] gives noise that
//! can be replayed, [`figures`] says where a benchmark was run. It holds no assertions about haft.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

pub mod built;
pub mod canary;
pub mod coordinators;
pub mod figures;
pub mod ipmi_sim;
pub mod jail;
pub mod sbd_lab;
pub mod seed;
pub mod snmp_pdu;
