//! Opening a directory: the lock, whose it is, and whether its log is whole.
//!
//! Everything is judged before the first write, and nothing is repaired. A directory that was opened
//! wrongly once can undo what a majority agreed, so each refusal names what was found and the way out,
//! which is nearly always to replace the node: its peers hold everything it held.

use std::fs::{DirBuilder, File, OpenOptions as FileOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use prost::Message;
use rocksdb::{DB, ErrorKind, IteratorMode};
use rustix::fs::{FlockOperation, flock};

use super::layout;
use crate::boot::{Boot, after_start};
use crate::chain::Chain;
use crate::form::{
    FormError, RECORD_VERSION, VoteForm, chain_of, check_version, decode, decode_record,
    identity_of,
};
use crate::log_store::ReadError;
use crate::model::{ClusterId, LogBounds, LogPosition, StoreIdentity, Vote};
use crate::observed::Observed;
use crate::record as pb;
use crate::snapshot::{Snapshot, SnapshotFault};

/// Why a directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or read.
    #[error("the data directory {} cannot be used", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("the data directory {} is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The system gives no random numbers, or no thread.
    #[error("the system refuses {what}")]
    System {
        /// What was asked for.
        what: &'static str,
    },
    /// RocksDB refuses for another reason than damage.
    #[error("the database cannot be opened: {detail}")]
    Database {
        /// What it said.
        detail: String,
    },
    /// RocksDB found damage.
    #[error("the database is damaged: {detail}")]
    Damaged {
        /// What it said.
        detail: String,
    },
    /// The directory belongs to another cluster.
    #[error("the data directory belongs to cluster {found}, this node to cluster {expected}")]
    ForeignCluster {
        /// The cluster in the directory.
        found: ClusterId,
        /// The cluster of this node's identity.
        expected: ClusterId,
    },
    /// The directory belongs to another node of the cluster.
    #[error("the data directory belongs to node {} ({}), this is node {} ({})", found.node, found.name, expected.node, expected.name)]
    ForeignNode {
        /// The node in the directory.
        found: StoreIdentity,
        /// This node.
        expected: StoreIdentity,
    },
    /// The directory holds data but not whose they are.
    #[error("the data directory holds records but no mark of its owner")]
    Unmarked,
    /// A record is not readable.
    #[error("the record of {what} is not readable")]
    Form {
        /// Which record.
        what: String,
        /// Why.
        #[source]
        source: FormError,
    },
    /// Entries are missing.
    #[error("the log has a hole: entry {expected} is missing, the next one is {found}")]
    Hole {
        /// The first missing index.
        expected: u64,
        /// The index that follows.
        found: u64,
    },
    /// An entry is not the one that was written there.
    #[error("the chain of the log breaks at entry {index}")]
    ChainBroken {
        /// The first entry that does not fit.
        index: u64,
    },
    /// The snapshot is damaged.
    #[error("the stored snapshot is damaged")]
    SnapshotDamaged(#[source] SnapshotFault),
    /// Entries were purged that no snapshot holds.
    #[error("entries up to {purged} were purged, the snapshot ends at {snapshot:?}")]
    SnapshotBehind {
        /// The last purged entry.
        purged: LogPosition,
        /// The end of the snapshot.
        snapshot: Option<LogPosition>,
    },
    /// The state is ahead of log and snapshot: the end of the log is lost.
    #[error("the state stands at {applied}, the log ends at {last:?}: the end of the log is lost")]
    StateAhead {
        /// The applied entry.
        applied: LogPosition,
        /// The end of the log.
        last: Option<LogPosition>,
    },
    /// The log holds a term that the vote never reached: the vote is lost.
    #[error("the log ends in term {log_term}, the vote is in term {vote_term}: the vote is lost")]
    VoteBehind {
        /// Term of the last entry.
        log_term: u64,
        /// Term of the vote; 0 when there is none.
        vote_term: u64,
    },
}

impl OpenError {
    /// What an administrator can do, as an instruction.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "give haftd a directory that it owns and may write",
            Self::Locked { .. } => {
                "stop the other haftd on this directory, or give this one its own"
            }
            Self::System { .. } => "free memory and threads, then start again",
            Self::Database { .. } => "check space, rights and health of the disk, then start again",
            Self::ForeignCluster { .. } | Self::ForeignNode { .. } => {
                "point data_dir at this node's own directory, or move this one aside and join the node anew"
            }
            Self::Form {
                source: FormError::Newer { .. },
                ..
            } => "start the newer haftd that wrote this directory",
            Self::Damaged { .. }
            | Self::Unmarked
            | Self::Form { .. }
            | Self::Hole { .. }
            | Self::ChainBroken { .. }
            | Self::SnapshotDamaged(_)
            | Self::SnapshotBehind { .. }
            | Self::StateAhead { .. }
            | Self::VoteBehind { .. } => {
                "keep this coordinator stopped and its data directory as it is; the others go on without it, and a voter cannot be joined anew yet"
            }
        }
    }
}

