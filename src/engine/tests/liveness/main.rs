//! Never stuck: while a majority lives and isolation succeeds, no decision waits for something that never comes.
//!
//! Each history once left a cluster waiting for ever. The leader's machine, stepped by hand over `apply`.

mod begun;
mod entries;
mod quarantine;
mod series;
mod streams;
mod world;
