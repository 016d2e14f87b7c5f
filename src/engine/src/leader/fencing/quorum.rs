//! Whether enough voters stay up when a machine is switched off (R5: never fewer than quorum).
//!
//! Says nothing of whether the machine has to be switched off, nor how.

use crate::ids::NodeId;
use crate::leader::View;
use crate::leader::judge::Judge;
use crate::plant::{self, Bug};
use crate::state::{ClusterState, Session};
use std::collections::BTreeSet;

/// Voters that are known to be up: by Raft if it has said; else by their node's session or a statement.
pub(super) fn live_voters(view: &View<'_>, judge: &Judge) -> BTreeSet<NodeId> {
    let mut live = BTreeSet::from([view.own]);
    if let Some(peers) = view.peers {
        live.extend(peers);
        return live;
    }
    live.extend(judge.heard_from(view.now));
    let beating = view.state.nodes.values().filter(|node| match node.session {
        Session::Open { .. } => view.silence(node.id) < node.judged().closing_after,
        Session::Never | Session::Closing { .. } | Session::Ended { .. } => false,
    });
    live.extend(beating.map(|node| node.id));
    live
}

/// Whether a majority of the voters is live without `node`, and without those that other tries under way may switch
/// off at any moment: two orders that each spare the quorum would take it together, and then nobody could commit what
/// either has proved.
pub(super) fn survives(state: &ClusterState, live: &BTreeSet<NodeId>, node: NodeId) -> bool {
    let mut survivors = live.clone();
    survivors.remove(&node);
    if !plant::is(Bug::CountVictimsApart) {
        for other in state.being_switched_off() {
            survivors.remove(&other);
        }
    }
    state.membership.majority(&survivors)
}
