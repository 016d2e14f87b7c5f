//! Never stuck for no reason: once faults have stopped and every machine is up, every resource that
//! can run does, on exactly the machine that the log says; deletions end, orders close, and every voter acknowledges
//! every node: a cluster that lives by a bare majority has lost what it was built for.
//!
//! Seen to fail with: ForgetSealAcrossRestart (nobody can state an age any more), GrantToDeaf, WaitForMute,
//! KeepHandover, KeepTruncatedMembership, and before their fixes with two closings in one entry, with a fence attempt
//! whose executor was gone, and with a power on of a node that runs, which no device of its levels could carry out.
//! Some runs end with one machine that beats and can be told nothing (no stream): whatever it holds has to get away
//! from it all the same, what it is called for has to run elsewhere, and its own session is then not asked for.
//! Where pills are all that there is, and an agent that starts `clean` refuses to because of one that nobody obeyed,
//! somebody pulls the plug and says so (`errands`): no try against a machine that answers for itself succeeds.
//! A resource cannot run if every node is cordoned or in standby; that all are quarantined is no excuse.

use super::Violation;
use crate::clock::TrueTime;
use crate::machine::Machine;
use haft_engine::ids::NodeId;
use haft_engine::spec::{ResourceSpec, Scheduling};
use haft_engine::state::{ClusterState, Ownership, Session};
use std::time::Duration;

/// Name in reports.
pub(crate) const NAME: &str = "liveness";

/// Several beats, also of the slowest timing.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(3);

/// What is still missing, if anything.
pub(crate) fn missing<E>(
    now: TrueTime,
    state: &ClusterState,
    machines: &[Machine<E>],
    deaf: Option<NodeId>,
) -> Option<String> {
    let usable = state.nodes.values().any(|node| {
        Some(node.id) != deaf
            && node.spec.scheduling == Scheduling::Open
            && matches!(node.session, Session::Open { .. })
    });
    for resource in state.resources.values() {
        let id = &resource.id;
        if resource.deleting {
            return Some(format!("{id} is still being deleted"));
        }
        if !usable {
            continue;
        }
        let Ownership::Active(holding) = &resource.ownership else {
            return Some(format!("{id} is {:?}", resource.ownership));
        };
        if Some(holding.node) == deaf {
            return Some(format!(
                "{id} is kept by a machine that can be told nothing"
            ));
        }
        let ResourceSpec::VirtualIp(vip) = &holding.spec;
        let owner = machines.iter().find(|one| one.node == holding.node);
        let answers = owner.and_then(|one| one.answers(now, vip.address));
        if answers != Some(holding.token) {
            let node = holding.node;
            return Some(format!("node {node} does not answer for {id}"));
        }
    }
    let closed = state
        .nodes
        .values()
        .filter(|node| Some(node.id) != deaf)
        .find(|node| !matches!(node.session, Session::Open { .. }));
    if let Some(node) = closed {
        return Some(format!("node {} is {:?}", node.name, node.session));
    }
    if let Some(silent) = unacknowledged(now, state, machines, deaf) {
        return Some(silent);
    }
    let in_force = state.timing.map(|timing| timing.generation);
    let older = state
        .nodes
        .values()
        .find(|node| node.terms.map(|terms| terms.generation) != in_force);
    if let Some(node) = older {
        return Some(format!("node {} counts by an older timing", node.name));
    }
    let open = state.orders.values().find(|order| order.phase.is_open());
    open.map(|order| format!("order {} is {:?}", order.id, order.phase))
}

/// A voter that acknowledges some node no more, as the others do: the cluster lives, and bears one loss less.
fn unacknowledged<E>(
    now: TrueTime,
    state: &ClusterState,
    machines: &[Machine<E>],
    deaf: Option<NodeId>,
) -> Option<String> {
    let voters = state.membership.all();
    for machine in machines.iter().filter(|one| voters.contains(&one.node)) {
        let here = machine.clock.local(now);
        let coordinator = machine.coordinator.running.as_ref();
        for node in state.nodes.keys().filter(|node| Some(**node) != deaf) {
            let lately = coordinator
                .and_then(|coordinator| coordinator.acknowledged(*node))
                .is_some_and(|at| here.since(at) < ACKNOWLEDGED_WITHIN);
            if !lately {
                return Some(format!("{} acknowledges node {node} no more", machine.name));
            }
        }
    }
    None
}

/// The verdict when the bound has passed.
pub(crate) fn violation(now: TrueTime, missing: &str) -> Violation {
    Violation {
        invariant: NAME,
        at: now,
        seen: format!("long after the last fault, {missing}"),
    }
}
