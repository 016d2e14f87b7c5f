//! Evidence, fence orders and events, for people.

use super::token_text;
use crate::pb::v1;
use haft_engine::command::{FenceAction, FenceCause, HoldReason};
use haft_engine::ids::NodeId;
use haft_engine::state::{ClusterState, Event, Evidence, FenceOrder, OrderPhase, Proof, Severity};

fn node_name(state: &ClusterState, id: NodeId) -> String {
    state
        .nodes
        .get(&id)
        .map_or_else(|| format!("#{id}"), |node| node.name.0.clone())
}

/// What opened a grant.
pub fn evidence_into(state: &ClusterState, evidence: &Evidence) -> v1::Evidence {
    let (proof, detail) = match &evidence.proof {
        Proof::Released => (
            "Released",
            "the owner said, finally, that it had stopped".to_owned(),
        ),
        Proof::ProbedClean => (
            "ProbedClean",
            "its restarted agent found and removed everything it had held".to_owned(),
        ),
        Proof::Fenced { order, detail } => ("Fenced", format!("order {order}: {detail}")),
        Proof::Rebooted { .. } => (
            "Rebooted",
            "the same machine came back with a new boot id".to_owned(),
        ),
        Proof::LeaseExpired { ages } => (
            "LeaseExpired",
            format!(
                "{} coordinators stated silence of at least {} ms; the kernel guard was attested",
                ages.len(),
                ages.iter()
                    .map(|age| age.age.as_millis())
                    .min()
                    .unwrap_or(0)
            ),
        ),
        Proof::NeverBegun => (
            "NeverBegun",
            "it had not begun when its grant was withdrawn or its session ended, and cannot begin any more"
                .to_owned(),
        ),
        Proof::LifetimeLapsed { waited } => (
            "LifetimeLapsed",
            format!(
                "the address's own lifetime was waited out ({} ms)",
                waited.as_millis()
            ),
        ),
        Proof::WatchdogLapsed {
            period: Some(period),
            waited,
        } => (
            "WatchdogLapsed",
            format!(
                "its watchdog of {} ms has reset it; {} ms beyond its lease were waited out",
                period.as_millis(),
                waited.as_millis()
            ),
        ),
        Proof::WatchdogLapsed { period: None, .. } => (
            "WatchdogLapsed",
            "it never had an armed watchdog in the log, so it never acted".to_owned(),
        ),
        Proof::ConfirmedByHuman { by, reason } => ("ConfirmedByHuman", format!("{by}: {reason}")),
    };
    v1::Evidence {
        token: token_text(evidence.token),
        node: node_name(state, evidence.node),
        incarnation: evidence.incarnation.0,
        entry: evidence.entry.0,
        proof: proof.to_owned(),
        detail,
    }
}

/// A fence order.
pub fn order_into(state: &ClusterState, order: &FenceOrder) -> v1::FenceOrder {
    let action = match order.action {
        FenceAction::Off => v1::FenceAction::Off,
        FenceAction::On => v1::FenceAction::On,
    };
    let cause = match &order.cause {
        FenceCause::Orphans => "a lost node held resources that need it isolated".to_owned(),
        FenceCause::StopFailed { resource } => {
            format!("it cannot prove that it has stopped {resource}")
        }
        FenceCause::AfterFence => "it was confirmed off and is to be powered on".to_owned(),
        FenceCause::Witnessed => {
            "it was proven off, and something of it has answered since".to_owned()
        }
        FenceCause::Unfence => {
            "it has joined, and ports of its storage are to be opened".to_owned()
        }
        FenceCause::Administrator { by, reason } => format!("{by}: {reason}"),
    };
    let phase = match &order.phase {
        OrderPhase::Intended => "Intended".to_owned(),
        OrderPhase::Held(HoldReason::Quorum) => "Held (survivors below quorum)".to_owned(),
        OrderPhase::Held(HoldReason::NoDevice) => "Held (no fence device)".to_owned(),
        OrderPhase::Running { .. } => "Running".to_owned(),
        OrderPhase::Waiting { .. } => "Waiting".to_owned(),
        OrderPhase::Confirmed => "Confirmed".to_owned(),
        OrderPhase::Cancelled(why) => format!("Cancelled ({why})"),
    };
    v1::FenceOrder {
        id: order.id.0,
        node: node_name(state, order.node),
        incarnation: order.incarnation.0,
        action: action.into(),
        cause,
        phase,
        attempts: order.attempts,
        detail: order.detail.clone(),
        since_unix_ms: order.since_unix_ms,
    }
}

/// An event.
pub fn event_into(event: &Event) -> v1::Event {
    let severity = match event.severity {
        Severity::Normal => v1::Severity::Normal,
        Severity::Warning => v1::Severity::Warning,
    };
    v1::Event {
        index: event.index.0,
        unix_ms: event.stamp_unix_ms,
        severity: severity.into(),
        reason: event.reason.clone(),
        subject: event.subject.clone(),
        message: event.message.clone(),
    }
}
