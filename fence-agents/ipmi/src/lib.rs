//! An IPMI 2.0 RMCP+ client, as far as power control needs one, and the fence agent on top of it.
//!
//! Reading order, from the wire up; every layer but the last two is pure:
//!
//! | layer | what | I/O |
//! |---|---|---|
//! | [`wire`] | datagrams, payloads and messages to bytes and back | none |
//! | [`cipher`] | the two cipher suites: codes, keys, encryption | none |
//! | [`session`] | the session as a machine: bytes and time in, bytes out | none |
//! | [`power`] | when is off proven: reads and commands as a machine | none |
//! | [`settings`] | options of the agent, checked | password file or script |
//! | [`driver`] | one UDP socket, one deadline | all of it |
//!
//! Section numbers are those of the IPMI specification v2.0 rev. 1.1. It speaks no IPMI 1.5 session,
//! no Serial over LAN, no bridging, and it never uses power cycle or hard reset: both report success
//! before the machine is off.

pub mod cipher;
pub mod driver;
pub mod power;
pub mod run;
pub mod session;
pub mod settings;
pub mod spec;
pub mod wire;