/// What a directory holds, judged whole.
pub(super) struct Found {
    pub(super) bounds: LogBounds,
    pub(super) anchor: Chain,
    pub(super) tail: Chain,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogPosition>,
    pub(super) applied: Option<LogPosition>,
    pub(super) boots: Vec<Boot>,
}

/// Makes the directory if needed and takes its lock, which lasts as long as the file is open.
pub(super) fn lock_directory(path: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(unusable)?;
    let file = FileOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("lock"))
        .map_err(unusable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked {
            path: path.to_owned(),
        }),
        Err(errno) => Err(unusable(errno.into())),
    }
}

pub(super) fn open_database(path: &Path) -> Result<DB, OpenError> {
    DB::open_cf_descriptors(&layout::database_options(), path, layout::families()).map_err(
        |error| match error.kind() {
            ErrorKind::Corruption => OpenError::Damaged {
                detail: error.to_string(),
            },
            _ => OpenError::Database {
                detail: error.to_string(),
            },
        },
    )
}

/// Judges the database and shows the observer what it holds.
pub(super) fn inspect(
    db: &DB,
    identity: &StoreIdentity,
    observed: &mut Observed,
) -> Result<Found, OpenError> {
    check_owner(db, identity)?;
    let snapshot = read_snapshot(db).map_err(open_of_read)?;
    if let Some(snapshot) = &snapshot {
        observed.snapshot(snapshot);
    }
    let snapshot_last = snapshot.and_then(|snapshot| snapshot.last);
    let anchor_form: pb::ChainAnchor = meta(db, layout::ANCHOR)?.unwrap_or(pb::ChainAnchor {
        version: RECORD_VERSION,
        purged: None,
        chain: vec![0; 32],
    });
    check_version(anchor_form.version).map_err(|source| form("chain anchor", source))?;
    let anchor = chain_of(&anchor_form.chain).map_err(|source| form("chain anchor", source))?;
    let purged: Option<LogPosition> = anchor_form.purged.map(Into::into);
    if let Some(purged) = purged.filter(|purged| snapshot_last < Some(*purged)) {
        return Err(OpenError::SnapshotBehind {
            purged,
            snapshot: snapshot_last,
        });
    }
    let (last, tail) = walk_log(db, (purged, anchor), snapshot_last, observed)?;
    let vote = meta::<pb::VoteRecord>(db, layout::VOTE)?
        .map(|record| record.vote())
        .transpose()
        .map_err(|source| form("vote", source))?;
    let position = |key, what| -> Result<Option<LogPosition>, OpenError> {
        let Some(record) = meta::<pb::AppliedRecord>(db, key)? else {
            return Ok(None);
        };
        check_version(record.version).map_err(|source| form(what, source))?;
        Ok(record.at.map(Into::into))
    };
    let committed = position(layout::COMMITTED, "committed entry")?;
    let applied = position(layout::APPLIED, "applied entry")?;
    check_ends(applied, last.max(snapshot_last), last, vote)?;
    let boots = meta::<pb::BootHistory>(db, layout::BOOTS)?.map_or_else(Vec::new, |history| {
        history.boots.into_iter().map(Into::into).collect()
    });
    Ok(Found {
        bounds: LogBounds { purged, last },
        anchor,
        tail,
        vote,
        committed,
        applied,
        boots,
    })
}

fn check_ends(
    applied: Option<LogPosition>,
    known: Option<LogPosition>,
    last: Option<LogPosition>,
    vote: Option<Vote>,
) -> Result<(), OpenError> {
    if let Some(applied) = applied.filter(|applied| known < Some(*applied)) {
        return Err(OpenError::StateAhead { applied, last });
    }
    let log_term = last.map_or(0, |at| at.term);
    let vote_term = vote.map_or(0, |vote| vote.term);
    if vote_term < log_term {
        return Err(OpenError::VoteBehind {
            log_term,
            vote_term,
        });
    }
    Ok(())
}

