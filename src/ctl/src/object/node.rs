//! A Node as JSON and as a row, and the fence orders against it.

use super::timestamp;
use crate::cli::Form;
use haft_api::pb::v1;
use serde_json::{Value, json};

fn scheduling(value: i32) -> &'static str {
    match v1::Scheduling::try_from(value) {
        Ok(v1::Scheduling::Open) => "open",
        Ok(v1::Scheduling::Cordoned) => "cordoned",
        Ok(v1::Scheduling::Standby) => "standby",
        Ok(v1::Scheduling::Unspecified) | Err(_) => "",
    }
}

fn after_fence(value: i32) -> &'static str {
    match v1::AfterFence::try_from(value) {
        Ok(v1::AfterFence::PowerOn) => "power-on",
        Ok(v1::AfterFence::StayOff | v1::AfterFence::Unspecified) | Err(_) => "stay-off",
    }
}

fn action(value: i32) -> &'static str {
    match v1::FenceAction::try_from(value) {
        Ok(v1::FenceAction::Off) => "off",
        Ok(v1::FenceAction::On) => "on",
        Ok(v1::FenceAction::Unspecified) | Err(_) => "",
    }
}

/// A fence order.
pub(crate) fn order_json(order: &v1::FenceOrder) -> Value {
    json!({
        "id": order.id,
        "node": order.node,
        "incarnation": order.incarnation,
        "action": action(order.action),
        "cause": order.cause,
        "phase": order.phase,
        "attempts": order.attempts,
        "detail": order.detail,
        "since": timestamp(order.since_unix_ms),
    })
}

pub(super) fn json(node: &v1::Node, orders: &[v1::FenceOrder]) -> (Value, Value) {
    let spec = node.spec.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let mut shown = json!({
        "id": status.id,
        "state": status.state,
        "incarnation": status.incarnation,
        "boot": status.boot,
        "gate": status.gate,
        "ttlMs": status.ttl_ns / 1_000_000,
        "coordinator": status.coordinator,
        "voter": status.voter,
        "leader": status.leader,
        "host": status.host,
        "quarantined": status.quarantined,
        "holds": status.holds,
        "fenceOrder": status.fence_order,
        "message": status.message,
    });
    if !orders.is_empty() {
        shown["orders"] = orders.iter().map(order_json).collect();
    }
    let mut wanted = json!({
        "scheduling": scheduling(spec.scheduling),
        "afterFence": after_fence(spec.after_fence),
    });
    super::add_domains(&mut wanted, spec.domains.as_ref());
    (wanted, shown)
}

pub(super) fn headers(form: Form) -> Vec<&'static str> {
    let mut headers = vec!["NAME", "STATE", "ROLE", "HOST", "HOLDS"];
    if form == Form::Wide {
        headers.extend([
            "ID",
            "INCARNATION",
            "SCHEDULING",
            "FENCE-ORDER",
            "GATE",
            "TTL-MS",
        ]);
    }
    headers.push("MESSAGE");
    headers
}

pub(super) fn row(node: &v1::Node, form: Form) -> Vec<String> {
    let status = node.status.clone().unwrap_or_default();
    let chosen = scheduling(node.spec.clone().unwrap_or_default().scheduling);
    let mut row = vec![
        node.metadata
            .as_ref()
            .map_or_else(String::new, |meta| meta.name.clone()),
        status.state.clone(),
        role(&status).to_owned(),
        status.host.clone(),
        status.holds.join(","),
    ];
    if form == Form::Wide {
        let order = if status.fence_order == 0 {
            String::new()
        } else {
            status.fence_order.to_string()
        };
        row.extend([
            status.id.to_string(),
            status.incarnation.to_string(),
            chosen.to_owned(),
            order,
            status.gate.clone(),
            (status.ttl_ns / 1_000_000).to_string(),
        ]);
    }
    let mut parts = Vec::new();
    if status.quarantined {
        parts.push("quarantined".to_owned());
    }
    if chosen == "cordoned" || chosen == "standby" {
        parts.push(chosen.to_owned());
    }
    if !status.message.is_empty() {
        parts.push(status.message);
    }
    row.push(parts.join("; "));
    row
}

fn role(status: &v1::NodeStatus) -> &'static str {
    match (status.leader, status.voter, status.coordinator) {
        (true, _, _) => "leader",
        (false, true, _) => "voter",
        (false, false, true) => "coordinator",
        (false, false, false) => "agent",
    }
}
