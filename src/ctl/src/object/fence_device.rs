//! A FenceDevice as JSON and as a row.

use super::span;
use crate::cli::Form;
use haft_api::pb::v1;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

fn observes(value: i32) -> &'static str {
    match v1::Observes::try_from(value) {
        Ok(v1::Observes::Power) => "power",
        Ok(v1::Observes::Poison) => "poison",
        Ok(v1::Observes::Storage) => "storage",
        Ok(v1::Observes::Unspecified) | Err(_) => "",
    }
}

fn texts(map: &BTreeMap<String, String>) -> Map<String, Value> {
    map.iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect()
}

pub(super) fn json(device: &v1::FenceDevice) -> (Value, Value) {
    let spec = device.spec.clone().unwrap_or_default();
    let status = device.status.clone().unwrap_or_default();
    let mut shown = json!({
        "agent": spec.agent,
        "observes": observes(spec.observes),
        "targets": texts(&spec.targets),
        "parameters": texts(&spec.parameters),
        "secretFiles": texts(&spec.secret_files),
        "deadline": span(spec.deadline_ms),
        "delay": span(spec.delay_ms),
        "level": spec.level,
    });
    if !spec.host_argument.is_empty() {
        shown["hostArgument"] = json!(spec.host_argument);
    }
    super::add_domains(&mut shown, spec.domains.as_ref());
    let status = json!({
        "health": status.health,
        "detail": status.detail,
        "since": super::timestamp(status.health_since_unix_ms),
        "topologies": status.topologies,
        "message": status.message,
    });
    (shown, status)
}

pub(super) fn headers(form: Form) -> Vec<&'static str> {
    let mut headers = vec!["NAME", "AGENT", "TARGETS", "LEVEL", "HEALTH"];
    if form == Form::Wide {
        headers.extend(["OBSERVES", "DEADLINE"]);
    }
    headers.push("MESSAGE");
    headers
}

pub(super) fn row(device: &v1::FenceDevice, form: Form) -> Vec<String> {
    let spec = device.spec.clone().unwrap_or_default();
    let status = device.status.clone().unwrap_or_default();
    let targets: Vec<&str> = spec.targets.keys().map(String::as_str).collect();
    let mut row = vec![
        device
            .metadata
            .as_ref()
            .map_or_else(String::new, |meta| meta.name.clone()),
        spec.agent.clone(),
        targets.join(","),
        spec.level.to_string(),
        status.health,
    ];
    if form == Form::Wide {
        row.extend([observes(spec.observes).to_owned(), span(spec.deadline_ms)]);
    }
    row.push(status.message);
    row
}
