//! Column families and keys of the database.
//!
//! Numbers in keys are eight big-endian bytes, so that their order is the order of the keys.

use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options,
};

pub(super) const META: &str = "meta";
pub(super) const LOG: &str = "log";
pub(super) const STATE: &str = "state";

pub(super) const MARK: &[u8] = b"mark";
pub(super) const BOOTS: &[u8] = b"boots";
pub(super) const ANCHOR: &[u8] = b"anchor";
pub(super) const VOTE: &[u8] = b"vote";
pub(super) const COMMITTED: &[u8] = b"committed";
pub(super) const APPLIED: &[u8] = b"applied";
pub(super) const PROBE: &[u8] = b"probe";
pub(super) const SNAPSHOT_HEAD: &[u8] = b"snapshot/head";
const SNAPSHOT_PART: &[u8] = b"snapshot/part/";
const PEER: &[u8] = b"peer/";

/// A memtable of 8 MiB per family: the log between two snapshots fits in one or two of them.
const MEMTABLE_BYTES: usize = 8 << 20;
/// The write-ahead log is cut when it passes 64 MiB, so that recovery stays below a second.
const WAL_BYTES_MAX: u64 = 64 << 20;

pub(super) fn log_key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

pub(super) fn snapshot_part_key(part: u32) -> Vec<u8> {
    [SNAPSHOT_PART, &part.to_be_bytes()].concat()
}

pub(super) fn peer_key(peer: u64) -> Vec<u8> {
    [PEER, &peer.to_be_bytes()].concat()
}

pub(super) fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // The flusher decides when the log reaches the disk: that is the group commit.
    options.set_manual_wal_flush(true);
    // The default mode opens after damage in the middle of the log and drops what follows it; this
    // one tolerates only an unfinished last record, which nobody was told is durable.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_keep_log_file_num(4);
    options.set_max_background_jobs(2);
    options
}

pub(super) fn families() -> Vec<ColumnFamilyDescriptor> {
    [META, LOG, STATE]
        .into_iter()
        .map(|name| {
            let mut options = Options::default();
            options.set_compression_type(DBCompressionType::None);
            options.set_write_buffer_size(MEMTABLE_BYTES);
            options.set_block_based_table_factory(&BlockBasedOptions::default());
            ColumnFamilyDescriptor::new(name, options)
        })
        .collect()
}
