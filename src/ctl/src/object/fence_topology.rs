//! A FenceTopology as JSON and as a row.

use super::span;
use crate::cli::Form;
use haft_api::pb::v1;
use serde_json::{Value, json};

fn level(level: &v1::FenceLevel) -> Value {
    let mut shown = json!({ "devices": level.devices, "delay": span(level.delay_ms) });
    if let Some(timeout_ms) = level.timeout_ms {
        shown["timeout"] = json!(span(timeout_ms));
    }
    shown
}

pub(super) fn json(topology: &v1::FenceTopology) -> (Value, Value) {
    let spec = topology.spec.clone().unwrap_or_default();
    let status = topology.status.clone().unwrap_or_default();
    let levels: Vec<Value> = spec.levels.iter().map(level).collect();
    let shown = json!({ "nodes": spec.nodes, "levels": levels });
    let status = json!({
        "since": super::timestamp(status.since_unix_ms),
        "message": status.message,
    });
    (shown, status)
}

pub(super) fn headers(form: Form) -> Vec<&'static str> {
    let mut headers = vec!["NAME", "NODES", "LEVELS", "AGE"];
    if form == Form::Wide {
        headers.push("TIMEOUTS");
    }
    headers.push("MESSAGE");
    headers
}

/// `bmc-n1 > pdu-a+pdu-b`: the next level after `>`, devices of one level joined by `+`.
pub(super) fn row(topology: &v1::FenceTopology, form: Form) -> Vec<String> {
    let spec = topology.spec.clone().unwrap_or_default();
    let status = topology.status.clone().unwrap_or_default();
    let levels: Vec<String> = spec
        .levels
        .iter()
        .map(|level| level.devices.join("+"))
        .collect();
    let mut row = vec![
        topology
            .metadata
            .as_ref()
            .map_or_else(String::new, |meta| meta.name.clone()),
        spec.nodes.join(","),
        levels.join(" > "),
        super::age(status.since_unix_ms),
    ];
    if form == Form::Wide {
        let timeouts: Vec<String> = spec
            .levels
            .iter()
            .map(|level| level.timeout_ms.map_or_else(|| "sum".to_owned(), span))
            .collect();
        row.push(timeouts.join(","));
    }
    row.push(status.message);
    row
}
