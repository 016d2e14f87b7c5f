//! The SBD disk format, byte for byte, as the ClusterLabs tool writes it.
//!
//! The unit is one logical sector. Sector 0 is the header; node slot *n* is sector 1+2n and its mailbox
//! sector 2+2n, so that two nodes never share a sector and every record is replaced by one atomic
//! write. The layout was taken from images that Debian's sbd 1.5.2 made (and from its `struct`s, whose
//! compiler padding is part of the format). Encoding and decoding only: no I/O, no clock.

mod header;
mod mailbox;
mod slot;

pub use header::{Header, HeaderError, Timeouts, Uuid, VERSION};
pub use mailbox::{Mailbox, Message, Pill, Word};
pub use slot::{NAME_MAX, NameError, Slot, SlotName};

use std::fmt;

use thiserror::Error;

/// Most slots that a disk can have: the count is one byte, and the tool always writes 255.
pub const SLOTS_MAX: u8 = 255;

/// Bytes per logical sector. The tool takes what the kernel says (`BLKSSZGET`); these two exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SectorSize {
    /// Classic disks, and 512e ones.
    B512,
    /// Native 4k disks.
    B4096,
}

/// A sector size that no disk of this format has.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("sectors of {0} bytes are not supported (512 and 4096 are)")]
pub struct OddSectorSize(pub u32);

impl SectorSize {
    /// Both sizes, for those who must try.
    pub const ALL: [Self; 2] = [Self::B512, Self::B4096];

    /// In bytes, as the header stores it.
    pub const fn bytes_u32(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    /// In bytes, for buffers.
    pub const fn bytes(self) -> usize {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    /// Bytes that the whole format takes: 511 sectors.
    pub fn span(self) -> u64 {
        u64::from(self.bytes_u32()) * (1 + 2 * u64::from(SLOTS_MAX))
    }
}

impl TryFrom<u32> for SectorSize {
    type Error = OddSectorSize;

    fn try_from(bytes: u32) -> Result<Self, OddSectorSize> {
        match bytes {
            512 => Ok(Self::B512),
            4096 => Ok(Self::B4096),
            other => Err(OddSectorSize(other)),
        }
    }
}

/// Number of a node's slot, 0 to 254.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotNumber(u8);

impl SlotNumber {
    /// The number, if the format has such a slot.
    pub const fn new(number: u8) -> Option<Self> {
        if number < SLOTS_MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Every slot of a disk whose header states this count.
    pub fn first(count: u8) -> impl Iterator<Item = Self> {
        (0..count).map(Self)
    }

    /// The plain number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Where the slot lies.
    pub const fn slot_sector(self) -> Sector {
        Sector(1 + 2 * self.0 as u16)
    }

    /// Where its mailbox lies.
    pub const fn mailbox_sector(self) -> Sector {
        Sector(2 + 2 * self.0 as u16)
    }
}

impl fmt::Display for SlotNumber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Number of a sector within the format, 0 to 510.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sector(u16);

impl Sector {
    /// The header's.
    pub const HEADER: Self = Self(0);

    /// The plain number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Writes `text` and fills the field up with NULs.
fn put(field: &mut [u8], text: &[u8]) {
    let (head, tail) = field.split_at_mut(text.len());
    head.copy_from_slice(text);
    tail.fill(0);
}

#[cfg(test)]
mod tests;
