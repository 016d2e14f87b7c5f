//! What a new life proves of the older ones of its node (R3b, R10).
//!
//! A reboot and a clean probe prove less than they seem to: a copy of the disk is a copy of every identity on it, and two
//! namespaces of one machine share its boot. Identities that cannot have been copied (a key in a TPM) are not known here,
//! so a reboot proves nothing of what was held under `stonith`.

use crate::apply::{Refusal, ownership};
use crate::command::Probe;
use crate::evidence;
use crate::ids::{BootId, ResourceId, ResourceKind};
use crate::place::{Place, agrees};
use crate::plant::{self, Bug};
use crate::state::{ClusterState, Evidence, Node, Proof, Session};

/// What an agent says when it asks to be admitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) boot: BootId,
    pub(super) place: Place,
    pub(super) probe: Probe,
}

/// The proof that the node's older lives have stopped; it suffices for all that they hold.
///
/// # Errors
/// When they may not have stopped, or nothing proves it.
pub(super) fn proof(state: &ClusterState, node: &Node, asked: &Asked) -> Result<Proof, Refusal> {
    let held = ownership::held_by(state, node.id);
    let same_boot = asked.boot == node.boot;
    let proof = match (node.session, asked.probe) {
        (Session::Never, Probe::Clean | Probe::Unclean) => Proof::ProbedClean,
        // The agent restarted under a session that may still live: it has removed everything itself.
        (Session::Open { .. } | Session::Closing { .. }, Probe::Clean) if same_boot => {
            require_same_namespace(node, asked)?;
            Proof::ProbedClean
        }
        (Session::Open { .. } | Session::Closing { .. }, Probe::Clean | Probe::Unclean) => {
            return Err(Refusal::dangerous(
                "SessionNotEnded",
                format!("the session of {} has not ended yet", node.name),
            )
            .fix("ask again; the leader ends the old session first"));
        }
        (Session::Ended { .. }, _) if same_boot => Proof::ProbedClean,
        (Session::Ended { .. }, Probe::Clean | Probe::Unclean) => {
            Proof::Rebooted { boot: asked.boot }
        }
    };
    if held.is_empty() {
        return Ok(proof);
    }
    if asked.probe == Probe::Unclean {
        return Err(Refusal::dangerous(
            "ProbeUnclean",
            format!(
                "{} could not release what its earlier incarnation held",
                node.name
            ),
        )
        .fix("reboot the node, or let it be fenced"));
    }
    require_same_machine(state, node, asked)?;
    match proof {
        Proof::ProbedClean => {
            require_same_namespace(node, asked)?;
            require_kernel_traces(node, &held)?;
        }
        _ => require_enough(state, node, &held, &proof)?,
    }
    Ok(proof)
}

/// Facts that differ tell a copy, or a disk in other hardware, from the machine that held something.
fn require_same_machine(state: &ClusterState, node: &Node, asked: &Asked) -> Result<(), Refusal> {
    let name = &node.name;
    if !agrees(node.place.machine, asked.place.machine) {
        return Err(Refusal::dangerous(
            "OtherMachine",
            format!("what calls itself {name} is not the machine that left something held"),
        )
        .fix(format!("haftctl why node/{name}")));
    }
    if node.boot_epoch != state.epoch {
        return Err(Refusal::dangerous(
            "BootOfOlderEpoch",
            format!("the last known boot of {name} was recorded under another epoch"),
        )
        .fix(format!("haftctl why node/{name}")));
    }
    Ok(())
}

/// Two namespaces of one machine share its boot id: what one finds clean says nothing of the other.
fn require_same_namespace(node: &Node, asked: &Asked) -> Result<(), Refusal> {
    // Everything owned so far leaves its traces in the network namespace, where a lock of the kernel's keeps a second
    // agent out, whatever mounts it has (they are others after each start of a sandboxed unit); mounts will need theirs.
    if plant::is(Bug::ProbeElsewhere) || agrees(node.place.network, asked.place.network) {
        return Ok(());
    }
    Err(Refusal::dangerous(
        "OtherNamespace",
        format!(
            "haft-agent of {} runs in another network namespace than the incarnation before it, and cannot have looked there",
            node.name
        ),
    )
    .fix("start haft-agent where it ran before, or reboot the node"))
}

/// A probe looks at the kernel: only what leaves its traces there can be found clean.
fn require_kernel_traces(node: &Node, held: &[ResourceId]) -> Result<(), Refusal> {
    let hidden = held.iter().find(|id| match id.kind {
        ResourceKind::VirtualIp => false,
    });
    match hidden {
        None => Ok(()),
        Some(id) => Err(Refusal::dangerous(
            "ProbeCannotTell",
            format!("no probe of {} shows whether {id} has stopped", node.name),
        )),
    }
}

/// Everything that is held opens, or nothing does.
fn require_enough(
    state: &ClusterState,
    node: &Node,
    held: &[ResourceId],
    proof: &Proof,
) -> Result<(), Refusal> {
    for id in held {
        let Some(resource) = state.resources.get(id) else {
            continue;
        };
        let Some(holding) = resource.ownership.holding() else {
            continue;
        };
        let evidence = Evidence {
            token: holding.token,
            node: holding.node,
            incarnation: holding.incarnation,
            entry: state.applied,
            proof: proof.clone(),
        };
        if evidence::suffices(resource, holding, &evidence).is_err() {
            let name = &node.name;
            return Err(Refusal::dangerous(
                "RebootProvesTooLittle",
                format!(
                    "{name} left {id}, and a reboot alone does not prove that it was this machine's"
                ),
            )
            .fix(format!(
                "let its fence order be confirmed: haftctl why node/{name}"
            )));
        }
    }
    Ok(())
}
