//! Finding an agent's executable, and refusing one that somebody else could have replaced.
//!
//! An agent runs with the rights of haftd and is given passwords, so its file and the directory that
//! holds it must belong to root (or to the user that haftd runs as) and be writable by nobody else.
//! Whether it is a fence agent at all is only known from its metadata.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Directories searched for agents that are given by name, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentDirs {
    dirs: Vec<PathBuf>,
}

/// An executable that passed the checks at the time of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPath {
    path: PathBuf,
}

/// Why an agent is not run.
#[derive(Debug, Error)]
pub enum FindAgentError {
    /// Neither a plain name nor an absolute path.
    #[error("fence agent '{agent}' is neither a plain name nor an absolute path")]
    BadName {
        /// The name as given.
        agent: String,
    },
    /// No such file in any searched directory.
    #[error("fence agent '{agent}' is not in {searched}")]
    NotFound {
        /// The name as given.
        agent: String,
        /// The directories, comma-separated.
        searched: String,
    },
    /// The file cannot be examined.
    #[error("fence agent {} cannot be examined", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A directory or device.
    #[error("fence agent {} is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Nobody may execute it.
    #[error("fence agent {} is not executable (chmod 755 it)", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// It, or its directory, belongs to another user.
    #[error("{} belongs to uid {uid}, but fence agents must belong to root", path.display())]
    WrongOwner {
        /// The file or directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// It, or its directory, can be written by group or others.
    #[error("{} is writable by others (mode {mode:o}); remove that with chmod go-w", path.display())]
    Writable {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl Default for AgentDirs {
    /// haft's own directory, then the field's (Pacemaker's build-time fence directory).
    fn default() -> Self {
        Self::new(vec![
            "/usr/lib/haft/fence-agents".into(),
            "/usr/sbin".into(),
        ])
    }
}

impl AgentPath {
    /// The executable, with symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's name, `fence_haft_ipmi`.
    pub fn name(&self) -> &str {
        self.path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("")
    }
}

impl AgentDirs {
    /// Searches these directories, first match wins.
    pub fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs }
    }

    /// Finds an agent by name or absolute path.
    ///
    /// # Errors
    /// See [`FindAgentError`]; the first file of that name decides, a bad one is not passed over.
    pub fn find(&self, agent: &str) -> Result<AgentPath, FindAgentError> {
        if agent.starts_with('/') {
            return check(Path::new(agent));
        }
        if agent.is_empty() || agent.contains('/') || agent.starts_with('.') || agent.contains('\0')
        {
            return Err(FindAgentError::BadName {
                agent: agent.escape_default().to_string(),
            });
        }
        let candidate = self
            .dirs
            .iter()
            .map(|dir| dir.join(agent))
            .find(|path| path.exists());
        match candidate {
            Some(path) => check(&path),
            None => Err(FindAgentError::NotFound {
                agent: agent.to_owned(),
                searched: self
                    .dirs
                    .iter()
                    .map(|dir| dir.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }
}

fn check(given: &Path) -> Result<AgentPath, FindAgentError> {
    let unreadable = |source| FindAgentError::Unreadable {
        path: given.to_owned(),
        source,
    };
    let path = given.canonicalize().map_err(unreadable)?;
    let file = path.metadata().map_err(unreadable)?;
    if !file.is_file() {
        return Err(FindAgentError::NotAFile { path });
    }
    if file.mode() & 0o111 == 0 {
        return Err(FindAgentError::NotExecutable { path });
    }
    check_owner(&path, &file)?;
    if let Some(dir) = path.parent() {
        let dir_entry = dir.metadata().map_err(unreadable)?;
        check_owner(dir, &dir_entry)?;
    }
    Ok(AgentPath { path })
}

fn check_owner(path: &Path, entry: &std::fs::Metadata) -> Result<(), FindAgentError> {
    let own = rustix::process::geteuid().as_raw();
    if entry.uid() != 0 && entry.uid() != own {
        return Err(FindAgentError::WrongOwner {
            path: path.to_owned(),
            uid: entry.uid(),
        });
    }
    if entry.mode() & 0o022 != 0 {
        return Err(FindAgentError::Writable {
            path: path.to_owned(),
            mode: entry.mode() & 0o7777,
        });
    }
    Ok(())
}
