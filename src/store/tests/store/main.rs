//! The store on real files: what survives, what is refused, what aborts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod durability;
mod observer;
mod refusals;
mod support;
mod twin;
