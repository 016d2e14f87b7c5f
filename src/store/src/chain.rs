//! The running hash that ties each entry to all before it.
//!
//! RocksDB checks each of its own records, but a log cut at a record boundary, or one with a range
//! missing, opens without a word. The chain notices any entry that is missing, moved or changed
//! before the end. It cannot notice a missing end: that is what [`crate::PeerMemory`] is for.

use sha2::{Digest, Sha256};

use crate::model::LogPosition;

/// Value of the chain after an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The value after one more entry. `kind` is the number of its `RecordKind`.
    ///
    /// Every field has a fixed width but the last, so no two entries hash the same bytes.
    #[must_use]
    pub fn after(&self, version: u32, at: LogPosition, kind: i32, payload: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(u64::from(version).to_be_bytes());
        hash.update(at.term.to_be_bytes());
        hash.update(at.index.to_be_bytes());
        hash.update(i64::from(kind).to_be_bytes());
        hash.update(payload);
        Self(hash.finalize().into())
    }
}
