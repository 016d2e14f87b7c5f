//! Why a node may own things, or may not.

use super::{Lines, obstacle, order, paths};
use crate::gate::GateKind;
use crate::levels::awaits_unfencing;
use crate::spec::Scheduling;
use crate::state::{ClusterState, Ending, Node, Session};

/// Explains one node.
pub(super) fn explain(state: &ClusterState, node: &Node, lines: &mut Lines) {
    let name = &node.name;
    match node.session {
        Session::Never => {
            lines.state("joining: no agent of it was ever admitted");
            lines.waits(format!("haft-agent on {name} to attach to the leader"));
            lines.remedy(format!("on {name}: systemctl status haft-agent"));
        }
        Session::Open { incarnation } => {
            lines.state(format!("online as incarnation {incarnation}"));
            lease(node, lines);
        }
        Session::Closing {
            incarnation,
            closing,
        } => {
            lines.state(format!("closing: incarnation {incarnation} is silent"));
            lines.rule(
                "its session ends once a majority has acknowledged nothing for its whole lease",
            );
            lines.waits(format!("the coordinators' answers to entry {closing}"));
        }
        Session::Ended {
            incarnation,
            ending: Ending::Expired,
        } => {
            lines.state(format!(
                "lost: the session of incarnation {incarnation} expired (boot {})",
                node.boot
            ));
            left_closed(node, lines);
            away(state, node, lines);
        }
        Session::Ended {
            incarnation,
            ending: Ending::Fenced,
        } => {
            lines.state(format!(
                "fenced: incarnation {incarnation} is proven isolated"
            ));
            away(state, node, lines);
        }
    }
    if let Some(witness) = &node.witnessed {
        lines.evidence(format!(
            "it was proven off, and its {} has answered {} since: what it held may be owned twice",
            witness.speaker,
            super::name_of(state, witness.by)
        ));
        lines.remedy(format!("switch {} off by hand, now", node.name));
    }
    flags(node, lines);
    if awaits_unfencing(state, node) {
        lines.rule("granted nothing before the ports of its storage are open (unfencing)");
    }
    obstacle::on_node(state, node, lines);
    paths::explain(state, &node.name, lines);
    holdings(state, node, lines);
    for open in state
        .orders
        .values()
        .filter(|order| order.node == node.id && order.phase.is_open())
    {
        lines.waits(format!("fence order {}", open.id));
        order::progress(state, open, lines);
    }
    let closed = state.orders.values();
    for order in closed.filter(|order| order.node == node.id && !order.phase.is_open()) {
        order::may_still_act(state, order, lines);
    }
}

/// How long it lives, and what ends it where no coordinator can.
fn lease(node: &Node, lines: &mut Lines) {
    lines.rule(format!(
        "its lease lives {} ms; what ends it on the node: {}",
        node.judged().ttl.as_millis(),
        node.place.gate.meaning()
    ));
}

/// A gate outlives its agent, and a machine may route for others what it closes.
fn left_closed(node: &Node, lines: &mut Lines) {
    match node.place.gate {
        GateKind::Timed => {}
        GateKind::Kernel => {
            lines.rule(
                "where the machine runs on without its agent, addresses that it had stay closed in its kernel: if it \
                 routes for others, it passes nothing on to their new owner",
            );
            lines.remedy(format!(
                "on {}, if haft-agent cannot be started: haft-agent dismantle",
                node.name
            ));
        }
    }
}

fn away(state: &ClusterState, node: &Node, lines: &mut Lines) {
    let name = &node.name;
    let fenced_now = state.orders.values().any(|order| {
        order.node == node.id && (order.phase.is_open() || !order.superseded.is_empty())
    });
    if fenced_now {
        lines.rule("it is admitted anew once the executor has answered or its deadline has passed");
    }
    lines.waits(format!("haft-agent on {name} to attach again"));
    lines.remedy(format!("on {name}: systemctl status haft-agent"));
}

fn flags(node: &Node, lines: &mut Lines) {
    let name = &node.name;
    match node.spec.scheduling {
        Scheduling::Open => {}
        Scheduling::Cordoned => {
            lines.rule("cordoned: it is granted nothing new");
            lines.remedy(format!("apply Node {name} with scheduling: open"));
        }
        Scheduling::Standby => {
            lines.rule("standby: it is granted nothing and what it holds moves away");
            lines.remedy(format!("apply Node {name} with scheduling: open"));
        }
    }
    if node.quarantined {
        lines.rule("quarantined: it was fenced too often within an hour and is granted nothing");
        lines.remedy(format!(
            "find out why, then apply Node {name} with scheduling: open"
        ));
    }
}

fn holdings(state: &ClusterState, node: &Node, lines: &mut Lines) {
    let held: Vec<String> = state
        .resources
        .values()
        .filter(|resource| {
            resource
                .ownership
                .holding()
                .is_some_and(|holding| holding.node == node.id)
        })
        .map(|resource| resource.id.to_string())
        .collect();
    if !held.is_empty() {
        lines.evidence(format!("it holds {}", held.join(", ")));
    }
}
