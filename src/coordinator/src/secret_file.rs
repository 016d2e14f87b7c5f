//! Reads a secret from its file at the moment it is needed; refuses files that others could read.
//!
//! Keeps nothing and logs nothing of the content.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Longest secret, bytes.
const SECRET_MAX: u64 = 4_096;

/// Why a secret was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadSecretError {
    /// Missing or unreadable.
    #[error("secret file {path} cannot be read: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Group or others may read it, or it belongs to someone else.
    #[error(
        "secret file {path} is open to others (mode {mode:o}, owner {owner}): chown root and chmod 600 it"
    )]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// Longer than 4096 bytes, empty, or not text.
    #[error("secret file {path} does not hold one line of text")]
    NotText {
        /// Which file.
        path: PathBuf,
    },
}

/// The file's text without its last newline.
pub fn read_secret(path: &Path) -> Result<String, ReadSecretError> {
    let unreadable = |source| ReadSecretError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    let own = rustix::process::geteuid().as_raw();
    if mode & 0o077 != 0 || (owner != 0 && owner != own) {
        return Err(ReadSecretError::Open {
            path: path.to_owned(),
            mode,
            owner,
        });
    }
    let mut text = String::new();
    let read = file.take(SECRET_MAX + 1).read_to_string(&mut text);
    read.map_err(|_| ReadSecretError::NotText {
        path: path.to_owned(),
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    if line.is_empty() || line.contains('\n') || text.len() as u64 > SECRET_MAX {
        return Err(ReadSecretError::NotText {
            path: path.to_owned(),
        });
    }
    Ok(line.to_owned())
}
