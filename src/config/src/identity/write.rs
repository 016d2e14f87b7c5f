//! Writing an identity, once and whole.

use super::{BOOTSTRAP, Bootstrap, CA, CA_KEY, CERTIFICATE, CLUSTER, FOLDER, FORMAT, KEY, to_hex};
use haft_engine::ids::{ClusterId, NodeId, NodeName};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is to be written. No `Debug`: it holds keys.
pub struct NewIdentity {
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
    /// The node's key, PKCS#8 PEM.
    pub key_pem: String,
    /// The authority's key, on the first coordinator.
    pub ca_key_pem: Option<String>,
    /// What the cluster begins with, on the first coordinator.
    pub bootstrap: Option<Bootstrap>,
}

/// Why an identity was not written. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum WriteIdentityError {
    /// There is one already.
    #[error("{} exists already", dir.display())]
    Exists {
        /// Where it is.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("{} cannot be written", path.display())]
    Unwritable {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl NewIdentity {
    /// Writes `<data_dir>/identity` (0700, files 0600), durably; refuses when there is one.
    pub fn write(&self, data_dir: &Path) -> Result<PathBuf, WriteIdentityError> {
        let dir = data_dir.join(FOLDER);
        if dir.exists() {
            return Err(WriteIdentityError::Exists { dir });
        }
        let unwritable = |path: &Path| {
            let path = path.to_owned();
            move |source| WriteIdentityError::Unwritable { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(data_dir)
            .map_err(unwritable(data_dir))?;
        let beside = data_dir.join(format!("{FOLDER}.new.{}", std::process::id()));
        let written = self.write_files(&beside).map_err(unwritable(&beside));
        // A rename onto a folder with files in it fails: of two writers, one wins whole.
        let placed = written.and_then(|()| {
            std::fs::rename(&beside, &dir).map_err(|source| match source.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                    WriteIdentityError::Exists { dir: dir.clone() }
                }
                _ => WriteIdentityError::Unwritable {
                    path: dir.clone(),
                    source,
                },
            })
        });
        if let Err(error) = placed {
            let _ = std::fs::remove_dir_all(&beside);
            return Err(error);
        }
        File::open(data_dir)
            .and_then(|folder| folder.sync_all())
            .map_err(unwritable(data_dir))?;
        Ok(dir)
    }

    fn write_files(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(dir)?;
        let cluster = serde_json::json!({
            "format": FORMAT,
            "cluster_id": self.cluster.to_string(),
            "cluster_name": self.cluster_name,
            "node": self.node.0,
            "node_id": self.node_id.0,
        });
        write_file(&dir.join(CLUSTER), &format!("{cluster:#}\n"))?;
        write_file(&dir.join(CA), &self.ca_pem)?;
        write_file(&dir.join(CERTIFICATE), &self.certificate_pem)?;
        write_file(&dir.join(KEY), &self.key_pem)?;
        if let Some(key) = &self.ca_key_pem {
            write_file(&dir.join(CA_KEY), key)?;
        }
        if let Some(bootstrap) = &self.bootstrap {
            let json = serde_json::json!({
                "format": FORMAT,
                "heartbeat_key": to_hex(&bootstrap.heartbeat_key),
                "host": bootstrap.host,
            });
            write_file(&dir.join(BOOTSTRAP), &format!("{json:#}\n"))?;
        }
        File::open(dir)?.sync_all()
    }
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
