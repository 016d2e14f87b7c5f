//! Why a resource is owned by whom it is, or by nobody.

use super::{Lines, name_of, obstacle, order, paths, told};
use crate::command::{Attestation, Difficulty, RelinquishCause};
use crate::evidence;
use crate::leader::placement::{Ineligible, eligible, is_covered};
use crate::spec::{Isolation, ResourceSpec, Unfenced};
use crate::state::{ClusterState, Evidence, Holding, Ownership, Resource, Session};

/// Explains one resource.
pub(super) fn explain(state: &ClusterState, resource: &Resource, lines: &mut Lines) {
    match &resource.ownership {
        Ownership::Unowned => unowned(state, resource, lines),
        Ownership::Granted(holding) => {
            owner(state, "granted to", holding, lines);
            opened_by(state, resource, lines);
            let node = name_of(state, holding.node);
            session_of(state, holding, lines);
            not_begun(holding, &node, lines);
            lines.waits(format!("the agent on {node} to report that it acts"));
            lines.rule(
                "if it says nothing for too long, it is withdrawn if it never began, else asked back",
            );
            lines.remedy(format!("on {node}: journalctl -u haft-agent"));
        }
        Ownership::Active(holding) => {
            owner(state, "active on", holding, lines);
            opened_by(state, resource, lines);
            isolation(state, resource, holding, lines);
            session_of(state, holding, lines);
        }
        Ownership::Releasing(holding, cause) => releasing(state, holding, *cause, lines),
        Ownership::Orphaned(holding) => orphaned(state, resource, holding, lines),
    }
    obstacle::explain(state, resource, lines);
    trouble(state, resource, lines);
    pending(state, resource, lines);
}

/// What the owner still needs before it may act.
fn not_begun(holding: &Holding, node: &str, lines: &mut Lines) {
    if holding.may_have_acted() {
        return;
    }
    match holding.isolation {
        Isolation::Watchdog => {
            lines.rule("isolation watchdog: nobody acts before its armed watchdog is in the log");
            lines.waits(format!("the agent on {node} to arm its watchdog"));
        }
        Isolation::Stonith => {
            lines.rule("isolation stonith: nobody acts before the log says that it begins");
            lines.waits(format!("the agent on {node} to ask for that"));
        }
        Isolation::Lease => {}
    }
}

fn owner(state: &ClusterState, verb: &str, holding: &Holding, lines: &mut Lines) {
    lines.state(format!(
        "{verb} {} (incarnation {}) under token {}",
        name_of(state, holding.node),
        holding.incarnation,
        holding.token
    ));
}

fn opened_by(state: &ClusterState, resource: &Resource, lines: &mut Lines) {
    match &resource.evidence {
        Some(evidence) => {
            lines.evidence(told(state, evidence));
            contradicted(state, evidence, lines);
        }
        None => lines.evidence("it had no owner before"),
    }
}

/// Both machines, where the one before has answered since it was proven off.
fn contradicted(state: &ClusterState, evidence: &Evidence, lines: &mut Lines) {
    let before = state.nodes.get(&evidence.node);
    let witness = before
        .filter(|node| node.newest() == evidence.incarnation)
        .and_then(|node| Some((node, node.witnessed?)));
    let Some((node, witness)) = witness else {
        return;
    };
    lines.evidence(format!(
        "{} was proven off, and its {} has answered {} since: both may own it",
        node.name,
        witness.speaker,
        name_of(state, witness.by)
    ));
    lines.remedy(format!("switch {} off by hand, now", node.name));
}

fn isolation(state: &ClusterState, resource: &Resource, holding: &Holding, lines: &mut Lines) {
    match holding.isolation {
        Isolation::Lease => lines.rule(format!(
            "isolation lease: if the owner falls silent, the end of its lease is enough{}",
            match holding.guard {
                Attestation::Intact => ", since its kernel guard is attested intact",
                Attestation::Watched =>
                    " once twice the address's own lifetime has passed, since nobody looks after its \
                     kernel guard when its agent is dead",
                Attestation::Broken | Attestation::Unknown =>
                    " once twice the address's own lifetime has passed, since its kernel guard is not \
                     attested intact",
            }
        )),
        Isolation::Watchdog => lines.rule(format!(
            "isolation watchdog: if the owner falls silent, its watchdog resets it ({})",
            armed(holding)
        )),
        Isolation::Stonith => {
            lines.rule(
                "isolation stonith: if the owner falls silent, it is fenced before anybody else acts",
            );
            uncovered(state, resource, holding, lines);
            isolating(state, holding, lines);
        }
    }
    if resource.spec.isolation() != holding.isolation {
        lines.rule("the spec's isolation has been edited; it applies from the next grant");
    }
}

