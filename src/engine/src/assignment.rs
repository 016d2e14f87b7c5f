//! What the log says one incarnation should do: a projection of the state, sent whole to its agent.
//!
//! Decides nothing; grants and relinquishments are already in the state.

use crate::gate::GateKind;
use crate::ids::{Incarnation, NodeId};
use crate::keeper::{AssignedItem, Assignment, Want};
use crate::state::{ClusterState, Ownership};

/// Everything granted to this life of this node. An orphan is not in it: its holder's session is over.
pub fn assignment(state: &ClusterState, node: NodeId, incarnation: Incarnation) -> Assignment {
    let items = state.resources.values().filter_map(|resource| {
        let (holding, want) = match &resource.ownership {
            Ownership::Granted(holding) | Ownership::Active(holding) => (holding, Want::Hold),
            Ownership::Releasing(holding, _) => (holding, Want::Release),
            Ownership::Unowned | Ownership::Orphaned(_) => return None,
        };
        let ours = holding.node == node && holding.incarnation == incarnation;
        ours.then(|| AssignedItem {
            resource: resource.id.clone(),
            token: holding.token,
            spec: holding.spec.clone(),
            want,
            watchdog: holding.watchdog,
            progress: holding.progress,
        })
    });
    let row = state.nodes.get(&node);
    let known = row.and_then(|row| row.terms).map(|terms| terms.generation);
    let gate = row.map_or(GateKind::Timed, |row| row.place.gate);
    let newer = state.timing.filter(|now| known != Some(now.generation));
    Assignment {
        revision: state.applied,
        incarnation,
        items: items.collect(),
        timing: newer.map(|now| now.behind(gate)),
    }
}
