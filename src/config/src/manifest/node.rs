//! The spec of a Node: the administrator's part; the node itself exists by joining.

use super::domains;
use crate::fields::Reader;
use crate::yaml::Tree;
use haft_engine::spec::{AfterFence, Domains, NodeSpec, Scheduling};
use std::collections::BTreeMap;

pub(super) fn read(
    reader: &mut Reader<'_>,
    tree: Option<&Tree>,
    labels: BTreeMap<String, String>,
) -> Option<NodeSpec> {
    let Some(tree) = tree else {
        return Some(NodeSpec {
            scheduling: Scheduling::Open,
            labels,
            after_fence: AfterFence::StayOff,
            domains: Domains::default(),
        });
    };
    let fields = reader.map(
        tree,
        "the spec of a Node",
        &["scheduling", "powerDomain", "networkDomain", "afterFence"],
    )?;
    let known = [
        ("open", Scheduling::Open),
        ("cordoned", Scheduling::Cordoned),
        ("standby", Scheduling::Standby),
    ];
    let scheduling = match fields.get("scheduling") {
        None => Scheduling::Open,
        Some(tree) => reader.word(tree, "scheduling", &known)?,
    };
    let words = [
        ("stay-off", AfterFence::StayOff),
        ("power-on", AfterFence::PowerOn),
    ];
    let after_fence = match fields.get("afterFence") {
        None => AfterFence::StayOff,
        Some(tree) => reader.word(tree, "afterFence", &words)?,
    };
    let domains = domains(reader, fields)?;
    Some(NodeSpec {
        scheduling,
        labels,
        after_fence,
        domains,
    })
}
