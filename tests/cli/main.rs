//! haftctl as people and scripts meet it, without a cluster: bad input, help, init, secrets, exit codes.
//!
//! What needs a cluster to answer is in haft-ctl's own suite, against a stand-in coordinator. Golden texts are
//! rewritten with HAFT_UPDATE_GOLDEN=1; commit a changed one only if every changed line is meant.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod bad_input;
mod help;
mod init;
mod run;
