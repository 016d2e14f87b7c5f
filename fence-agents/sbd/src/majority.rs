//! How many disks are enough.
//!
//! A pill must lie on so many disks, and a living node must read so many, that the two sets meet in at
//! least one disk. With one disk that is one and one, with two 2 and 1, with three 2 and 2. So two
//! disks survive the loss of one for living but not for fencing, as the ClusterLabs manual says, too.

use std::fmt;

use thiserror::Error;

/// How many disks a cluster uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskCount {
    /// A single point of failure.
    One,
    /// Fencing needs both.
    Two,
    /// Recommended.
    Three,
}

/// Another number than one, two or three.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} SBD disks given, 1 to 3 are possible")]
pub struct OddDiskCount(pub usize);

/// One of the disks, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskIndex(u8);

impl DiskIndex {
    /// For indexing lists that have one item per disk.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for DiskIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "disk {}", self.0 + 1)
    }
}

impl TryFrom<usize> for DiskCount {
    type Error = OddDiskCount;

    fn try_from(count: usize) -> Result<Self, OddDiskCount> {
        match count {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            3 => Ok(Self::Three),
            other => Err(OddDiskCount(other)),
        }
    }
}

impl DiskCount {
    /// The number.
    pub const fn get(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }

    /// Disks on which a pill must be verified.
    pub const fn to_fence(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two | Self::Three => 2,
        }
    }

    /// Disks that a living node must have read lately.
    pub const fn to_live(self) -> usize {
        match self {
            Self::One | Self::Two => 1,
            Self::Three => 2,
        }
    }

    /// Every disk.
    pub fn each(self) -> impl Iterator<Item = DiskIndex> {
        let count: u8 = match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        };
        (0..count).map(DiskIndex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pill_and_a_living_node_always_meet_on_a_disk() {
        for count in [DiskCount::One, DiskCount::Two, DiskCount::Three] {
            assert!(count.to_fence() + count.to_live() > count.get());
            assert_eq!(count.each().count(), count.get());
            assert_eq!(DiskCount::try_from(count.get()), Ok(count));
        }
        assert_eq!(DiskCount::try_from(0), Err(OddDiskCount(0)));
        assert_eq!(DiskCount::try_from(4), Err(OddDiskCount(4)));
    }
}
