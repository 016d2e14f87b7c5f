//! The engine's state to its persisted form.

use super::field::{
    action_into, cause_into, difficulty_into, guard_into, health_into, hold_into, isolation_into,
    nanos, token_into, verdict_into, voters_into,
};
use super::place::place_into;
use super::spec::{
    age_into, device_into, fence_cause_into, key_into, node_into, resource_into, topology_into,
};
use super::witness::witness_into;
use super::{command_into, machine, timing};
use crate::pb::log as pb;
use haft_engine::apply::{Outcome, Refusal, RefusalKind};
use haft_engine::state::{
    ClusterState, Ending, Event, Evidence, FenceOrder, Holding, Node, OrderPhase, Ownership,
    Progress, Proof, RememberedRequest, Resource, Session, Severity, Superseded,
};

pub(super) fn state(state: &ClusterState) -> pb::State {
    pb::State {
        cluster: state.cluster.0.to_vec(),
        epoch: state.epoch.0,
        applied: state.applied.0,
        membership: Some(voters_into(&state.membership)),
        heartbeat_keys: state.heartbeat_keys.iter().map(key_into).collect(),
        nodes: state.nodes.values().map(node).collect(),
        resources: state.resources.values().map(resource).collect(),
        devices: state
            .devices
            .iter()
            .map(|(name, device)| pb::Device {
                name: name.0.clone(),
                spec: Some(device_into(&device.spec)),
                generation: device.generation.0,
                health: device
                    .probed
                    .as_ref()
                    .map(|probed| health_into(&probed.health)),
                health_since_unix_ms: device
                    .probed
                    .as_ref()
                    .map_or(0, |probed| probed.since_unix_ms),
                distrusted: device.distrusted.map(|order| order.0),
            })
            .collect(),
        obstacles: machine::obstacles_into(state),
        rivals: machine::rivals_into(state),
        topologies: state
            .topologies
            .iter()
            .map(|(name, topology)| pb::Topology {
                name: name.0.clone(),
                spec: Some(topology_into(&topology.spec)),
                generation: topology.generation.0,
                since_unix_ms: topology.since_unix_ms,
            })
            .collect(),
        orders: state.orders.values().map(order).collect(),
        join_tokens: state
            .join_tokens
            .iter()
            .map(|(hash, token)| pb::JoinToken {
                sha256: hash.to_vec(),
                node: token.node.0.clone(),
                expires_unix_ms: token.expires_unix_ms,
            })
            .collect(),
        requests: state.requests.iter().map(request).collect(),
        events: state.events.iter().map(event).collect(),
        timing: state.timing.as_ref().map(timing::cluster_into),
    }
}

fn session(session: Session) -> pb::Session {
    let (kind, incarnation, closing) = match session {
        Session::Never => (0, 0, 0),
        Session::Open { incarnation } => (1, incarnation.0, 0),
        Session::Closing {
            incarnation,
            closing,
        } => (2, incarnation.0, closing.0),
        Session::Ended {
            incarnation,
            ending: Ending::Expired,
        } => (3, incarnation.0, 0),
        Session::Ended {
            incarnation,
            ending: Ending::Fenced,
        } => (4, incarnation.0, 0),
    };
    pb::Session {
        kind,
        incarnation,
        closing,
    }
}

fn node(node: &Node) -> pb::Node {
    let registration = pb::Registration {
        name: node.name.0.clone(),
        agent_only: node.role == haft_engine::command::NodeRole::AgentOnly,
        host: node.host.clone(),
        key_sha256: node.key_sha256.to_vec(),
    };
    pb::Node {
        id: node.id.0,
        registration: Some(registration),
        spec: Some(node_into(&node.spec)),
        generation: node.generation.0,
        session: Some(session(node.session)),
        boot: node.boot.0.to_vec(),
        fenced_at_ms: node.fenced_at_ms.clone(),
        quarantined: node.quarantined,
        unfenced: node.unfenced.0,
        terms: node.terms.as_ref().map(timing::terms_into),
        place: Some(place_into(&node.place)),
        boot_epoch: node.boot_epoch.0,
        witnessed: node.witnessed.as_ref().map(witness_into),
    }
}

fn holding(holding: &Holding) -> pb::Holding {
    pb::Holding {
        node: holding.node.0,
        incarnation: holding.incarnation.0,
        token: token_into(holding.token),
        isolation: isolation_into(holding.isolation),
        spec: Some(resource_into(&holding.spec)),
        guard: guard_into(holding.guard),
        address_life_ns: nanos(holding.address_life),
        since_unix_ms: holding.since_unix_ms,
        watchdog_ns: holding.watchdog.map(nanos),
        not_begun: holding.progress == Progress::NotBegun,
    }
}