fn uncovered(state: &ClusterState, resource: &Resource, holding: &Holding, lines: &mut Lines) {
    let Some(node) = state.nodes.get(&holding.node) else {
        return;
    };
    if is_covered(state, &node.name) {
        return;
    }
    let ResourceSpec::VirtualIp(vip) = &resource.spec;
    let allowed = match vip.unfenced {
        Unfenced::Allowed => " (allowUnfenced: true)",
        Unfenced::Refused => "",
    };
    lines.rule(format!(
        "no fence device covers {}{allowed}: if it falls silent, a human must confirm that it is off",
        node.name
    ));
    lines.remedy(format!("apply a FenceDevice that targets {}", node.name));
}

/// What is known of the devices that would isolate the owner.
fn isolating(state: &ClusterState, holding: &Holding, lines: &mut Lines) {
    if let Some(node) = state.nodes.get(&holding.node) {
        paths::explain(state, &node.name, lines);
    }
}

fn session_of(state: &ClusterState, holding: &Holding, lines: &mut Lines) {
    let Some(node) = state.nodes.get(&holding.node) else {
        return;
    };
    match node.session {
        Session::Closing { .. } => {
            lines.waits(format!(
                "a majority of coordinators to state how long {} has been silent",
                node.name
            ));
        }
        Session::Never | Session::Open { .. } | Session::Ended { .. } => {}
    }
}

fn releasing(state: &ClusterState, holding: &Holding, cause: RelinquishCause, lines: &mut Lines) {
    owner(state, "being released by", holding, lines);
    lines.rule(match cause {
        RelinquishCause::Moved => "an administrator moves it",
        RelinquishCause::Drained => "its node is in standby",
        RelinquishCause::SpecChanged => "its spec changed in a way that the owner cannot follow",
        RelinquishCause::Failback => "a better-preferred node is back and failback is auto",
        RelinquishCause::Deleted => "it is being deleted",
        RelinquishCause::Overdue => "its owner has said nothing of its start for too long",
    });
    session_of(state, holding, lines);
    lines.waits(format!(
        "{} to say that it has stopped, or proof that it has",
        name_of(state, holding.node)
    ));
    lines.rule(if holding.may_have_acted() {
        "if it says nothing for too long it counts as lost, and evidence decides"
    } else {
        "it never began: if it says nothing for too long the grant is withdrawn"
    });
}

fn orphaned(state: &ClusterState, resource: &Resource, holding: &Holding, lines: &mut Lines) {
    owner(
        state,
        "orphaned: nobody may act; last held by",
        holding,
        lines,
    );
    lines.evidence(format!(
        "the session of {} has ended; nothing proves yet that it has stopped",
        name_of(state, holding.node)
    ));
    match evidence::isolation_in_force(resource, holding) {
        Isolation::Lease if state.foreign(&resource.id, holding.node).is_some() => {
            lines.rule(
                "isolation lease without an attested guard: the address's own lifetime proves nothing, \
                 since somebody else has put it there without one",
            );
            let node = name_of(state, holding.node);
            lines.remedy(format!(
                "once you have made sure that {node} is off: haftctl confirm-off {node} --reason '...'"
            ));
        }
        Isolation::Lease => {
            lines.rule(
                "isolation lease without an attested guard: twice the address's own lifetime is waited out",
            );
            lines.waits(format!(
                "{} ms on the leader's clock since the session ended",
                evidence::lapse_wait(holding).as_millis()
            ));
        }
        Isolation::Watchdog => {
            lines.rule(format!(
                "isolation watchdog, stored in the grant: {}",
                armed(holding)
            ));
            lines.waits(format!(
                "{} ms on the leader's clock since the session ended",
                evidence::watchdog_wait(holding).as_millis()
            ));
        }
        Isolation::Stonith => {
            fenced_first(state, holding, lines);
            isolating(state, holding, lines);
        }
    }
}

fn armed(holding: &Holding) -> String {
    match holding.watchdog {
        Some(period) => format!("armed with a period of {} ms", period.as_millis()),
        None => "never armed, so the owner has never acted".to_owned(),
    }
}

