//! Every parser of haft that reads bytes from outside, as one function of bytes.
//!
//! A function takes any bytes and panics when a property does not hold: no panic in the parser, what was
//! decoded encodes to the same meaning, no verdict out of an answer with a wrong code or number, no secret in
//! what is said about it. `scripts/fuzz` drives them with libFuzzer, the suite `corpus` with the committed
//! inputs, so that both try the same thing. Nothing here opens a file or a socket, and nothing is random.

#![expect(
    clippy::unwrap_used,
    reason = "a property that does not hold is told by a panic"
)]

mod agent_input;
mod agent_output;
mod beats;
mod config;
mod ipmi;
mod pdu_table;
mod persisted;
mod sbd;
mod script;
pub mod seeds;
mod snmp;
mod snmp_user;

/// A function to try on bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is also its folder under `fuzz/corpus`.
    pub name: &'static str,
    /// Longest input worth trying, in bytes.
    pub longest: usize,
    /// Panics when a property does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    target("agent_input", 4096, agent_input::run),
    target("agent_output", 4096, agent_output::run),
    target("beats", 1024, beats::run),
    target("config", 16_384, config::run),
    target("ipmi", 1024, ipmi::run),
    target("pdu_table", 4096, pdu_table::run),
    target("persisted", 4096, persisted::run),
    target("sbd", 4200, sbd::run),
    target("snmp", 1024, snmp::run),
    target("snmp_user", 1024, snmp_user::run),
];

const fn target(name: &'static str, longest: usize, run: fn(&[u8])) -> Target {
    Target { name, longest, run }
}

/// The target of that name.
pub fn find(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
