//! When does a pill count: the rules of delivery as values, without I/O and without a clock.
//!
//! A pill is delivered when (1) a majority of the configured disks could be read, is well formed and
//! agrees on its timeouts, (2) the pill was written and read back on a majority, (3) `msgwait` has
//! passed since the last of those writes, and (4) the pill was not taken out or replaced meanwhile on
//! so many disks that no majority is left. Only all four together are "off".
//!
//! What does not count: a pill that lay there already. It says nothing about when it was written or
//! whether it could be read, so it is written again and the whole wait begins anew; an executor that
//! takes over an order does the same.
//!
//! Why (4): a `test` message sent by somebody else replaces a pill, and the node may live on. An empty
//! mailbox at the end means that the node began another life, or that somebody cleared it; the disk
//! cannot tell which, so it is not counted.

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::device::Medium;
use crate::disk::{SlotName, SlotNumber, Timeouts};
use crate::majority::{DiskCount, DiskIndex};
use crate::volume::{Sighting, Survey};

/// Longest `msgwait` that is believed: more is a spoiled header, not a plan.
const MSGWAIT_MAX: u32 = 86_400;

/// What became of a disk: its answer, or why there is none, for people.
pub type Answer<T> = Result<T, String>;

/// Why a pill is not delivered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PoisonError {
    /// Too few disks could be read.
    #[error("only {good} of {all} SBD disks can be used, {needed} are needed{reasons}")]
    TooFewDisks {
        /// Usable.
        good: usize,
        /// Configured.
        all: usize,
        /// Needed.
        needed: usize,
        /// One clause per bad disk, with a leading separator.
        reasons: String,
    },
    /// Two disks state different timeouts.
    #[error("the SBD disks state different timeouts: {first} has {one}; {second} has {other}")]
    TimeoutsDiffer {
        /// A disk.
        first: DiskIndex,
        /// Its timeouts.
        one: Timeouts,
        /// Another.
        second: DiskIndex,
        /// Its timeouts.
        other: Timeouts,
    },
    /// The timeouts prove nothing.
    #[error(
        "msgwait ({msgwait} s) must be longer than watchdog ({watchdog} s) and at most a day: \
         such a wait proves nothing"
    )]
    UselessTimeouts {
        /// From the header.
        msgwait: u32,
        /// From the header.
        watchdog: u32,
    },
    /// Two names of one disk.
    #[error("{first} and {second} are the same disk; it counts once")]
    SameDisk {
        /// A disk.
        first: DiskIndex,
        /// The same again.
        second: DiskIndex,
    },
    /// The node is unknown to too many disks.
    #[error("{node} has a slot on {have} of {all} SBD disks, {needed} are needed")]
    NoSlot {
        /// The node.
        node: SlotName,
        /// Disks with a slot of it.
        have: usize,
        /// Configured.
        all: usize,
        /// Needed.
        needed: usize,
    },
    /// Too few verified writes.
    #[error("the message was verified on {good} of {all} SBD disks, {needed} are needed{reasons}")]
    NotDelivered {
        /// Verified.
        good: usize,
        /// Configured.
        all: usize,
        /// Needed.
        needed: usize,
        /// One clause per failed disk, with a leading separator.
        reasons: String,
    },
    /// The pill did not stay where it was put.
    #[error(
        "the pill was taken out or replaced before msgwait was over{reasons}; the node may have \
         restarted, or somebody sent it another message"
    )]
    Disturbed {
        /// One clause per disk, with a leading separator.
        reasons: String,
    },
}

/// Where to put a message, and how long it takes to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Every disk that has a slot of the node, with its number there.
    pub targets: Vec<(DiskIndex, SlotNumber)>,
    /// What the disks agreed on. A disk that says something else when it is written to is another one.
    pub timeouts: Timeouts,
    /// Time from the last verified write to certainty: the longest of the disks.
    pub msgwait: Duration,
}

/// Checks that a majority of the disks is sound and that they agree: what `monitor` asks.
///
/// # Errors
/// See [`PoisonError`].
pub fn check(count: DiskCount, surveys: &[Answer<Survey>]) -> Result<Timeouts, PoisonError> {
    let good: Vec<(DiskIndex, &Survey)> = pairs(count, surveys)
        .filter_map(|(disk, survey)| Some((disk, survey.as_ref().ok()?)))
        .collect();
    let first = good.first().filter(|_| good.len() >= count.to_fence());
    let Some((first, one)) = first else {
        return Err(PoisonError::TooFewDisks {
            good: good.len(),
            all: count.get(),
            needed: count.to_fence(),
            reasons: reasons(count, surveys),
        });
    };
    for (at, (disk, survey)) in good.iter().enumerate() {
        if survey.header.timeouts != one.header.timeouts {
            return Err(PoisonError::TimeoutsDiffer {
                first: *first,
                one: one.header.timeouts,
                second: *disk,
                other: survey.header.timeouts,
            });
        }
        let twin = good[..at].iter().find(|(_, other)| same(survey, other));
        if let Some((twin, _)) = twin {
            return Err(PoisonError::SameDisk {
                first: *twin,
                second: *disk,
            });
        }
    }
    let timeouts = one.header.timeouts;
    if timeouts.msgwait <= timeouts.watchdog || timeouts.msgwait > MSGWAIT_MAX {
        return Err(PoisonError::UselessTimeouts {
            msgwait: timeouts.msgwait,
            watchdog: timeouts.watchdog,
        });
    }
    Ok(timeouts)
}

