//! The node's own mailbox on shared disks: read in turn, its pills obeyed (docs/sbd.md).
//!
//! - [`watch`]: the thread `haft-sbd`, which drives haft-fence-sbd's watcher machine.
//! - [`act`]: how the machine is ended.
//! - [`vouch`]: what the lease thread learns, so that the watchdog starves when the disks do not answer.
//!
//! Nothing here pets a watchdog, holds a resource or waits for a disk: each disk has a thread of its own.

pub mod act;
pub mod vouch;
pub mod watch;

use haft_config::{SbdConfig, SbdStart};
use haft_engine::ids::NodeName;
use haft_fence_sbd::disk::{NameError, SlotName};
use haft_fence_sbd::majority::{DiskCount, OddDiskCount};
use haft_fence_sbd::watcher::{StartMode, WatcherConfig};
use std::io;
use tokio::sync::mpsc;

/// What the process has to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SbdNotice {
    /// The disks vouch for this node and the watchdog is armed: it may hold something.
    Watched,
    /// Somebody has sent `exit`: release everything and end.
    Exit,
    /// It cannot go on: release everything and end with this reason.
    Failed(SbdError),
}

/// Where notices go. None is lost: a watch says each at most once.
pub type SbdNotices = mpsc::Sender<SbdNotice>;

/// Notices that may wait: each kind once from either thread.
pub const NOTICES_MAX: usize = 8;

/// Why this node cannot be watched over shared disks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SbdError {
    /// The name does not fit a slot.
    #[error("this node's name cannot stand in an SBD slot")]
    Name(#[source] NameError),
    /// Not one to three.
    #[error("sbd.devices cannot be used")]
    Count(#[source] OddDiskCount),
    /// A message from a former life, and start mode `clean`.
    #[error("the mailbox of this node on {disk} holds `{word}`{from}")]
    OldMessage {
        /// The disk's path.
        disk: String,
        /// The message.
        word: String,
        /// Its sender, in words; empty if it has none.
        from: String,
    },
    /// Without a watchdog a node whose disks hang would live on.
    #[error("sbd is configured, and the watchdog cannot be armed: {why}")]
    Watchdog {
        /// For people.
        why: String,
    },
    /// The header leaves no room for any watchdog.
    #[error(
        "the msgwait of the SBD disks leaves the watchdog {left_ms} ms, and it counts whole seconds"
    )]
    NoRoom {
        /// What it leaves.
        left_ms: u64,
    },
    /// Not permitted, as a rule.
    #[error("this process cannot reset its machine: {why}")]
    Powerless {
        /// For people.
        why: String,
    },
    /// No thread.
    #[error("the watch's thread cannot be started: {why}")]
    Thread {
        /// For people.
        why: String,
    },
}

impl SbdError {
    pub(crate) fn powerless(error: &io::Error) -> SbdError {
        SbdError::Powerless {
            why: format!("/proc/sysrq-trigger: {error}"),
        }
    }
}

/// What the machine needs to know, from the config.
///
/// # Errors
/// When the node's name or the number of disks does not fit.
pub fn watcher_config(config: &SbdConfig, node: &NodeName) -> Result<WatcherConfig, SbdError> {
    Ok(WatcherConfig {
        node: SlotName::new(node.as_str()).map_err(SbdError::Name)?,
        disks: DiskCount::try_from(config.devices.len()).map_err(SbdError::Count)?,
        start: match config.start {
            SbdStart::Clean => StartMode::Clean,
            SbdStart::Always => StartMode::Always,
        },
        io: config.io_timeout,
    })
}
