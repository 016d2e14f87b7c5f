//! Where the gate lives on when its agent is dead: a directory of the machine's bpf file system.
//!
//! A pinned link goes with the file system it is pinned in. That must be the machine's, the same mount as
//! process 1's: one that belongs to the agent's own mount namespace ends with the agent's unit, and every link
//! with it. Process 1 of another PID namespace than the first is a container's, and ends with the container: there
//! nothing is proven, unless an administrator names a file system that stays. Finds that out and makes the
//! directory; knows nothing of what is pinned there.

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

/// This process's PID namespace, and the name that the kernel gives the first one: PROC_PID_INIT_INO
/// (include/linux/proc_ns.h; part of the interface, include/uapi/linux/nsfs.h, since 6.18).
const PROCESSES: &str = "/proc/self/ns/pid";
const FIRST_PROCESSES: &str = "pid:[4026531836]";

/// Whether what is pinned outlives the agent, whatever ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasts {
    /// Process 1 of the machine has the same mount.
    Proven,
    /// Whoever named the mount answers for it.
    Stated,
    /// The mount may end with the container that the agent is in.
    Unproven,
}

/// The directory of one network namespace's gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    path: PathBuf,
    lasts: Lasts,
}

/// Where a process looks to find out.
struct View<'a> {
    machines: &'a Path,
    first_process: &'a Path,
    processes: &'a Path,
}

impl Home {
    /// In the bpf file system that an administrator names, or else the machine's.
    ///
    /// # Errors
    /// As [`Home::within`] and [`Home::of_this_machine`].
    pub fn of(named: Option<&Path>) -> Result<Home, NoGate> {
        named.map_or_else(Home::of_this_machine, Home::within)
    }

    /// In the machine's bpf file system, which systemd mounts at boot, for this thread's network namespace.
    ///
    /// # Errors
    /// When there is none, or it is not the machine's.
    pub fn of_this_machine() -> Result<Home, NoGate> {
        Home::as_seen(&View {
            machines: Path::new(MACHINES),
            first_process: Path::new(FIRST_PROCESS),
            processes: Path::new(PROCESSES),
        })
    }

    fn as_seen(view: &View<'_>) -> Result<Home, NoGate> {
        require_bpf(view.machines)?;
        let ours = stat(view.machines).map_err(|error| NoGate::Home(error.into()))?;
        let theirs = stat(view.first_process).map_err(|error| NoGate::Home(error.into()))?;
        if ours.st_dev != theirs.st_dev {
            return Err(NoGate::ForeignFileSystem);
        }
        // What cannot be read proves nothing either.
        let lasts = match fs::read_link(view.processes) {
            Ok(name) if name == Path::new(FIRST_PROCESSES) => Lasts::Proven,
            Ok(_) | Err(_) => Lasts::Unproven,
        };
        Home::make(view.machines, lasts)
    }

    /// In the bpf file system mounted at `root`, for this thread's network namespace. The caller answers for
    /// that mount's life.
    ///
    /// # Errors
    /// When there is none, or the directory cannot be made.
    pub fn within(root: &Path) -> Result<Home, NoGate> {
        require_bpf(root)?;
        Home::make(root, Lasts::Stated)
    }

    fn make(root: &Path, lasts: Lasts) -> Result<Home, NoGate> {
        let namespace = fs::metadata("/proc/thread-self/ns/net").map_err(NoGate::Home)?;
        let path = root.join(OURS).join(namespace.ino().to_string());
        fs::create_dir_all(&path).map_err(NoGate::Home)?;
        Ok(Home { path, lasts })
    }

    /// Whether what is pinned here outlives the agent.
    pub fn lasts(&self) -> Lasts {
        self.lasts
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

fn require_bpf(path: &Path) -> Result<(), NoGate> {
    if statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(MAGIC)) {
        return Ok(());
    }
    Err(NoGate::NoFileSystem {
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests;
