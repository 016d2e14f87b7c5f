//! The `sbd` section: the shared disks whose poison pills this cluster's nodes obey.
//!
//! Checks what can be known from the text. Whether a path is a disk, and whether two paths are the same
//! one, is found out by the agent when it opens them.

use super::{DEFAULT_SBD_IO_TIMEOUT, SbdConfig, SbdStart, tls};
use crate::fields::{Fields, Reader};
use std::path::PathBuf;
use std::time::Duration;

/// The format's users know one to three (fence-agents/sbd, `majority`).
const DEVICES_MAX: usize = 3;
/// Below this a healthy disk counts as hung; above it no watchdog waits so long.
const IO_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=600_000;

/// The section, `Some(None)` when the file has none.
pub(super) fn read(reader: &mut Reader<'_>, top: Fields<'_>) -> Option<Option<SbdConfig>> {
    let Some(tree) = top.get("sbd") else {
        return Some(None);
    };
    let fields = reader.map(tree, "sbd", &["devices", "start", "io_timeout_ms"])?;
    let devices = devices(reader, fields);
    let start = match fields.get("start") {
        None => Some(SbdStart::Clean),
        Some(tree) => reader.word(
            tree,
            "sbd.start",
            &[("clean", SbdStart::Clean), ("always", SbdStart::Always)],
        ),
    };
    let io_timeout = match fields.get("io_timeout_ms") {
        None => Some(DEFAULT_SBD_IO_TIMEOUT),
        Some(tree) => reader
            .number(tree, "sbd.io_timeout_ms", IO_TIMEOUT_MS)
            .map(Duration::from_millis),
    };
    Some(Some(SbdConfig {
        devices: devices?,
        start: start?,
        io_timeout: io_timeout?,
    }))
}

fn devices(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Vec<PathBuf>> {
    let example = "[/dev/disk/by-id/A, /dev/disk/by-id/B, /dev/disk/by-id/C]";
    let tree = reader.required(fields, "devices", "sbd", example)?;
    let items = reader.list(tree, "sbd.devices", example)?;
    if items.is_empty() || items.len() > DEVICES_MAX {
        reader.refuse(
            tree.at,
            format!(
                "sbd.devices must name one to three disks, but names {}",
                items.len()
            ),
            "three disks are right: one may be lost; remove `sbd` to watch none",
        );
        return None;
    }
    let mut devices: Vec<PathBuf> = Vec::new();
    let mut complete = true;
    for item in items {
        match tls::absolute_path(reader, item, "sbd.devices") {
            Some(path) if devices.contains(&path) => {
                reader.refuse(
                    item.at,
                    format!(
                        "the disk {} is named twice: it would count twice",
                        path.display()
                    ),
                    "name each disk once, by its name in /dev/disk/by-id",
                );
                complete = false;
            }
            Some(path) => devices.push(path),
            None => complete = false,
        }
    }
    complete.then_some(devices)
}
