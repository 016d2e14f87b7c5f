//! A node's identity on disk: `<data_dir>/identity/`, written once by `haftctl cluster init` or `join`.
//!
//! Appears whole or not at all (written beside, synced, renamed). Mints nothing and checks no signature;
//! what it refuses is an identity that others could read, or that is damaged.

mod read;
mod write;

pub use read::ReadIdentityError;
pub use write::{NewIdentity, WriteIdentityError};

use haft_engine::ids::{ClusterId, NodeId, NodeName};
use std::fmt;
use std::path::{Path, PathBuf};

/// Folder under the data directory.
pub const FOLDER: &str = "identity";
const CLUSTER: &str = "cluster.json";
const CERTIFICATE: &str = "node.crt";
const KEY: &str = "node.key";
const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const BOOTSTRAP: &str = "bootstrap.json";
/// Version of the two JSON files.
const FORMAT: u32 = 1;

/// Who this node is, in which cluster. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Folder it was read from.
    pub dir: PathBuf,
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's name.
    pub cluster_name: String,
    /// The node's name.
    pub node: NodeName,
    /// The node's number.
    pub node_id: NodeId,
    /// The authority's certificate, PEM.
    pub ca_pem: String,
    /// The node's certificate, PEM.
    pub certificate_pem: String,
    /// The node's key, PKCS#8 PEM. Secret.
    pub key_pem: String,
    /// The authority's key, PKCS#8 PEM, where this coordinator has it. Secret.
    pub ca_key_pem: Option<String>,
}

/// What the first coordinator needs once, to begin the cluster. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// First key of the beats. Secret.
    pub heartbeat_key: [u8; 32],
    /// Address of the node's ports.
    pub host: String,
}

impl Identity {
    /// Reads `<data_dir>/identity`; [`ReadIdentityError::Absent`] until init or join has written it.
    pub fn read(data_dir: &Path) -> Result<Identity, ReadIdentityError> {
        read::identity(&data_dir.join(FOLDER))
    }

    /// What the first coordinator still has to begin with; `None` everywhere else and afterwards.
    pub fn bootstrap(&self) -> Result<Option<Bootstrap>, ReadIdentityError> {
        read::bootstrap(&self.dir)
    }

    /// Path of the authority's certificate.
    pub fn ca_path(&self) -> PathBuf {
        self.dir.join(CA)
    }
    /// Path of the node's certificate.
    pub fn certificate_path(&self) -> PathBuf {
        self.dir.join(CERTIFICATE)
    }
    /// Path of the node's key.
    pub fn key_path(&self) -> PathBuf {
        self.dir.join(KEY)
    }
    /// Path of the authority's key; the file need not exist.
    pub fn ca_key_path(&self) -> PathBuf {
        self.dir.join(CA_KEY)
    }
    /// Path of the bootstrap file; the file need not exist.
    pub fn bootstrap_path(&self) -> PathBuf {
        self.dir.join(BOOTSTRAP)
    }
}

impl Bootstrap {
    /// Removes the bootstrap file durably: the cluster has begun.
    pub fn consume(identity: &Identity) -> std::io::Result<()> {
        match std::fs::remove_file(identity.bootstrap_path()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        std::fs::File::open(&identity.dir)?.sync_all()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("dir", &self.dir)
            .field("cluster", &self.cluster)
            .field("cluster_name", &self.cluster_name)
            .field("node", &self.node)
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bootstrap")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Bytes as lower-case hex.
fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a String accepts every write");
        out
    })
}

/// Exactly `N` bytes from lower- or upper-case hex.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (slot, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
