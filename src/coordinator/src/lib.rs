//! haftd as a library: consensus, and on top of it the API services and the leader's tasks.
//!
//! Does not touch resources; that is the agent's work.

pub mod beats;
pub mod clock;
pub mod consensus;
pub mod context;
pub mod daemon;
pub mod fencing;
pub mod leading;
pub mod members;
pub mod peers;
pub mod pki;
pub mod plant;
pub mod probing;
pub mod pulse;
pub mod replica;
pub mod seals;
pub mod secret_file;
pub mod services;
pub mod sights;
pub mod streams;
pub mod timing;
pub mod witness;

/// Why a lock is never found poisoned: a panic ends the process (`haft_config::abort_on_panic`), so
/// that nothing is served from a state that was left half changed. Where it does not, as in a test,
/// the next user of the lock panics.
pub(crate) const POISON: &str = "whoever panics under a lock ends the process";
