//! The spec of a FenceTopology.
//!
//! Whether its devices exist and target its nodes is for the cluster to say.

use super::fence_device::{DEADLINE_MAX, LEVEL_MAX, delay};
use crate::fields::Reader;
use crate::yaml::{At, Tree};
use haft_engine::ids::{DeviceName, NodeName};
use haft_engine::spec::{FenceLevel, FenceTopologySpec};
use std::collections::BTreeSet;
use std::time::Duration;

/// Most devices of one level; the same bound as at the cluster.
const DEVICES_MAX: usize = 16;
/// As at the cluster: less could not even read a device twice.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

pub(super) struct Read {
    pub(super) spec: FenceTopologySpec,
    pub(super) nodes: Vec<(At, NodeName)>,
}

pub(super) fn read(reader: &mut Reader<'_>, tree: &Tree) -> Option<Read> {
    let what = "the spec of a FenceTopology";
    let fields = reader.map(tree, what, &["nodes", "levels"])?;
    let nodes = reader
        .required(fields, "nodes", what, "[n1, n2]")
        .and_then(|tree| names(reader, tree, "nodes", "a node", "[n1, n2]"));
    let levels = reader
        .required(fields, "levels", what, "[{ devices: [bmc-n1] }]")
        .and_then(|tree| levels(reader, tree));
    let nodes: Vec<(At, NodeName)> = nodes?
        .into_iter()
        .map(|(at, name)| (at, NodeName(name)))
        .collect();
    Some(Read {
        spec: FenceTopologySpec {
            nodes: nodes.iter().map(|(_, name)| name.clone()).collect(),
            levels: levels?,
        },
        nodes,
    })
}

/// A list of one or more names, each with its place, none of them twice.
fn names(
    reader: &mut Reader<'_>,
    tree: &Tree,
    key: &str,
    what: &str,
    example: &str,
) -> Option<Vec<(At, String)>> {
    let items = reader.list(tree, key, example)?;
    if items.is_empty() {
        reader.refuse(
            tree.at,
            format!("{key} names nothing"),
            format!("name one or more: `{key}: {example}`"),
        );
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for item in items {
        let Some(name) = reader.name(item, what) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            reader.refuse(
                item.at,
                format!("`{name}` is named twice in {key}"),
                "name it once",
            );
            continue;
        }
        out.push((item.at, name));
    }
    (out.len() == items.len()).then_some(out)
}

fn levels(reader: &mut Reader<'_>, tree: &Tree) -> Option<Vec<FenceLevel>> {
    let items = reader.list(tree, "levels", "[{ devices: [bmc-n1] }]")?;
    if items.is_empty() || items.len() > usize::from(LEVEL_MAX) {
        reader.refuse(
            tree.at,
            format!(
                "a topology has 1 to {LEVEL_MAX} levels, but here are {}",
                items.len()
            ),
            "write `levels: [{ devices: [bmc-n1] }]`; the first is tried first",
        );
        return None;
    }
    let levels: Vec<FenceLevel> = items
        .iter()
        .filter_map(|item| level(reader, item))
        .collect();
    (levels.len() == items.len()).then_some(levels)
}

fn level(reader: &mut Reader<'_>, tree: &Tree) -> Option<FenceLevel> {
    let what = "a level";
    let fields = reader.map(tree, what, &["devices", "timeout", "delay"])?;
    let devices = reader
        .required(fields, "devices", what, "[bmc-n1]")
        .and_then(|tree| devices(reader, tree));
    let delay_tree = fields.get("delay");
    let delay = match delay_tree {
        None => Some(Duration::ZERO),
        Some(tree) => delay(reader, tree),
    };
    let timeout = match fields.get("timeout") {
        None => Some(None),
        Some(tree) => timeout(reader, tree, delay.unwrap_or_default()).map(Some),
    };
    Some(FenceLevel {
        devices: devices?,
        timeout: timeout?,
        delay: delay?,
    })
}

fn devices(reader: &mut Reader<'_>, tree: &Tree) -> Option<Vec<DeviceName>> {
    let found = names(reader, tree, "devices", "a fence device", "[pdu-a, pdu-b]")?;
    if found.len() > DEVICES_MAX {
        reader.refuse(
            tree.at,
            format!(
                "a level names at most {DEVICES_MAX} devices, but here are {}",
                found.len()
            ),
            "a level is what isolates one node: give other nodes a topology of their own",
        );
        return None;
    }
    Some(
        found
            .into_iter()
            .map(|(_, name)| DeviceName(name))
            .collect(),
    )
}

fn timeout(reader: &mut Reader<'_>, tree: &Tree, delay: Duration) -> Option<Duration> {
    let span = reader.span(tree, "timeout")?;
    if !(TIMEOUT_MIN..=DEADLINE_MAX).contains(&span) {
        reader.refuse(
            tree.at,
            "timeout must be from 100ms to 10m",
            "allow what all devices of the level need, one after the other, or leave it out",
        );
        return None;
    }
    if span <= delay {
        reader.refuse(
            tree.at,
            "timeout is over before the level's delay is",
            "the timeout counts from the beginning of the try: make it longer than the delay",
        );
        return None;
    }
    Some(span)
}
