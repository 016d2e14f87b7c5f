//! Reading an identity, and refusing one that others could have read.

use super::{
    BOOTSTRAP, Bootstrap, CA, CA_KEY, CERTIFICATE, CLUSTER, FORMAT, Identity, KEY, from_hex,
};
use haft_engine::ids::{ClusterId, NodeId, NodeName};
use serde::Deserialize;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why an identity was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadIdentityError {
    /// None has been written yet.
    #[error("this node has no identity yet: {} does not exist", dir.display())]
    Absent {
        /// Where it will be.
        dir: PathBuf,
    },
    /// Others than the owner may read a secret.
    #[error("{} can be read by others than its owner (mode {mode:04o})", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file that must be there is not, or cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl ReadIdentityError {
    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            ReadIdentityError::Absent { .. } => {
                "run `haftctl cluster init` on the first node, or `haftctl cluster join` on the others".to_owned()
            }
            ReadIdentityError::TooOpen { path, .. } => format!(
                "run `chmod go= {}`; if others may have read it, let the node join anew under a new identity",
                path.display()
            ),
            ReadIdentityError::Unreadable { path, .. } => {
                format!("let {} belong to the user that runs haft, with mode 0600", path.display())
            }
            ReadIdentityError::Damaged { path, .. } => format!(
                "restore {} from this node's own backup, or, of a node that does not vote, haftctl delete node/NAME, move its data directory away and let it join anew",
                path.display()
            ),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    format: u32,
    cluster_id: String,
    cluster_name: String,
    node: String,
    node_id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BootstrapFile {
    format: u32,
    heartbeat_key: String,
    host: String,
}

pub(super) fn identity(dir: &Path) -> Result<Identity, ReadIdentityError> {
    match std::fs::metadata(dir) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReadIdentityError::Absent {
                dir: dir.to_owned(),
            });
        }
        Err(source) => {
            return Err(ReadIdentityError::Unreadable {
                path: dir.to_owned(),
                source,
            });
        }
    }
    let path = dir.join(CLUSTER);
    let file: ClusterFile = json(&path, &public(&path)?)?;
    check_format(&path, file.format)?;
    let cluster = from_hex(&file.cluster_id)
        .ok_or_else(|| damaged(&path, "cluster_id is not 32 hex digits"))?;
    if file.node_id == 0 {
        return Err(damaged(&path, "node_id is 0, which no node has"));
    }
    let ca_key = dir.join(CA_KEY);
    Ok(Identity {
        dir: dir.to_owned(),
        cluster: ClusterId(cluster),
        cluster_name: file.cluster_name,
        node: NodeName(file.node),
        node_id: NodeId(file.node_id),
        ca_pem: pem(&dir.join(CA), public)?,
        certificate_pem: pem(&dir.join(CERTIFICATE), public)?,
        key_pem: pem(&dir.join(KEY), secret)?,
        ca_key_pem: if ca_key.exists() {
            Some(pem(&ca_key, secret)?)
        } else {
            None
        },
    })
}

pub(super) fn bootstrap(dir: &Path) -> Result<Option<Bootstrap>, ReadIdentityError> {
    let path = dir.join(BOOTSTRAP);
    if !path.exists() {
        return Ok(None);
    }
    let file: BootstrapFile = json(&path, &secret(&path)?)?;
    check_format(&path, file.format)?;
    let heartbeat_key = from_hex(&file.heartbeat_key)
        .ok_or_else(|| damaged(&path, "heartbeat_key is not 64 hex digits"))?;
    Ok(Some(Bootstrap {
        heartbeat_key,
        host: file.host,
    }))
}

fn damaged(path: &Path, what: &str) -> ReadIdentityError {
    ReadIdentityError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

fn check_format(path: &Path, format: u32) -> Result<(), ReadIdentityError> {
    if format == FORMAT {
        return Ok(());
    }
    Err(damaged(
        path,
        &format!("its format is {format}, and this release reads {FORMAT}"),
    ))
}

/// The parser's own message is left out of the error where the file holds a secret: it may quote it.
fn json<T: for<'de> Deserialize<'de>>(path: &Path, text: &str) -> Result<T, ReadIdentityError> {
    serde_json::from_str(text).map_err(|error| {
        damaged(
            path,
            &format!(
                "not the expected JSON at line {} column {}",
                error.line(),
                error.column()
            ),
        )
    })
}

fn public(path: &Path) -> Result<String, ReadIdentityError> {
    std::fs::read_to_string(path).map_err(|source| ReadIdentityError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn secret(path: &Path) -> Result<String, ReadIdentityError> {
    let unreadable = |source| ReadIdentityError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mode = std::fs::metadata(path).map_err(unreadable)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ReadIdentityError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    public(path)
}

fn pem(
    path: &Path,
    read: fn(&Path) -> Result<String, ReadIdentityError>,
) -> Result<String, ReadIdentityError> {
    let text = read(path)?;
    if text.contains("-----BEGIN ") && text.contains("-----END ") {
        return Ok(text);
    }
    Err(damaged(path, "it is not in PEM form"))
}
