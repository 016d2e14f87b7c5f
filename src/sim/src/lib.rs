//! haft-sim: the real engine in a simulated world, judged against what is true there.
//!
//! One thread, one seed, one history: a run replays event by event from its seed. The engine's machines
//! are the ones that ship; Raft is a compact model of our own, and kernels, clocks, disks, networks, BMCs, outlets
//! and poison pills are models of what was measured on real ones. Sockets, RocksDB and openraft are not here: suites
//! with real processes cover them.
//!
//! The map:
//! - [`run`]: one seed; `sweep`: many; `planted`: the planted bugs.
//! - `setup`: what a seed means. `nemesis`: faults. `errands`: administrators.
//! - `world`, `machine`, `net`, `clock`, `kernel`: the world. `park`: its fence devices, by `bmc`, `pdu`, `disks`.
//! - `coordinator`, `agent`, `raft`: the drivers around the engine's machines.
//! - `oracle`, [`invariants`]: judgement.

mod agent;
mod barrier;
mod bmc;
mod clock;
mod coordinator;
mod disks;
mod errands;
pub mod invariants;
mod kernel;
mod machine;
pub mod nemesis;
mod net;
pub mod oracle;
mod park;
mod pdu;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod raft;
mod rng;
pub mod run;
pub mod setup;
pub mod sweep;
pub mod trace;
mod wire;
mod world;
