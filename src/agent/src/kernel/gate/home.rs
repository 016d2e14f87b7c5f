//! Where the gate lives on when its agent is dead: a directory of the machine's bpf file system.
//!
//! A pinned link goes with the file system it is pinned in. That must be the machine's, the same mount as
//! process 1's: one that belongs to the agent's own mount namespace ends with the agent's unit, and every link
//! with it. Finds that out and makes the directory; knows nothing of what is pinned there.

use super::NoGate;
use rustix::fs::{stat, statfs};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where every distribution has it.
const MACHINES: &str = "/sys/fs/bpf";
/// The same as process 1 sees it.
const FIRST_PROCESS: &str = "/proc/1/root/sys/fs/bpf";
/// BPF_FS_MAGIC (linux/magic.h).
const MAGIC: u64 = 0xcafe_4a11;
/// Directory of every namespace's gate.
const OURS: &str = "haft";

/// The directory of one network namespace's gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// In the machine's bpf file system, which systemd mounts at boot, for this thread's network namespace.
    ///
    /// # Errors
    /// When there is none, or it is not the machine's.
    pub fn of_this_machine() -> Result<Home, NoGate> {
        if !is_bpf(Path::new(MACHINES)) {
            return Err(NoGate::NoFileSystem);
        }
        let ours = stat(MACHINES).map_err(|error| NoGate::Home(error.into()))?;
        let theirs = stat(FIRST_PROCESS).map_err(|error| NoGate::Home(error.into()))?;
        if ours.st_dev != theirs.st_dev {
            return Err(NoGate::ForeignFileSystem);
        }
        Home::within(Path::new(MACHINES))
    }

    /// In the bpf file system mounted at `root`, for this thread's network namespace. The caller answers for
    /// that mount's life.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn within(root: &Path) -> Result<Home, NoGate> {
        if !is_bpf(root) {
            return Err(NoGate::NoFileSystem);
        }
        let namespace = fs::metadata("/proc/thread-self/ns/net").map_err(NoGate::Home)?;
        let path = root.join(OURS).join(namespace.ino().to_string());
        fs::create_dir_all(&path).map_err(NoGate::Home)?;
        Ok(Home { path })
    }

    /// Where something of this name is pinned.
    pub(super) fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of everything pinned here.
    pub(super) fn pins(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    /// Takes one away; absence is success.
    pub(super) fn unpin(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.pin(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Takes everything away: the maps last, so that no link is left without a way to find what it reads.
    ///
    /// # Errors
    /// When something stays; the rest is gone.
    pub(super) fn clear(&self, last: &[&str]) -> io::Result<()> {
        let (maps, links): (Vec<String>, Vec<String>) = self
            .pins()?
            .into_iter()
            .partition(|name| last.contains(&name.as_str()));
        for name in links.iter().chain(&maps) {
            self.unpin(name)?;
        }
        fs::remove_dir(&self.path)
    }
}

fn is_bpf(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(MAGIC))
}