/// Walks the whole log: no hole, no foreign record, the chain unbroken. Gives its end.
fn walk_log(
    db: &DB,
    start: (Option<LogPosition>, Chain),
    snapshot_last: Option<LogPosition>,
    observed: &mut Observed,
) -> Result<(Option<LogPosition>, Chain), OpenError> {
    let (mut last, mut chain) = start;
    let log = family(db, layout::LOG);
    for item in db.iterator_cf(log, IteratorMode::Start) {
        let (key, bytes) = item.map_err(|error| OpenError::Damaged {
            detail: error.to_string(),
        })?;
        let found = <[u8; 8]>::try_from(key.as_ref())
            .map(u64::from_be_bytes)
            .map_err(|_| form("log entry", FormError::Field { field: "key" }))?;
        // A log may begin anywhere, but the chain of its first entry begins with it: if entries before
        // it are missing, the chain does not fit.
        let expected = last.map_or(found, |at| at.index + 1);
        if found != expected {
            return Err(OpenError::Hole { expected, found });
        }
        let decoded =
            decode_record(&bytes).map_err(|source| form(&format!("log entry {found}"), source))?;
        let at = decoded.record.at;
        let computed = decoded.computed(chain);
        if at.index != found || computed != decoded.stored || last.is_some_and(|l| l.term > at.term)
        {
            return Err(OpenError::ChainBroken { index: found });
        }
        if snapshot_last.is_none_or(|included| included.index < at.index) {
            observed.entry(at, &decoded.record.payload);
        }
        (last, chain) = (Some(at), computed);
    }
    Ok((last, chain))
}

fn check_owner(db: &DB, expected: &StoreIdentity) -> Result<(), OpenError> {
    let Some(mark) = meta::<pb::StoreMark>(db, layout::MARK)? else {
        let empty = [layout::META, layout::LOG, layout::STATE]
            .into_iter()
            .all(|name| {
                db.iterator_cf(family(db, name), IteratorMode::Start)
                    .next()
                    .is_none()
            });
        return if empty {
            Ok(())
        } else {
            Err(OpenError::Unmarked)
        };
    };
    let found = identity_of(mark).map_err(|source| form("owner's mark", source))?;
    if found.cluster != expected.cluster {
        return Err(OpenError::ForeignCluster {
            found: found.cluster,
            expected: expected.cluster,
        });
    }
    if found != *expected {
        return Err(OpenError::ForeignNode {
            found,
            expected: expected.clone(),
        });
    }
    Ok(())
}

/// The history with this start added.
pub(super) fn next_boots(history: Vec<Boot>) -> Result<Vec<Boot>, OpenError> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|_| OpenError::System {
        what: "random numbers",
    })?;
    Ok(after_start(history, u64::from_be_bytes(nonce)))
}

/// Reads the snapshot and checks its hash.
pub(super) fn read_snapshot(db: &DB) -> Result<Option<Snapshot>, ReadError> {
    let read = |key: &[u8]| {
        db.get_cf(family(db, layout::META), key)
            .map_err(|error| ReadError::Database {
                detail: error.to_string(),
            })
    };
    let Some(bytes) = read(layout::SNAPSHOT_HEAD)? else {
        return Ok(None);
    };
    let head: pb::SnapshotHead = decode(&bytes).map_err(|source| ReadError::Form {
        what: "snapshot head".to_owned(),
        source,
    })?;
    let mut state = Vec::new();
    for part in 0..head.parts {
        // A missing part is found by the length.
        state.extend_from_slice(&read(&layout::snapshot_part_key(part))?.unwrap_or_default());
    }
    Snapshot::assemble(head, state)
        .map(Some)
        .map_err(ReadError::Snapshot)
}

/// Reads one record of the meta family.
pub(super) fn meta<M: Message + Default>(db: &DB, key: &[u8]) -> Result<Option<M>, OpenError> {
    db.get_cf(family(db, layout::META), key)
        .map_err(|error| OpenError::Damaged {
            detail: error.to_string(),
        })?
        .map(|bytes| decode(&bytes))
        .transpose()
        .map_err(|source| form(&String::from_utf8_lossy(key), source))
}

pub(super) fn family<'a>(db: &'a DB, name: &str) -> &'a rocksdb::ColumnFamily {
    db.cf_handle(name)
        .expect("every family is named when the database is opened")
}

fn form(what: &str, source: FormError) -> OpenError {
    OpenError::Form {
        what: what.to_owned(),
        source,
    }
}

fn open_of_read(error: ReadError) -> OpenError {
    match error {
        ReadError::Database { detail } => OpenError::Damaged { detail },
        ReadError::Form { what, source } => OpenError::Form { what, source },
        ReadError::Snapshot(fault) => OpenError::SnapshotDamaged(fault),
    }
}
