//! haftctl against stand-in coordinators that speak the real API over the real TLS.
//!
//! What is tested is haftctl's side: whom it asks, how often, what it prints and how it exits. What a cluster
//! decides is tested elsewhere.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod answers;
mod joining;
mod objects;
mod stand_in;
mod watching;
