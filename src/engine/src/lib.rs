//! haft-engine: every decision about ownership, as pure values.
//!
//! Machines take events and the time as arguments and return commands, plus the moment at which
//! they want to be woken. Deliberately absent: clocks, randomness, I/O, async, threads, logging,
//! hash maps, floats and serde. Persisted and wire forms live in haft-api.
//!
//! The map:
//! - [`ids`], [`clock`], [`spec`]: vocabulary.
//! - [`command`], [`state`], [`apply`]: the replicated state machine; nothing else changes ownership.
//! - [`domains`]: advice on what a node shares with its fence devices.
//! - [`levels`]: how a node is isolated: which fence devices, in which order.
//! - [`attempt`]: one try at the devices of a level: which is called, and what all of them prove.
//! - [`place`]: where an agent runs, and what tells a copy of it from the original.
//! - [`evidence`]: rule R3, what opens a resource that another incarnation held.
//! - [`gate`]: what keeps an address silent after its lease, and what that proves.
//! - [`session`]: rule R2, from the coordinator's, the node's and the leader's side.
//! - [`leader`]: what the leader proposes (sessions, placement, fencing), as one machine.
//! - [`keeper`]: what a node does with its assignments and when it stops by itself (R6).
//! - [`machine`]: what a node's kernel has that is not haft's, and what it can carry.
//! - [`plant`]: bugs on purpose, for the simulator; absent from what ships.
//! - [`text`]: what others said, cut to a length that the log can bear.
//! - [`timing`]: rule R2a, the timing in the log and in each session, and the sums that a set must satisfy.
//! - [`witness`]: what a machine that is said to be off says itself (R3a).
//! - [`why`]: the reason for every state, also of inaction.

pub mod apply;
pub mod assignment;
pub mod attempt;
pub mod clock;
pub mod command;
pub mod domains;
pub mod evidence;
pub mod gate;
pub mod ids;
pub mod keeper;
pub mod leader;
pub mod levels;
pub mod machine;
pub mod place;
pub mod plant;
pub mod session;
pub mod spec;
pub mod state;
pub mod text;
pub mod timing;
pub mod why;
pub mod witness;
