//! The header in sector 0: magic, version, timeouts, identity.
//!
//! Numbers are big-endian 32-bit seconds. A header is valid when magic, version and sector size match,
//! as the ClusterLabs tool has it; whether its timeouts make sense is asked apart, because a disk with
//! silly timeouts must still be dumped.

use std::fmt;

use thiserror::Error;

use super::{SectorSize, put};

/// First eight bytes.
const MAGIC: &[u8; 8] = b"SBD_SBD_";
/// Major version of the format.
pub const VERSION: u8 = 2;
/// Bytes that are looked at; the rest of the sector is zero.
const USED: usize = 49;

/// The timeouts that all users of a disk share, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Time after which the watchdog resets a node that does not pet it.
    pub watchdog: u32,
    /// Pause between claiming a slot and looking whether the claim held.
    pub allocate: u32,
    /// Pause between two reads of the own mailbox.
    pub loop_: u32,
    /// Time after which a verified pill counts as obeyed.
    pub msgwait: u32,
}

impl Default for Timeouts {
    /// The tool's own defaults (sbd-common.c).
    fn default() -> Self {
        Self {
            watchdog: 5,
            allocate: 2,
            loop_: 1,
            msgwait: 10,
        }
    }
}

impl fmt::Display for Timeouts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "watchdog {} s, allocate {} s, loop {} s, msgwait {} s",
            self.watchdog, self.allocate, self.loop_, self.msgwait
        )
    }
}

/// Identity of a disk, made when it was created: raw bytes in the order of RFC 9562.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// A version 4 UUID out of random bytes.
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                out.write_str("-")?;
            }
            write!(out, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// What sector 0 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Count of slots; the tool writes 255.
    pub slots: u8,
    /// Size for which the disk was laid out.
    pub sector_size: SectorSize,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// Identity; disks of minor version 0 have none.
    pub uuid: Option<Uuid>,
    /// Minor version, kept as found: 1 brought the identity.
    pub minor_version: u8,
}

/// Why a sector is no usable header.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    #[error("the header sector is cut short ({0} bytes)")]
    Short(usize),
    /// Never created, or overwritten by something else.
    #[error("the disk holds no SBD header (it was never created, or was overwritten)")]
    Magic,
    /// Another major version.
    #[error("the SBD header has version {0}, this program knows {VERSION}")]
    Version(u8),
    /// Created for other sectors than the disk has.
    #[error("the SBD header was made for sectors of {stated} bytes, the disk has {actual}")]
    SectorSize {
        /// In the header.
        stated: u32,
        /// Of the disk.
        actual: u32,
    },
}

impl Header {
    /// A fresh header, as `create` writes it.
    pub const fn new(sector_size: SectorSize, timeouts: Timeouts, uuid: Uuid) -> Self {
        Self {
            slots: super::SLOTS_MAX,
            sector_size,
            timeouts,
            uuid: Some(uuid),
            minor_version: 1,
        }
    }

    /// The sector's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.sector_size.bytes()];
        put(&mut bytes[..8], MAGIC);
        bytes[8] = VERSION;
        bytes[9] = self.slots;
        let numbers = [
            self.sector_size.bytes_u32(),
            self.timeouts.watchdog,
            self.timeouts.allocate,
            self.timeouts.loop_,
            self.timeouts.msgwait,
        ];
        for (place, number) in bytes[12..32].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes[32] = self.minor_version;
        if let Some(Uuid(uuid)) = self.uuid {
            bytes[33..USED].copy_from_slice(&uuid);
        }
        bytes
    }

    /// Reads the first sector of a disk whose sectors are `actual`.
    ///
    /// # Errors
    /// Anything but a valid header. Bytes that mean nothing are not looked at, as the tool does not.
    pub fn decode(bytes: &[u8], actual: SectorSize) -> Result<Self, HeaderError> {
        let Some(used) = bytes.first_chunk::<USED>() else {
            return Err(HeaderError::Short(bytes.len()));
        };
        if !used.starts_with(MAGIC) {
            return Err(HeaderError::Magic);
        }
        if used[8] != VERSION {
            return Err(HeaderError::Version(used[8]));
        }
        let number =
            |at: usize| u32::from_be_bytes([used[at], used[at + 1], used[at + 2], used[at + 3]]);
        let stated = number(12);
        if stated != actual.bytes_u32() {
            return Err(HeaderError::SectorSize {
                stated,
                actual: actual.bytes_u32(),
            });
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&used[33..]);
        Ok(Self {
            slots: used[9],
            sector_size: actual,
            timeouts: Timeouts {
                watchdog: number(16),
                allocate: number(20),
                loop_: number(24),
                msgwait: number(28),
            },
            uuid: (used[32] > 0).then_some(Uuid(uuid)),
            minor_version: used[32],
        })
    }

    /// The sector size that a header states, whatever else is wrong with it: for plain files, whose
    /// sectors the kernel does not know.
    pub fn stated_sector_size(bytes: &[u8]) -> Option<SectorSize> {
        let used = bytes.first_chunk::<USED>()?;
        let stated = u32::from_be_bytes([used[12], used[13], used[14], used[15]]);
        used.starts_with(MAGIC)
            .then(|| SectorSize::try_from(stated).ok())?
    }
}
