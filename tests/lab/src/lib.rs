//! The lab: machines in namespaces with real BMCs, faults, the demo and the failover benchmark.
//!
//! It uses no haft code: it drives haft as a user does, through `haftctl`, and judges it from outside.

pub mod bench;
pub mod bmc;
mod busy;
pub mod calm;
pub mod check;
pub mod cluster;
pub mod ctl;
pub mod demo;
pub mod jail;
pub mod judge;
pub mod keepalived;
pub mod lab;
pub mod machine;
pub mod mixtures;
pub mod node_init;
pub mod say;
pub mod shell;
pub mod site;
pub mod stats;
pub mod sys;
