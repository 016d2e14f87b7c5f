//! Shared disks as a letter box for poison pills: the ClusterLabs SBD format, both ends of it.
//!
//! A node owns a slot on one to three shared disks and reads the slot's mailbox every second. Whoever
//! must isolate it writes a pill into the mailbox and waits `msgwait`: by then the node has read the
//! pill and reset itself, or could not read and was reset by its watchdog.
//!
//! | layer | what | I/O |
//! |---|---|---|
//! | [`disk`] | header, slot and mailbox to bytes and back | none |
//! | [`watcher`] | the node that is watched, as a machine | none |
//! | [`majority`] | how many disks are enough, for what | none |
//! | [`poison`] | when is a pill delivered: majorities and the wait, as values | none |
//! | [`device`] | sectors of a real disk, unbuffered; verified writes | all of it |
//! | [`volume`] | what is done on one opened disk: survey, allocate, write | through `device` |
//! | [`keeper`] | one thread per disk, so that a hung disk hangs nobody | threads |
//! | [`bank`] | all disks at once, without waiting for the last | threads |
//! | [`settings`], [`spec`], [`run`], [`front`], [`admin`] | the executable `fence_haft_sbd` | processes |
//!
//! haft-agent links all but the last two rows for its watcher and brings the clock, the watchdog and the reset.
//! Nothing here resets a machine, pets a watchdog or decides whom to fence.

pub mod admin;
pub mod bank;
pub mod device;
pub mod disk;
pub mod front;
pub mod keeper;
pub mod majority;
pub mod poison;
pub mod run;
pub mod settings;
pub mod spec;
pub mod volume;
pub mod watcher;
