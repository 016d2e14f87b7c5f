//! The persisted state to the engine's.

use super::field::{
    Decoded, action_from, array, cause_from, difficulty_from, guard_from, health_from, hold_from,
    isolation_from, missing, required, resource_from, token_from, verdict_from, voters_from,
};
use super::place::place_from;
use super::spec::{
    ages_from, device_from, fence_cause_from, key_from, node_from, registration_from,
    resource_spec_from, topology_from,
};
use super::witness::witness_from;
use super::{command_from, machine, timing};
use crate::pb::log as pb;
use haft_engine::apply::{Outcome, Refusal, RefusalKind};
use haft_engine::ids::{
    BootId, ClusterId, DeviceName, Epoch, Generation, Incarnation, LogIndex, NodeId, NodeName,
    OrderId, RequestId, TopologyName,
};
use haft_engine::state::{
    ClusterState, Device, Ending, Event, Evidence, FenceOrder, Holding, JoinToken, Node,
    OrderPhase, Ownership, Probed, Progress, Proof, RememberedRequest, Resource, Session, Severity,
    Superseded, Topology, Trouble,
};
use std::time::Duration;

pub(super) fn state(form: pb::State) -> Decoded<ClusterState> {
    let mut state = ClusterState {
        cluster: ClusterId(array(&form.cluster, "cluster")?),
        epoch: Epoch(form.epoch),
        applied: LogIndex(form.applied),
        membership: voters_from(form.membership.unwrap_or_default()),
        ..ClusterState::default()
    };
    state.timing = form.timing.map(timing::cluster_from).transpose()?;
    state.heartbeat_keys = form
        .heartbeat_keys
        .into_iter()
        .map(key_from)
        .collect::<Decoded<_>>()?;
    for form in form.nodes {
        let mut node = node(form)?;
        if node.boot_epoch == Epoch::default() && node.session != Session::Never {
            node.boot_epoch = state.epoch;
        }
        state.nodes.insert(node.id, node);
    }
    for form in form.resources {
        let resource = resource(form)?;
        state.resources.insert(resource.id.clone(), resource);
    }
    for form in form.devices {
        let spec = device_from(required(form.spec, "device spec")?)?;
        let since_unix_ms = form.health_since_unix_ms;
        let health = form.health.map(health_from).transpose()?;
        let probed = health.map(|health| Probed {
            health,
            since_unix_ms,
        });
        let device = Device {
            spec,
            generation: Generation(form.generation),
            probed,
            distrusted: form.distrusted.map(OrderId),
        };
        state.devices.insert(DeviceName(form.name), device);
    }
    for form in form.topologies {
        let topology = Topology {
            spec: topology_from(required(form.spec, "topology spec")?),
            generation: Generation(form.generation),
            since_unix_ms: form.since_unix_ms,
        };
        state.topologies.insert(TopologyName(form.name), topology);
    }
    state.obstacles = machine::obstacles_from(form.obstacles)?;
    state.rivals = machine::rivals_from(form.rivals)?;
    for form in form.orders {
        let order = order(form)?;
        state.orders.insert(order.id, order);
    }
    for form in form.join_tokens {
        let token = JoinToken {
            node: NodeName(form.node),
            expires_unix_ms: form.expires_unix_ms,
        };
        state
            .join_tokens
            .insert(array(&form.sha256, "token hash")?, token);
    }
    state.requests = form
        .requests
        .into_iter()
        .map(request)
        .collect::<Decoded<_>>()?;
    state.events = form.events.into_iter().map(event).collect();
    Ok(state)
}

fn session(form: Option<pb::Session>) -> Decoded<Session> {
    let form = required(form, "session")?;
    let incarnation = Incarnation(form.incarnation);
    Ok(match form.kind {
        0 => Session::Never,
        1 => Session::Open { incarnation },
        2 => Session::Closing {
            incarnation,
            closing: LogIndex(form.closing),
        },
        3 => Session::Ended {
            incarnation,
            ending: Ending::Expired,
        },
        4 => Session::Ended {
            incarnation,
            ending: Ending::Fenced,
        },
        _ => return Err(missing("session")),
    })
}

fn node(form: pb::Node) -> Decoded<Node> {
    let registration = registration_from(form.registration)?;
    Ok(Node {
        id: NodeId(form.id),
        name: registration.name,
        role: registration.role,
        host: registration.host,
        key_sha256: registration.key_sha256,
        spec: node_from(required(form.spec, "node spec")?)?,
        generation: Generation(form.generation),
        session: session(form.session)?,
        boot: BootId(array(&form.boot, "boot")?),
        fenced_at_ms: form.fenced_at_ms,
        quarantined: form.quarantined,
        unfenced: Incarnation(form.unfenced),
        terms: form.terms.map(timing::terms_from).transpose()?,
        place: place_from(form.place)?,
        boot_epoch: Epoch(form.boot_epoch),
        witnessed: form.witnessed.map(witness_from).transpose()?,
    })
}

fn holding(form: Option<pb::Holding>) -> Decoded<Holding> {
    let form = required(form, "holding")?;
    Ok(Holding {
        node: NodeId(form.node),
        incarnation: Incarnation(form.incarnation),
        token: token_from(form.token)?,
        isolation: isolation_from(form.isolation)?,
        spec: resource_spec_from(form.spec)?,
        guard: guard_from(form.guard)?,
        address_life: Duration::from_nanos(form.address_life_ns),
        since_unix_ms: form.since_unix_ms,
        watchdog: form.watchdog_ns.map(Duration::from_nanos),
        progress: if form.not_begun {
            Progress::NotBegun
        } else {
            Progress::Begun
        },
    })
}