/// A disk reached by two paths has one identity, and often one device number, too.
fn same(one: &Survey, other: &Survey) -> bool {
    let uuid = one.header.uuid.is_some() && one.header.uuid == other.header.uuid;
    let medium = one.medium == other.medium && one.medium != Medium::Memory;
    uuid || medium
}

/// Where to write, if a majority of the disks is sound and knows the node.
///
/// # Errors
/// See [`PoisonError`].
pub fn plan(
    count: DiskCount,
    node: &SlotName,
    surveys: &[Answer<Survey>],
) -> Result<Plan, PoisonError> {
    let timeouts = check(count, surveys)?;
    let targets: Vec<(DiskIndex, SlotNumber)> = pairs(count, surveys)
        .filter_map(|(disk, survey)| Some((disk, survey.as_ref().ok()?.slot_of(node)?.number)))
        .collect();
    if targets.len() < count.to_fence() {
        return Err(PoisonError::NoSlot {
            node: node.clone(),
            have: targets.len(),
            all: count.get(),
            needed: count.to_fence(),
        });
    }
    Ok(Plan {
        targets,
        timeouts,
        msgwait: Duration::from_secs(timeouts.msgwait.into()),
    })
}

/// The moment from which `msgwait` counts: the last verified write, if there were enough. Each answer
/// holds when its write had been read back.
///
/// # Errors
/// [`PoisonError::NotDelivered`].
pub fn delivered(count: DiskCount, writes: &[Answer<Instant>]) -> Result<Instant, PoisonError> {
    let good = writes.iter().flatten().count();
    match writes.iter().flatten().max() {
        Some(last) if good >= count.to_fence() => Ok(*last),
        Some(_) | None => Err(PoisonError::NotDelivered {
            good,
            all: count.get(),
            needed: count.to_fence(),
            reasons: reasons(count, writes),
        }),
    }
}

/// What lay in a node's mailbox when `msgwait` was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// A pill.
    Pill,
    /// Something else, for people.
    Other(String),
}

impl Look {
    /// Looks at a slot as `node`'s.
    pub fn at(node: &SlotName, seen: &Sighting) -> Self {
        if !seen.slot.belongs_to(node) {
            Self::Other("a slot that is no longer the node's".to_owned())
        } else if seen.mailbox.word.pill().is_some() {
            Self::Pill
        } else {
            Self::Other(format!("'{}'", seen.mailbox.word))
        }
    }
}

/// Whether the pill lay undisturbed for the whole wait on enough of the disks where it was verified.
/// A disk that can no longer be read is no disturbance: what was verified there had its time.
///
/// # Errors
/// [`PoisonError::Disturbed`].
pub fn undisturbed(
    count: DiskCount,
    writes: &[Answer<Instant>],
    looks: &[Answer<Look>],
) -> Result<(), PoisonError> {
    let mut kept = 0;
    let mut disturbed = String::new();
    for ((disk, write), look) in pairs(count, writes).zip(looks) {
        match (write, look) {
            (Err(_), _) => {}
            (Ok(_), Ok(Look::Other(what))) => {
                disturbed = format!("{disturbed}; {disk} holds {what}");
            }
            (Ok(_), Ok(Look::Pill) | Err(_)) => kept += 1,
        }
    }
    if kept >= count.to_fence() {
        Ok(())
    } else {
        Err(PoisonError::Disturbed { reasons: disturbed })
    }
}

/// What `status` tells: never more than what lies in the mailboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// No pill on a majority.
    NoPill,
    /// A pill on a majority. The node may still be alive.
    Pill,
    /// Neither.
    Mixed,
}

/// Reads a node's mailboxes as `status` does.
///
/// # Errors
/// See [`PoisonError`].
pub fn reading(
    count: DiskCount,
    node: &SlotName,
    surveys: &[Answer<Survey>],
) -> Result<Reading, PoisonError> {
    plan(count, node, surveys)?;
    let entries = surveys
        .iter()
        .flatten()
        .filter_map(|survey| survey.slot_of(node));
    let (pills, others): (Vec<_>, Vec<_>) =
        entries.partition(|entry| entry.mailbox.word.pill().is_some());
    Ok(if pills.len() >= count.to_fence() {
        Reading::Pill
    } else if others.len() >= count.to_fence() {
        Reading::NoPill
    } else {
        Reading::Mixed
    })
}

fn pairs<T>(
    count: DiskCount,
    answers: &[Answer<T>],
) -> impl Iterator<Item = (DiskIndex, &Answer<T>)> {
    count.each().zip(answers)
}

fn reasons<T>(count: DiskCount, answers: &[Answer<T>]) -> String {
    let clauses = pairs(count, answers)
        .filter_map(|(disk, answer)| Some(format!("; {disk}: {}", answer.as_ref().err()?)));
    clauses.collect()
}

#[cfg(test)]
mod tests;