fn evidence(evidence: &Evidence) -> pb::Evidence {
    use pb::evidence::Proof as Form;
    let proof = match &evidence.proof {
        Proof::Released => Form::Released(pb::Nothing {}),
        Proof::ProbedClean => Form::ProbedClean(pb::Nothing {}),
        Proof::Fenced { order, detail } => Form::Fenced(pb::Fenced {
            order: order.0,
            detail: detail.clone(),
        }),
        Proof::NeverBegun => Form::NeverBegun(pb::Nothing {}),
        Proof::Rebooted { boot } => Form::Rebooted(boot.0.to_vec()),
        Proof::LeaseExpired { ages } => Form::LeaseExpired(pb::LeaseExpired {
            ages: ages.iter().map(age_into).collect(),
        }),
        Proof::LifetimeLapsed { waited } => Form::LifetimeLapsedNs(nanos(*waited)),
        Proof::WatchdogLapsed { period, waited } => Form::WatchdogLapsed(pb::WatchdogLapse {
            period_ns: period.map(nanos),
            waited_ns: nanos(*waited),
        }),
        Proof::ConfirmedByHuman { by, reason } => Form::ConfirmedByHuman(pb::Human {
            by: by.clone(),
            reason: reason.clone(),
        }),
    };
    pb::Evidence {
        token: token_into(evidence.token),
        node: evidence.node.0,
        incarnation: evidence.incarnation.0,
        entry: evidence.entry.0,
        proof: Some(proof),
    }
}

fn resource(resource: &Resource) -> pb::Resource {
    let (ownership, cause) = match &resource.ownership {
        Ownership::Unowned => (0, 0),
        Ownership::Granted(_) => (1, 0),
        Ownership::Active(_) => (2, 0),
        Ownership::Releasing(_, cause) => (3, cause_into(*cause)),
        Ownership::Orphaned(_) => (4, 0),
    };
    pb::Resource {
        id: resource.id.to_string(),
        spec: Some(resource_into(&resource.spec)),
        generation: resource.generation.0,
        ownership,
        holding: resource.ownership.holding().map(holding),
        relinquish_cause: cause,
        last_token: token_into(resource.last_token),
        evidence: resource.evidence.as_ref().map(evidence),
        move_to: resource.move_to.map(|node| node.0),
        deleting: resource.deleting,
        trouble: resource.trouble.as_ref().map(|trouble| pb::Trouble {
            token: token_into(trouble.token),
            node: trouble.node.0,
            difficulty: difficulty_into(trouble.difficulty),
            why: trouble.why.clone(),
        }),
    }
}

fn order(order: &FenceOrder) -> pb::FenceOrder {
    let mut form = pb::FenceOrder {
        id: order.id.0,
        node: order.node.0,
        incarnation: order.incarnation.0,
        action: action_into(order.action),
        cause: Some(fence_cause_into(&order.cause)),
        attempts: order.attempts,
        detail: order.detail.clone(),
        since_unix_ms: order.since_unix_ms,
        level: u32::from(order.level),
        superseded: order.superseded.iter().map(superseded).collect(),
        ..pb::FenceOrder::default()
    };
    match &order.phase {
        OrderPhase::Intended => form.phase = 1,
        OrderPhase::Held(reason) => {
            form.phase = 2;
            form.phase_code = hold_into(*reason);
        }
        OrderPhase::Running {
            attempt,
            executor,
            level,
            deadline,
        } => {
            form.phase = 3;
            form.running_attempt = *attempt;
            form.executor = executor.0;
            form.level = u32::from(*level);
            form.deadline_ns = nanos(*deadline);
        }
        OrderPhase::Waiting { last, level } => {
            form.phase = 4;
            form.phase_code = verdict_into(*last);
            form.level = u32::from(*level);
        }
        OrderPhase::Confirmed => form.phase = 5,
        OrderPhase::Cancelled(why) => {
            form.phase = 6;
            form.cancelled_why.clone_from(why);
        }
    }
    form
}

fn superseded(kept: &Superseded) -> pb::SupersededTry {
    pb::SupersededTry {
        attempt: kept.attempt,
        executor: kept.executor.0,
        deadline_ns: nanos(kept.deadline),
    }
}

fn request(request: &RememberedRequest) -> pb::RememberedRequest {
    pb::RememberedRequest {
        id: request.id.0.to_vec(),
        command: Some(command_into::command(&request.command)),
        outcome: Some(outcome(&request.outcome)),
    }
}

pub(super) fn outcome(outcome: &Outcome) -> pb::Outcome {
    use pb::outcome::Outcome as Form;
    let form = match outcome {
        Outcome::Done => Form::Done(pb::Nothing {}),
        Outcome::Registered(node) => Form::Registered(node.0),
        Outcome::Admitted(incarnation) => Form::Admitted(incarnation.0),
        Outcome::Granted(token) => Form::Granted(pb::Token {
            epoch: token.epoch.0,
            index: token.index.0,
        }),
        Outcome::Ordered(order) => Form::Ordered(order.0),
        Outcome::Written(generation) => Form::Written(generation.0),
        Outcome::Refused(refusal) => Form::Refused(refused(refusal)),
    };
    pb::Outcome {
        outcome: Some(form),
    }
}

fn refused(refusal: &Refusal) -> pb::Refusal {
    let kind = match refusal.kind {
        RefusalKind::Stale => 1,
        RefusalKind::NotFound => 2,
        RefusalKind::Exists => 3,
        RefusalKind::Invalid => 4,
        RefusalKind::Unsafe => 5,
        RefusalKind::Denied => 6,
    };
    pb::Refusal {
        kind,
        reason: refusal.reason.clone(),
        message: refusal.message.clone(),
        fix: refusal.fix.clone(),
    }
}

fn event(event: &Event) -> pb::Event {
    pb::Event {
        index: event.index.0,
        stamp_unix_ms: event.stamp_unix_ms,
        warning: event.severity == Severity::Warning,
        reason: event.reason.clone(),
        subject: event.subject.clone(),
        message: event.message.clone(),
    }
}
