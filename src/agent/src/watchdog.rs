//! The hardware watchdog as a device file: armed, petted, disarmed (Linux, Documentation/watchdog/watchdog-api.rst).
//!
//! Decides nothing: when to arm, pet and disarm is the keeper's business (haft-engine). It refuses a watchdog that
//! would not outlive this process, or that could never be disarmed. Dropping it while armed closes the file
//! without the magic character, so the machine is reset: that is what it is for.

use crate::chain;
use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, Updater, ioctl, opcode};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `struct watchdog_info` of linux/watchdog.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Support {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

// Numbers of linux/watchdog.h, group `W`.
const GET_SUPPORT: rustix::ioctl::Opcode = opcode::read::<Support>(b'W', 0);
const KEEP_ALIVE: rustix::ioctl::Opcode = opcode::read::<i32>(b'W', 5);
const SET_TIMEOUT: rustix::ioctl::Opcode = opcode::read_write::<i32>(b'W', 6);
const GET_TIMEOUT: rustix::ioctl::Opcode = opcode::read::<i32>(b'W', 7);
const SET_PRETIMEOUT: rustix::ioctl::Opcode = opcode::read_write::<i32>(b'W', 8);

// Bits of `watchdog_info.options`.
const CAN_SET_TIMEOUT: u32 = 0x0080;
const MAGIC_CLOSE: u32 = 0x0100;
const HAS_PRETIMEOUT: u32 = 0x0200;

/// Written last before the file is closed, it disarms (watchdog-api.rst, "magic close").
const MAGIC: &[u8] = b"V";

/// Below this a pre-timeout, which is told in whole seconds, would leave no time of its own.
const PRETIMEOUT_FROM: Duration = Duration::from_secs(4);

/// Why the watchdog cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// Not there, not ours to open, or held by somebody else.
    #[error("cannot open {}{}", path.display(), hint(source))]
    Open {
        /// The device file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Some other file.
    #[error("{} is no watchdog device", path.display())]
    NoWatchdog {
        /// The file.
        path: PathBuf,
    },
    /// Its driver stops the timer when the file is closed for whatever reason.
    #[error("the driver of {} ({identity}) has no magic close: the death of this process would disarm it", path.display())]
    NoMagicClose {
        /// The device file.
        path: PathBuf,
        /// What the driver calls itself.
        identity: String,
    },
    /// It would reset the machine after every clean end.
    #[error("{} is set to nowayout: it could never be disarmed (load its module with nowayout=0)", path.display())]
    NoWayOut {
        /// The device file.
        path: PathBuf,
    },
    /// A request failed, or the driver answered nonsense.
    #[error("{what}")]
    Request {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) {
        " (another process holds it, such as systemd with RuntimeWatchdogSec)"
    } else {
        ""
    }
}

/// The machine's watchdog; closed until it is armed.
#[derive(Debug)]
pub struct Watchdog {
    path: PathBuf,
    armed: Option<File>,
}

impl Watchdog {
    /// A watchdog that is not touched yet.
    pub fn at(path: &Path) -> Watchdog {
        Watchdog {
            path: path.to_owned(),
            armed: None,
        }
    }

    /// Opens it, which arms it, asks for `wanted` (whole seconds) and returns the period that the driver keeps.
    ///
    /// # Errors
    /// Every [`WatchdogError`]; a watchdog that was opened and is refused has been disarmed again.
    pub fn arm(&mut self, wanted: Duration) -> Result<Duration, WatchdogError> {
        if self.armed.is_none() {
            self.armed = Some(self.open()?);
        }
        match self.configure(wanted) {
            Ok(period) => Ok(period),
            Err(error) => {
                if let Err(second) = self.disarm() {
                    tracing::warn!(err = chain(&second), "a refused watchdog stays armed");
                }
                Err(error)
            }
        }
    }

    fn open(&self) -> Result<File, WatchdogError> {
        let path = self.path.clone();
        let wrap = |source| WatchdogError::Open {
            path: path.clone(),
            source,
        };
        let metadata = std::fs::metadata(&self.path).map_err(wrap)?;
        if !metadata.file_type().is_char_device() {
            return Err(WatchdogError::NoWatchdog { path });
        }
        // Read before it is opened: opening arms it.
        if attribute(metadata.rdev(), "nowayout").as_deref() == Some("1") {
            return Err(WatchdogError::NoWayOut { path });
        }
        OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(&self.path)
            .map_err(wrap)
    }

    fn file(&self) -> Result<&File, WatchdogError> {
        self.armed.as_ref().ok_or_else(|| WatchdogError::Request {
            what: "the watchdog is not armed",
            source: io::ErrorKind::NotConnected.into(),
        })
    }

    fn configure(&self, wanted: Duration) -> Result<Duration, WatchdogError> {
        let file = self.file()?;
        let support = get_support(file).map_err(|_| WatchdogError::NoWatchdog {
            path: self.path.clone(),
        })?;
        if support.options & MAGIC_CLOSE == 0 {
            return Err(WatchdogError::NoMagicClose {
                path: self.path.clone(),
                identity: text(&support.identity),
            });
        }
        let seconds = i32::try_from(wanted.as_secs()).unwrap_or(i32::MAX).max(1);
        let kept = if support.options & CAN_SET_TIMEOUT == 0 {
            get_timeout(file)
                .map_err(|error| request("cannot read the watchdog's period", error))?
        } else {
            set_timeout(file, seconds)
                .map_err(|error| request("the watchdog refuses the period", error))?
        };
        let period = u64::try_from(kept)
            .ok()
            .filter(|kept| *kept > 0)
            .map(Duration::from_secs)
            .ok_or_else(|| request("the watchdog's driver names no period", Errno::INVAL))?;
        if support.options & HAS_PRETIMEOUT != 0 && period >= PRETIMEOUT_FROM {
            // A courtesy to whoever reads the crash dump; isolation does not rest on it.
            let before = i32::try_from(period.as_secs() / 4).unwrap_or(1);
            if let Err(error) = set_pretimeout(file, before) {
                tracing::info!(err = chain(&error), "the watchdog takes no pre-timeout");
            }
        }
        tracing::info!(
            identity = text(&support.identity),
            ?period,
            "the watchdog is armed"
        );
        Ok(period)
    }

    /// Restarts its timer.
    ///
    /// # Errors
    /// When it is not armed or the driver refuses.
    pub fn pet(&self) -> Result<(), WatchdogError> {
        keep_alive(self.file()?).map_err(|error| request("cannot pet the watchdog", error))
    }

    /// Disarms and closes it; not armed is success.
    ///
    /// # Errors
    /// When the driver refuses, or says afterwards that it is still active; it is then open again if it can be.
    pub fn disarm(&mut self) -> Result<(), WatchdogError> {
        let Some(mut file) = self.armed.take() else {
            return Ok(());
        };
        if let Err(source) = file.write_all(MAGIC) {
            self.armed = Some(file);
            return Err(WatchdogError::Request {
                what: "cannot disarm the watchdog",
                source,
            });
        }
        let device = file.metadata().map(|metadata| metadata.rdev());
        drop(file);
        let active = device.ok().and_then(|device| attribute(device, "state"));
        if active.as_deref() == Some("active") {
            self.armed = self.open().ok();
            return Err(request(
                "the watchdog is active after it was disarmed",
                Errno::BUSY,
            ));
        }
        tracing::info!("the watchdog is disarmed");
        Ok(())
    }
}

fn request(what: &'static str, error: Errno) -> WatchdogError {
    WatchdogError::Request {
        what,
        source: error.into(),
    }
}

/// An attribute of a watchdog in sysfs (Documentation/ABI/testing/sysfs-class-watchdog); `None` where the kernel
/// does not show it.
fn attribute(device: u64, name: &str) -> Option<String> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    // /dev/watchdog is a second node of the first device and has no entry by its own number.
    let numbered = format!("/sys/dev/char/{major}:{minor}/{name}");
    std::fs::read_to_string(numbered)
        .or_else(|_| std::fs::read_to_string(format!("/sys/class/watchdog/watchdog0/{name}")))
        .ok()
        .map(|text| text.trim().to_owned())
}

