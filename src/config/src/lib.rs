//! The one configuration file, the manifests, and a node's identity on disk: read, checked, and turned
//! into types that cannot hold a wrong value.
//!
//! Every refusal carries the place, the reason and the fix, and all of them are collected before any is
//! reported. Nothing here changes the cluster, and nothing is applied from a file with a problem in it.

pub mod abort_on_panic;
pub mod config;
pub mod ending;
mod fields;
pub mod identity;
pub mod manifest;
pub mod memory_image;
mod names;
pub mod problem;
pub mod timing;
mod yaml;

pub use config::{Config, NodeConfig, NodeLookupError, Ports, SbdConfig, SbdStart, TlsFiles};
pub use fields::parse_span;
pub use problem::{Problem, Problems};
