//! The clock that counts suspend, and the boot id.
//!
//! The only place of this crate's kernel side that reads a clock. Does not read wall time.

use haft_engine::clock::Moment;
use std::fmt;
use std::io;

/// Where Linux publishes the id it draws at each boot (random(4)).
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";

/// This moment on CLOCK_BOOTTIME, which advances while the machine is suspended; in nanoseconds
/// since boot.
pub fn boot_now() -> Moment {
    let read = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // The kernel never reports a boot time before boot; a zero would only end leases early.
    let seconds = u64::try_from(read.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(read.tv_nsec).unwrap_or(0);
    Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// The kernel's random id of this boot; a new one proves that the machine has restarted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BootId(pub [u8; 16]);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Why the boot id could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBootIdError {
    /// The file could not be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The file held something other than a UUID.
    #[error("{path} holds no boot id: {text:?}")]
    Malformed {
        /// The file.
        path: &'static str,
        /// What it held.
        text: String,
    },
}

/// Reads the id of the running boot.
///
/// # Errors
/// When procfs is missing, or holds something that is not a UUID.
pub fn boot_id() -> Result<BootId, ReadBootIdError> {
    let text =
        std::fs::read_to_string(BOOT_ID_PATH).map_err(|source| ReadBootIdError::Unreadable {
            path: BOOT_ID_PATH,
            source,
        })?;
    parse_boot_id(&text).ok_or(ReadBootIdError::Malformed {
        path: BOOT_ID_PATH,
        text,
    })
}

/// Parses the textual UUID that the kernel prints, with its trailing newline.
fn parse_boot_id(text: &str) -> Option<BootId> {
    let digits: Vec<u8> = text
        .trim_end()
        .chars()
        .filter(|c| *c != '-')
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let pairs: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    if digits.len() != 32 {
        return None;
    }
    pairs.try_into().ok().map(BootId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_never_runs_backwards() {
        let first = boot_now();
        assert!(boot_now() >= first);
        assert!(first > Moment(0));
    }

    #[test]
    fn the_boot_id_reads_and_prints_as_the_kernel_wrote_it() {
        let text = std::fs::read_to_string(BOOT_ID_PATH).unwrap();
        assert_eq!(boot_id().unwrap().to_string(), text.trim_end());
    }

    #[test]
    fn a_boot_id_of_the_wrong_length_is_refused() {
        assert_eq!(parse_boot_id("0123-45\n"), None);
        assert_eq!(parse_boot_id("not a uuid"), None);
        assert_eq!(parse_boot_id(&"0".repeat(34)), None);
    }
}
