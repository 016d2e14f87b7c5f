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
pub mod probing;
pub mod replica;
pub mod seals;
pub mod secret_file;
pub mod services;
pub mod sights;
