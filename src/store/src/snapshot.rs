//! A snapshot: the state at one entry, with the membership at that entry.
//!
//! Held whole in memory: the state of a cluster is some megabytes. Parts exist so that no record and
//! no message grows with it.

use sha2::{Digest, Sha256};

use crate::form::{RECORD_VERSION, check_version};
use crate::model::{LogPosition, MembershipAt};
use crate::record as pb;

/// Bytes of state in one record and in one message: 1 MiB, a quarter of gRPC's default limit.
pub const PART_BYTES_MAX: usize = 1 << 20;

/// The state at one entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// The last entry included; absent for the state before any entry.
    pub last: Option<LogPosition>,
    /// The membership at that entry.
    pub membership: MembershipAt,
    /// The state, opaque here.
    pub state: Vec<u8>,
}

/// Why parts do not make a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotFault {
    /// The head is of a later haft.
    #[error("the head of the snapshot is not readable")]
    Head(#[source] crate::FormError),
    /// Bytes are missing or too many.
    #[error("the snapshot has {found} bytes, its head says {expected}")]
    Length {
        /// What the head says.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The bytes are not those that were written.
    #[error("the snapshot's bytes do not match the hash in its head")]
    Hash,
}

impl Snapshot {
    /// The head that describes this snapshot.
    #[must_use]
    pub fn head(&self) -> pb::SnapshotHead {
        pb::SnapshotHead {
            version: RECORD_VERSION,
            last: self.last.map(Into::into),
            membership: Some((&self.membership).into()),
            length: self.state.len() as u64,
            parts: u32::try_from(self.parts().count()).unwrap_or(u32::MAX),
            sha256: Sha256::digest(&self.state).to_vec(),
        }
    }

    /// The state in parts.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.state.chunks(PART_BYTES_MAX)
    }

    /// Puts a snapshot together from its head and its bytes.
    ///
    /// # Errors
    /// Length or hash differ from what the head says.
    pub fn assemble(head: pb::SnapshotHead, state: Vec<u8>) -> Result<Self, SnapshotFault> {
        check_version(head.version).map_err(SnapshotFault::Head)?;
        let found = state.len() as u64;
        if found != head.length {
            return Err(SnapshotFault::Length {
                expected: head.length,
                found,
            });
        }
        if Sha256::digest(&state).as_slice() != head.sha256 {
            return Err(SnapshotFault::Hash);
        }
        Ok(Self {
            last: head.last.map(Into::into),
            membership: head.membership.map(Into::into).unwrap_or_default(),
            state,
        })
    }
}
