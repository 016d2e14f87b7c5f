//! A VirtualIP as JSON and as a row.

use super::{age, timestamp};
use crate::cli::Form;
use haft_api::pb::v1;
use serde_json::{Value, json};

/// The word of manifests; empty when the field is not set.
pub(super) fn isolation(value: i32) -> &'static str {
    match v1::Isolation::try_from(value) {
        Ok(v1::Isolation::Lease) => "lease",
        Ok(v1::Isolation::Watchdog) => "watchdog",
        Ok(v1::Isolation::Stonith) => "stonith",
        Ok(v1::Isolation::Unspecified) | Err(_) => "",
    }
}

fn failback(value: i32) -> &'static str {
    match v1::Failback::try_from(value) {
        Ok(v1::Failback::Never) => "never",
        Ok(v1::Failback::Auto) => "auto",
        Ok(v1::Failback::Unspecified) | Err(_) => "",
    }
}

pub(super) fn json(vip: &v1::VirtualIp) -> (Value, Value) {
    let spec = vip.spec.clone().unwrap_or_default();
    let status = vip.status.clone().unwrap_or_default();
    let evidence = status.evidence.as_ref().map(|evidence| {
        json!({
            "token": evidence.token,
            "node": evidence.node,
            "incarnation": evidence.incarnation,
            "entry": evidence.entry,
            "proof": evidence.proof,
            "detail": evidence.detail,
        })
    });
    let shown_spec = json!({
        "address": spec.address,
        "interface": spec.interface,
        "isolation": isolation(spec.isolation),
        "preference": spec.preference,
        "failback": failback(spec.failback),
        "allowUnfenced": spec.allow_unfenced,
    });
    let mut shown_status = json!({
        "state": status.state,
        "owner": status.owner,
        "token": status.token,
        "incarnation": status.incarnation,
        "grantedIsolation": isolation(status.granted_isolation),
        "since": timestamp(status.since_unix_ms),
        "movingTo": status.moving_to,
        "deleting": status.deleting,
        "message": status.message,
    });
    if let Some(evidence) = evidence {
        shown_status["evidence"] = evidence;
    }
    (shown_spec, shown_status)
}

pub(super) fn headers(form: Form) -> Vec<&'static str> {
    let mut headers = vec![
        "NAME",
        "ADDRESS",
        "STATE",
        "OWNER",
        "ISOLATION",
        "TOKEN",
        "SINCE",
    ];
    if form == Form::Wide {
        headers.extend(["INTERFACE", "PREFERENCE", "FAILBACK", "EVIDENCE"]);
    }
    headers.push("MESSAGE");
    headers
}

pub(super) fn row(vip: &v1::VirtualIp, form: Form) -> Vec<String> {
    let spec = vip.spec.clone().unwrap_or_default();
    let status = vip.status.clone().unwrap_or_default();
    let mut row = vec![
        vip.metadata
            .as_ref()
            .map_or_else(String::new, |meta| meta.name.clone()),
        spec.address.clone(),
        status.state.clone(),
        status.owner.clone(),
        isolation_shown(&spec, &status),
        status.token.clone(),
        age(status.since_unix_ms),
    ];
    if form == Form::Wide {
        row.extend([
            spec.interface,
            spec.preference.join(","),
            failback(spec.failback).to_owned(),
            status
                .evidence
                .as_ref()
                .map_or_else(String::new, |evidence| evidence.proof.clone()),
        ]);
    }
    row.push(message(&status));
    row
}

/// What counts is the grant's isolation; a spec that has changed since is shown beside it.
fn isolation_shown(spec: &v1::VirtualIpSpec, status: &v1::VirtualIpStatus) -> String {
    let wanted = isolation(spec.isolation);
    let granted = isolation(status.granted_isolation);
    let mut shown = if granted.is_empty() || granted == wanted {
        wanted.to_owned()
    } else {
        format!("{granted} (next: {wanted})")
    };
    if spec.allow_unfenced {
        shown.push_str(" UNFENCED");
    }
    shown
}

fn message(status: &v1::VirtualIpStatus) -> String {
    let mut parts = Vec::new();
    if !status.moving_to.is_empty() {
        parts.push(format!("moving to {}", status.moving_to));
    }
    if status.deleting {
        parts.push("deleting".to_owned());
    }
    if !status.message.is_empty() {
        parts.push(status.message.clone());
    }
    parts.join("; ")
}