fn trouble(form: pb::Trouble) -> Decoded<Trouble> {
    Ok(Trouble {
        token: token_from(form.token)?,
        node: NodeId(form.node),
        difficulty: difficulty_from(form.difficulty)?,
        why: form.why,
    })
}

fn evidence(form: pb::Evidence) -> Decoded<Evidence> {
    use pb::evidence::Proof as Form;
    let proof = match required(form.proof, "proof")? {
        Form::Released(_) => Proof::Released,
        Form::ProbedClean(_) => Proof::ProbedClean,
        Form::Fenced(fenced) => Proof::Fenced {
            order: OrderId(fenced.order),
            detail: fenced.detail,
        },
        Form::Rebooted(boot) => Proof::Rebooted {
            boot: BootId(array(&boot, "boot")?),
        },
        Form::LeaseExpired(lease) => Proof::LeaseExpired {
            ages: ages_from(lease.ages)?,
        },
        Form::LifetimeLapsedNs(waited) => Proof::LifetimeLapsed {
            waited: Duration::from_nanos(waited),
        },
        Form::NeverBegun(_) => Proof::NeverBegun,
        Form::WatchdogLapsed(lapse) => Proof::WatchdogLapsed {
            period: lapse.period_ns.map(Duration::from_nanos),
            waited: Duration::from_nanos(lapse.waited_ns),
        },
        Form::ConfirmedByHuman(human) => Proof::ConfirmedByHuman {
            by: human.by,
            reason: human.reason,
        },
    };
    Ok(Evidence {
        token: token_from(form.token)?,
        node: NodeId(form.node),
        incarnation: Incarnation(form.incarnation),
        entry: LogIndex(form.entry),
        proof,
    })
}

fn resource(form: pb::Resource) -> Decoded<Resource> {
    let ownership = match form.ownership {
        0 => Ownership::Unowned,
        1 => Ownership::Granted(holding(form.holding)?),
        2 => Ownership::Active(holding(form.holding)?),
        3 => Ownership::Releasing(holding(form.holding)?, cause_from(form.relinquish_cause)?),
        4 => Ownership::Orphaned(holding(form.holding)?),
        _ => return Err(missing("ownership")),
    };
    Ok(Resource {
        id: resource_from(&form.id)?,
        spec: resource_spec_from(form.spec)?,
        generation: Generation(form.generation),
        ownership,
        last_token: token_from(form.last_token)?,
        evidence: form.evidence.map(evidence).transpose()?,
        move_to: form.move_to.map(NodeId),
        deleting: form.deleting,
        trouble: form.trouble.map(trouble).transpose()?,
    })
}

fn order(form: pb::FenceOrder) -> Decoded<FenceOrder> {
    let level = command_from::level(form.level)?;
    let phase = match form.phase {
        1 => OrderPhase::Intended,
        2 => OrderPhase::Held(hold_from(form.phase_code)?),
        3 => OrderPhase::Running {
            attempt: form.running_attempt,
            executor: NodeId(form.executor),
            level,
            deadline: Duration::from_nanos(form.deadline_ns),
        },
        4 => OrderPhase::Waiting {
            last: verdict_from(form.phase_code)?,
            level,
        },
        5 => OrderPhase::Confirmed,
        6 => OrderPhase::Cancelled(form.cancelled_why),
        _ => return Err(missing("order phase")),
    };
    Ok(FenceOrder {
        id: OrderId(form.id),
        node: NodeId(form.node),
        incarnation: Incarnation(form.incarnation),
        action: action_from(form.action)?,
        cause: fence_cause_from(form.cause)?,
        phase,
        attempts: form.attempts,
        detail: form.detail,
        since_unix_ms: form.since_unix_ms,
        level,
        superseded: form.superseded.into_iter().map(superseded).collect(),
    })
}

fn superseded(form: pb::SupersededTry) -> Superseded {
    Superseded {
        attempt: form.attempt,
        executor: NodeId(form.executor),
        deadline: Duration::from_nanos(form.deadline_ns),
    }
}

fn request(form: pb::RememberedRequest) -> Decoded<RememberedRequest> {
    Ok(RememberedRequest {
        id: RequestId(array(&form.id, "request")?),
        command: command_from::command(required(form.command, "command")?)?,
        outcome: outcome(required(form.outcome, "outcome")?)?,
    })
}

pub(super) fn outcome(form: pb::Outcome) -> Decoded<Outcome> {
    use pb::outcome::Outcome as Form;
    Ok(match required(form.outcome, "outcome")? {
        Form::Done(_) => Outcome::Done,
        Form::Registered(node) => Outcome::Registered(NodeId(node)),
        Form::Admitted(incarnation) => Outcome::Admitted(Incarnation(incarnation)),
        Form::Granted(token) => Outcome::Granted(token_from(Some(token))?),
        Form::Ordered(order) => Outcome::Ordered(OrderId(order)),
        Form::Written(generation) => Outcome::Written(Generation(generation)),
        Form::Refused(refusal) => Outcome::Refused(refused(refusal)?),
    })
}

fn refused(form: pb::Refusal) -> Decoded<Refusal> {
    let kind = match form.kind {
        1 => RefusalKind::Stale,
        2 => RefusalKind::NotFound,
        3 => RefusalKind::Exists,
        4 => RefusalKind::Invalid,
        5 => RefusalKind::Unsafe,
        6 => RefusalKind::Denied,
        _ => return Err(missing("refusal kind")),
    };
    Ok(Refusal {
        kind,
        reason: form.reason,
        message: form.message,
        fix: form.fix,
    })
}

fn event(form: pb::Event) -> Event {
    Event {
        index: LogIndex(form.index),
        stamp_unix_ms: form.stamp_unix_ms,
        severity: if form.warning {
            Severity::Warning
        } else {
            Severity::Normal
        },
        reason: form.reason,
        subject: form.subject,
        message: form.message,
    }
}