fn text(identity: &[u8; 32]) -> String {
    let end = identity.iter().position(|byte| *byte == 0).unwrap_or(32);
    String::from_utf8_lossy(&identity[..end]).into_owned()
}

#[expect(unsafe_code, reason = "watchdog ioctls have no safe wrapper")]
fn get_support(file: &File) -> Result<Support, Errno> {
    // SAFETY: WDIOC_GETSUPPORT fills a `struct watchdog_info`, which `Support` repeats field by field.
    unsafe { ioctl(file.as_fd(), Getter::<GET_SUPPORT, Support>::new()) }
}

#[expect(unsafe_code, reason = "watchdog ioctls have no safe wrapper")]
fn get_timeout(file: &File) -> Result<i32, Errno> {
    // SAFETY: WDIOC_GETTIMEOUT fills one int.
    unsafe { ioctl(file.as_fd(), Getter::<GET_TIMEOUT, i32>::new()) }
}

#[expect(unsafe_code, reason = "watchdog ioctls have no safe wrapper")]
fn set_timeout(file: &File, seconds: i32) -> Result<i32, Errno> {
    let mut value = seconds;
    // SAFETY: WDIOC_SETTIMEOUT reads one int and writes the period kept into it.
    unsafe { ioctl(file.as_fd(), Updater::<SET_TIMEOUT, i32>::new(&mut value))? };
    Ok(value)
}

#[expect(unsafe_code, reason = "watchdog ioctls have no safe wrapper")]
fn set_pretimeout(file: &File, seconds: i32) -> Result<(), Errno> {
    let mut value = seconds;
    // SAFETY: WDIOC_SETPRETIMEOUT reads and writes one int.
    unsafe {
        ioctl(
            file.as_fd(),
            Updater::<SET_PRETIMEOUT, i32>::new(&mut value),
        )
    }
}

#[expect(unsafe_code, reason = "watchdog ioctls have no safe wrapper")]
fn keep_alive(file: &File) -> Result<(), Errno> {
    // SAFETY: WDIOC_KEEPALIVE ignores its argument.
    unsafe { ioctl(file.as_fd(), NoArg::<KEEP_ALIVE>::new()) }
}

#[cfg(test)]
mod tests;
