//! House rules that a machine can check: layers, bans, file shapes, licences.
//!
//! Reads the tree, builds nothing. A rule that is not here is for a reviewer. What clippy checks (function
//! length, unwrap, prints) is not repeated.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod archive;
mod frames;
mod handlers;
mod layers;
mod libraries;
mod licences;
mod packaging;
mod presets;
mod programs;
mod receipts;
mod refusals;
mod text;
mod tree;
