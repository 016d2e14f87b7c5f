//! Which nodes beat and cannot be told anything, so that they are granted nothing new. Only the leader knows.

use super::{Lines, Seen, Subject};
use crate::state::{ClusterState, Node, Ownership, Session};

/// Names each node concerned that has a session and no stream.
pub(super) fn explain(state: &ClusterState, seen: &Seen, subject: &Subject, lines: &mut Lines) {
    let Some(streams) = &seen.streams else {
        return;
    };
    let is_deaf =
        |node: &&Node| matches!(node.session, Session::Open { .. }) && !streams.contains(&node.id);
    for node in concerned(state, subject).into_iter().filter(is_deaf) {
        let name = &node.name;
        lines.rule(format!(
            "{name} beats, but has no stream to the leader: it cannot be told anything and is granted nothing new"
        ));
        lines.remedy(format!(
            "on {name}: journalctl -u haft-agent; can it reach the leader's API port, and does its certificate pass?"
        ));
    }
}

/// Whom it concerns whether a node can be told something.
fn concerned<'a>(state: &'a ClusterState, subject: &Subject) -> Vec<&'a Node> {
    match subject {
        Subject::Node(name) => state.node_named(name).into_iter().collect(),
        Subject::Resource(id) => {
            let Some(resource) = state.resources.get(id) else {
                return Vec::new();
            };
            match &resource.ownership {
                Ownership::Unowned => state.nodes.values().collect(),
                Ownership::Granted(holding)
                | Ownership::Active(holding)
                | Ownership::Releasing(holding, _) => [Some(holding.node), resource.move_to]
                    .into_iter()
                    .flatten()
                    .filter_map(|id| state.nodes.get(&id))
                    .collect(),
                Ownership::Orphaned(_) => Vec::new(),
            }
        }
        Subject::Order(_) | Subject::Device(_) | Subject::Topology(_) => Vec::new(),
    }
}