/// What the owner said that it cannot do.
fn trouble(state: &ClusterState, resource: &Resource, lines: &mut Lines) {
    let Some(trouble) = &resource.trouble else {
        return;
    };
    let node = name_of(state, trouble.node);
    let why = &trouble.why;
    match trouble.difficulty {
        Difficulty::Start => lines.evidence(format!("{node} could not act: {why}")),
        Difficulty::Stop => {
            lines.evidence(format!("{node} cannot prove that it has stopped: {why}"));
            match resource
                .ownership
                .holding()
                .map(|holding| holding.isolation)
            {
                Some(Isolation::Stonith) => {
                    lines.rule(format!(
                        "what is not proven stopped counts as running: {node} is fenced"
                    ));
                    if let Some(open) = state
                        .orders
                        .values()
                        .find(|order| order.node == trouble.node && order.phase.is_open())
                    {
                        lines.waits(format!("fence order {} against {node}", open.id));
                        order::progress(state, open, lines);
                    }
                }
                Some(Isolation::Watchdog) => {
                    lines.rule(format!("{node} pets its watchdog no more and is reset"))
                }
                Some(Isolation::Lease) => {
                    lines.rule(format!("its kernel guard on {node} must lapse first"))
                }
                None => {}
            }
            lines.remedy(format!("on {node}: journalctl -u haft-agent"));
        }
    }
}

fn fenced_first(state: &ClusterState, holding: &Holding, lines: &mut Lines) {
    let node = name_of(state, holding.node);
    lines.rule(format!(
        "isolation stonith, stored in the grant: {node} must be proven isolated first"
    ));
    match state.open_order(holding.node, holding.incarnation) {
        Some(open) => {
            lines.waits(format!("fence order {} against {node}", open.id));
            order::progress(state, open, lines);
        }
        None => lines.waits(format!("the leader to open a fence order against {node}")),
    }
    let boot = state.nodes.get(&holding.node).map(|node| node.boot);
    lines.remedy(format!(
        "once you have made sure that {node} is off: haftctl confirm-off {node} --incarnation {} --boot {} --reason '...'",
        holding.incarnation,
        boot.unwrap_or_default()
    ));
    lines.remedy(format!(
        "or let the agent of {node} look for itself, on the boot that it was lost on; a reboot proves nothing"
    ));
}

fn unowned(state: &ClusterState, resource: &Resource, lines: &mut Lines) {
    lines.state("nobody owns it");
    opened_by(state, resource, lines);
    let mut any = false;
    for node in state.nodes.values() {
        let name = &node.name;
        let (why, remedy) = match eligible(state, resource, node) {
            Ok(()) => {
                any = true;
                continue;
            }
            Err(Ineligible::NoSession) => {
                ("has no open session", format!("haftctl why node/{name}"))
            }
            Err(Ineligible::Cordoned) => (
                "is cordoned",
                format!("apply Node {name} with scheduling: open"),
            ),
            Err(Ineligible::Standby) => (
                "is in standby",
                format!("apply Node {name} with scheduling: open"),
            ),
            Err(Ineligible::Quarantined) => (
                "is quarantined after repeated fences",
                format!("find out why, then apply Node {name} with scheduling: open"),
            ),
            Err(Ineligible::NotUnfenced) => (
                "waits for the ports of its storage to be opened",
                format!("haftctl why node/{name}"),
            ),
            // Told with those of all nodes.
            Err(Ineligible::Obstructed) => continue,
            Err(Ineligible::NoFenceDevice) => (
                "has no fence device, which isolation stonith needs",
                format!("apply a FenceDevice that targets {name}"),
            ),
        };
        lines.rule(format!("{name} {why}"));
        lines.remedy(remedy);
    }
    if any {
        lines.waits("the leader to grant it to an eligible node");
    } else {
        lines.waits("an eligible node");
    }
}

fn pending(state: &ClusterState, resource: &Resource, lines: &mut Lines) {
    if resource.deleting {
        lines.rule("it is being deleted and keeps its address until nobody can be acting");
    }
    let Some(target) = resource.move_to.and_then(|target| state.nodes.get(&target)) else {
        return;
    };
    match eligible(state, resource, target) {
        Ok(()) => lines.waits(format!("its move to {}", target.name)),
        Err(_) => {
            lines.waits(format!("{} to take it, as asked for", target.name));
            lines.remedy(format!("haftctl why node/{}", target.name));
        }
    }
}
