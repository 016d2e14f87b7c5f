//! The configuration of a cluster: one file, the same on every node.
//!
//! Reads and checks; opens no port and changes nothing. What the types hold has been checked: names are
//! names, addresses are unique, the timing's sums hold.

mod nodes;
mod read;
mod sbd;
mod tls;

use crate::manifest::Manifest;
use crate::problem::Problems;
use crate::timing::TimingRequest;
use haft_engine::clock::Timing;
use haft_engine::command::NodeRole;
use haft_engine::ids::NodeName;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the state of a node lives unless the file says otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/haft";
/// The first watchdog of the machine, by the name that Linux has always given it.
pub const DEFAULT_WATCHDOG: &str = "/dev/watchdog";
/// What the ClusterLabs tool allows one access with a loop of one second.
pub const DEFAULT_SBD_IO_TIMEOUT: Duration = Duration::from_secs(3);
/// Where fence agents are looked up unless the file says otherwise.
pub const DEFAULT_AGENT_DIRS: [&str; 2] = ["/usr/lib/haft/fence-agents", "/usr/sbin"];

/// Time between two probes of a fence device unless the file says otherwise.
pub const DEFAULT_PROBE_EVERY: Duration = Duration::from_secs(60);

/// A checked configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The cluster's name, for people.
    pub cluster_name: String,
    /// Every interval, its sums checked.
    pub timing: Timing,
    /// What the intervals follow from.
    pub timing_request: TimingRequest,
    /// At least one, at least one of them a coordinator, in the order of the file.
    pub nodes: Vec<NodeConfig>,
    /// Absolute.
    pub data_dir: PathBuf,
    /// Ports, the same on every node.
    pub ports: Ports,
    /// Absolute, never empty.
    pub agent_dirs: Vec<PathBuf>,
    /// Time between two probes of a fence device, from 1 s to 1 h.
    pub probe_every: Duration,
    /// The hardware watchdog that haft-agent arms when something it holds needs it.
    pub watchdog_device: PathBuf,
    /// The bpf file system in which haft-agent pins its gate, absolute: who names it answers for its outliving the
    /// agent and whatever contains it. Without, the agent takes the machine's if it can tell that it is.
    pub bpf_fs: Option<PathBuf>,
    /// Shared disks with poison pills that haft-agent obeys; nothing is watched without.
    pub sbd: Option<SbdConfig>,
    /// Files that replace the identity's own, if the file names them.
    pub tls: Option<TlsFiles>,
    /// Applied once, when the cluster begins.
    pub resources: Vec<Manifest>,
}

/// One node of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeConfig {
    /// Its name.
    pub name: NodeName,
    /// At least one; several are redundant links, the first is tried first.
    pub addresses: Vec<IpAddr>,
    /// What it runs.
    pub role: NodeRole,
}

/// Ports, the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// API and agents, TCP.
    pub api: u16,
    /// Raft peers, TCP.
    pub peer: u16,
    /// Beats, UDP.
    pub beat: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            api: 7400,
            peer: 7401,
            beat: 7402,
        }
    }
}

/// The `sbd` section: shared disks whose pills every node obeys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SbdConfig {
    /// One to three, absolute, no path twice.
    pub devices: Vec<PathBuf>,
    /// What to do about a message from before the start.
    pub start: SbdStart,
    /// Time for one disk to answer.
    pub io_timeout: Duration,
}

/// What an agent does when its mailbox holds a message from a former life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SbdStart {
    /// It does not start: a human looks first.
    Clean,
    /// It takes the message out once the node has been admitted anew.
    Always,
}

/// TLS files that replace the identity's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Certificate of the authority that signs every node.
    pub ca: PathBuf,
    /// This node's certificate.
    pub certificate: PathBuf,
    /// Its key; readable by its owner alone.
    pub key: PathBuf,
}

/// Why the local node could not be found in the file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NodeLookupError {
    /// `--node` names nobody.
    #[error("the configuration has no node `{name}`; it has {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names that the file has.
        known: Vec<String>,
    },
    /// The hostname names nobody.
    #[error("the configuration has no node named after this host, `{hostname}`; it has {}; say which with --node", known.join(", "))]
    HostnameUnknown {
        /// This machine's hostname.
        hostname: String,
        /// The names that the file has.
        known: Vec<String>,
    },
}

impl Config {
    /// Reads and checks a file, and the TLS files that it names.
    pub fn load(path: &Path) -> Result<Config, Problems> {
        let (file, text) = text_of(path)?;
        read::read(&file, &text, read::Files::Checked)
    }

    /// The timing that a file asks for, whatever else is in it and whether or not its sums hold: what
    /// `explain timing` explains.
    pub fn timing_request(path: &Path) -> Result<TimingRequest, Problems> {
        let (file, text) = text_of(path)?;
        read::timing_request(&file, &text)
    }

    /// Checks a text without touching the file system.
    pub fn parse(file: &str, text: &str) -> Result<Config, Problems> {
        read::read(file, text, read::Files::Untouched)
    }

    /// The node of this name.
    pub fn node(&self, name: &NodeName) -> Option<&NodeConfig> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// The nodes that run haftd.
    pub fn coordinators(&self) -> impl Iterator<Item = &NodeConfig> {
        self.nodes
            .iter()
            .filter(|node| node.role == NodeRole::Coordinator)
    }

    /// The local node: the one named, else the one named after this host (in full, or its part before the
    /// first dot).
    pub fn local(&self, name: Option<&str>) -> Result<&NodeConfig, NodeLookupError> {
        let named = |wanted: &str| self.nodes.iter().find(|node| node.name.as_str() == wanted);
        let known = || self.nodes.iter().map(|node| node.name.0.clone()).collect();
        if let Some(name) = name {
            return named(name).ok_or_else(|| NodeLookupError::Unknown {
                name: name.to_owned(),
                known: known(),
            });
        }
        let hostname = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .to_lowercase();
        let short = hostname.split('.').next().unwrap_or_default();
        named(&hostname)
            .or_else(|| named(short))
            .ok_or_else(|| NodeLookupError::HostnameUnknown {
                hostname: hostname.clone(),
                known: known(),
            })
    }
}

fn text_of(path: &Path) -> Result<(String, String), Problems> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((file, text)),
        Err(error) => Err(Problems::whole_file(
            &file,
            format!("the file cannot be read: {error}"),
            "name the cluster's configuration file, usually /etc/haft/haft.yaml",
        )),
    }
}

#[cfg(test)]
mod tests;
