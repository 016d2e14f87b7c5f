//! The store on real files: what survives, what is refused, what aborts.

mod durability;
mod observer;
mod refusals;
mod support;
mod twin;
