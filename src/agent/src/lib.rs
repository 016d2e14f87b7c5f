//! haft-agent as a library: what one node does with the machine it runs on.
//!
//! - [`daemon`]: the process, from config to SIGTERM.
//! - [`attach`]: the stream to the leader, on tokio.
//! - [`lease`]: the lease thread with beats and the keeper, apart from tokio.
//! - [`census`]: what the kernel has that is not ours, for the leader.
//! - [`dismantle`]: everything of haft's taken off the machine.
//! - [`executor`]: kernel operations as the keeper orders them.
//! - [`remedy`]: what to do about each reason for which the process does not run.
//! - [`shared_watchdog`]: the watchdog and its claimants; [`sbd`]: the mailbox on shared disks.
//! - [`kernel`]: addresses, frames and the packet filter.
//!
//! Nothing in here decides ownership: decisions come from haft-engine, orders from the coordinators.

pub mod attach;
pub mod census;
pub mod daemon;
pub mod dismantle;
pub mod executor;
pub mod hindrances;
pub mod kernel;
pub mod lease;
pub mod log;
pub mod notify;
pub mod order;
mod plant;
pub mod remedy;
pub mod sbd;
pub mod shared_watchdog;
pub mod watchdog;

/// An error and all its sources in one line, for logs.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
