//! The agent's options, checked, as types that the actions can rely on. No disk is touched.

use std::path::PathBuf;
use std::time::Duration;

use haft_fence_protocol::Action;
use haft_fence_protocol::agent::{Input, InputError};
use thiserror::Error;

use crate::device::PlainFiles;
use crate::disk::{NameError, Pill, SlotName};
use crate::majority::{DiskCount, OddDiskCount};

/// Shortest time that a disk gets for an answer: less turns load into fencing failures.
const IO_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Everything that the actions need to know.
#[derive(Debug)]
pub struct Settings {
    /// The disks, as many as `count` says.
    pub disks: Vec<PathBuf>,
    /// Their number.
    pub count: DiskCount,
    /// The node to be isolated, where the action has one.
    pub node: Option<SlotName>,
    /// What `reboot` does.
    pub method: Method,
    /// What `off` sends.
    pub off_pill: Pill,
    /// Time for one disk to answer.
    pub io_timeout: Duration,
    /// Whether files may stand in for disks.
    pub plain_files: PlainFiles,
    /// Only warned about.
    pub power_timeout: Duration,
    /// Before anything is done.
    pub delay: Duration,
    /// Between the columns of lists.
    pub separator: String,
}

/// What `reboot` does (names of fence_sbd).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A reset pill.
    Cycle,
    /// An off pill, and then an empty mailbox so that the node may start again.
    OnOff,
}

/// Why the options cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// An option of the wrong kind.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Too many disks, or none.
    #[error(transparent)]
    Count(#[from] OddDiskCount),
    /// No disk at all.
    #[error("no SBD disk given; set devices")]
    NoDisks,
    /// A path that depends on where the agent was started.
    #[error("device '{0}' is no absolute path")]
    RelativePath(String),
    /// One disk twice.
    #[error("device {0} is given twice")]
    Twice(String),
    /// No node.
    #[error("no node given; set plug")]
    NoNode,
    /// No possible name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Settings {
    /// Checks the options for an action.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read(input: &Input, action: Action) -> Result<Self, SettingsError> {
        let disks = disks(input.text("devices").unwrap_or(""))?;
        let count = DiskCount::try_from(disks.len())?;
        let node = input.text("plug").map(SlotName::new).transpose()?;
        if node.is_none() && needs_node(action) {
            return Err(SettingsError::NoNode);
        }
        let io_timeout = input.seconds("io_timeout", Duration::from_secs(3))?;
        if io_timeout < IO_TIMEOUT_MIN {
            return Err(bad("io_timeout", "at least 0.1").into());
        }
        Ok(Self {
            disks,
            count,
            node,
            method: match input.text("method") {
                None | Some("cycle") => Method::Cycle,
                Some("onoff") => Method::OnOff,
                Some(_) => return Err(bad("method", "cycle or onoff").into()),
            },
            off_pill: match input.text("off_pill") {
                None | Some("off") => Pill::Off,
                Some("reset") => Pill::Reset,
                Some("crashdump") => Pill::CrashDump,
                Some(_) => return Err(bad("off_pill", "off, reset or crashdump").into()),
            },
            io_timeout,
            plain_files: plain_files(input.text("plain_files"))?,
            power_timeout: input.seconds("power_timeout", Duration::from_secs(30))?,
            delay: input.seconds("delay", Duration::ZERO)?,
            separator: input.text("separator").unwrap_or(",").to_owned(),
        })
    }
}

const fn needs_node(action: Action) -> bool {
    match action {
        Action::On | Action::Off | Action::Reboot | Action::Status => true,
        Action::Monitor
        | Action::List
        | Action::ListStatus
        | Action::Metadata
        | Action::ValidateAll => false,
    }
}

/// Splits as fence_sbd does, and as SBD_DEVICE is written.
///
/// # Errors
/// None, relative or repeated paths.
pub fn disks(text: &str) -> Result<Vec<PathBuf>, SettingsError> {
    let mut found: Vec<PathBuf> = Vec::new();
    for word in text.split([',', ';']).map(str::trim) {
        if word.is_empty() {
            continue;
        }
        let path = PathBuf::from(word);
        if !path.is_absolute() {
            return Err(SettingsError::RelativePath(
                word.escape_default().to_string(),
            ));
        }
        if found.contains(&path) {
            return Err(SettingsError::Twice(word.escape_default().to_string()));
        }
        found.push(path);
    }
    if found.is_empty() {
        return Err(SettingsError::NoDisks);
    }
    Ok(found)
}

/// The choice by its word.
///
/// # Errors
/// Another word.
pub fn plain_files(word: Option<&str>) -> Result<PlainFiles, InputError> {
    match word {
        None | Some("refuse") => Ok(PlainFiles::Refuse),
        Some("direct") => Ok(PlainFiles::Direct),
        Some("buffered") => Ok(PlainFiles::Buffered),
        Some(_) => Err(bad("plain_files", "refuse, direct or buffered")),
    }
}

fn bad(name: &'static str, expected: &str) -> InputError {
    InputError::BadValue {
        name,
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests;
