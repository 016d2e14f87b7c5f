//! An SNMP client, as far as switched power outlets need one, and the fence agent on top of it.
//!
//! Reading order, from the wire up; every layer but the last two is pure:
//!
//! | layer | what | I/O |
//! |---|---|---|
//! | [`oid`] | object identifiers, and patterns with an outlet in them | none |
//! | [`wire`] | BER, messages of v1, v2c and v3 to bytes and back | none |
//! | [`usm`] | SNMPv3's user-based security: keys, digests, encryption | none |
//! | [`session`] | questions and answers as a machine: bytes and time in, bytes out | none |
//! | [`outlets`] | what the objects and values of known PDUs mean | none |
//! | [`power`] | when are all outlets off: reads and commands as a machine | none |
//! | [`settings`] | options of the agent, checked | password files and scripts |
//! | [`driver`] | one UDP socket, one deadline | all of it |
//!
//! It receives no traps, compiles no MIB and walks nothing but a table of outlet names. It never uses a
//! PDU's own reboot or cycle command: those report success before the machine is off.
//!
//! Why not a library: of the crates there are, the one that fits best (snmp2 0.5.3) hears one datagram
//! for each it sends, so that one stray or doubled answer shifts all later ones; it takes SNMPv3 boots and
//! time from a message before its digest is checked; it writes through a shared slice to check the
//! digest; it drops the reason in a report; and it keeps passwords in memory after use.

pub mod driver;
pub mod oid;
pub mod outlets;
pub mod power;
pub mod run;
pub mod session;
pub mod settings;
pub mod spec;
pub mod usm;
pub mod wire;
