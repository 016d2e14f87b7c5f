//! The judge: asks every node, every few milliseconds, whether it answers for an address, and keeps score.
//!
//! It shares no code with haft: the frames it sends are built here byte by byte, and what it concludes rests only on
//! which hardware address answered which question. One *tick* (5 ms by default) asks every node at once, by frames
//! addressed to that node's own MAC, so no switch, neighbour cache or announcement can hide a second owner.
//!
//! # The rule of attribution
//!
//! A reply belongs to the tick whose number it carries, never to the moment it arrived:
//! - ICMP and ICMPv6 echo carry the tick in their payload, which the answering kernel must return unchanged;
//! - an ARP request carries the tick in its *sender hardware address* (`02:6a:` and 32 bits), to which the answering
//!   kernel must direct its reply; the sender protocol address is a reserved one that nobody owns;
//! - a neighbour solicitation carries the tick, modulo 128, in its IPv6 source address, to which the advertisement is
//!   sent; at 5 ms that leaves 640 ms before two ticks could be confused, and a reply that late is a stall anyway.
//!
//! Two nodes that answer the same tick of one address are two owners. The exception is a tick whose own frames took
//! longer than [`SMEAR_LIMIT_US`] to leave (the judge was descheduled between them): a handover could fit in between,
//! so such a tick accuses nobody, is counted as smeared, and makes the run *stalled*, to be repeated.
//!
//! It deliberately does not judge: no thresholds for gaps, no pass or fail. The lab does that.

use std::io::{self, BufRead, Write};

use anyhow::Context;

pub mod frame;
pub mod probe;
pub mod protocol;
pub mod record;
pub mod sys;

/// Longest time, in microseconds, from the first to the last frame of one tick to one address before the tick can no
/// longer prove simultaneity. A handover needs at least one process wake-up and one netlink call, measured at several
/// hundred microseconds at the very least; sending takes some tens.
pub const SMEAR_LIMIT_US: u64 = 1_000;

/// The judge's process: reads its setup from the first line of stdin, says that it is ready, then ticks and answers
/// orders until stdin ends. It must already be inside the client's network namespace.
///
/// # Errors
/// A setup that cannot be read or met, a socket or stdout that fails.
pub fn run() -> anyhow::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let setup =
        serde_json::from_str(&line).context("the first line is the setup as one JSON object")?;
    let mut probe = probe::Probe::open(setup)?;
    sys::become_realtime();
    let mut stdout = io::stdout().lock();
    stdout.write_all(b"{\"answer\":\"done\",\"at_ms\":0.0}\n")?;
    stdout.flush()?;
    drop(stdout);
    probe.run()
}
