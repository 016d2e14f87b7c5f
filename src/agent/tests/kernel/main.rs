//! The kernel modules against real kernels: every test makes its own network namespaces.
//!
//! Needs root, iproute2 and nft; fails with a clear message without them. Skips nothing but links that a kernel does
//! not make, and says so; with `HAFT_LINK_KINDS=required`, as in a guest of `scripts/test-gate`, not even those.

#![expect(
    clippy::unwrap_used,
    reason = "test code throughout; clippy only knows functions marked as tests"
)]

mod absent;
mod address;
mod announce;
mod beds;
mod capability;
mod census;
mod fixture;
mod foreign;
mod gate;
mod gate_clock;
mod gate_late;
mod gate_links;
mod gate_past;
mod gate_take_down;
mod guard;
mod lease;
mod lives;
mod netns;
mod probe;
mod retimed;
mod sockets;
mod suspend;
mod told;
mod traffic;
mod xdp;
