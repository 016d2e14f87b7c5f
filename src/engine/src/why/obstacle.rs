//! What stands in the way of addresses on nodes, and who else claims one.

use super::{Lines, name_of};
use crate::machine::Obstacle;
use crate::state::{ClusterState, Node, Resource};

/// Most resources named for one node; the others are counted.
const NAMED_MAX: usize = 8;

/// What stands in the way of one resource, on every node; and its rival.
pub(super) fn explain(state: &ClusterState, resource: &Resource, lines: &mut Lines) {
    let owner = resource.ownership.holding().map(|holding| holding.node);
    for (node, obstacle) in state.obstacles.get(&resource.id).into_iter().flatten() {
        let name = name_of(state, *node);
        let words = obstacle.words(&resource.spec);
        match obstacle {
            Obstacle::Foreign(_) if owner == Some(*node) => {
                lines.evidence(format!("{name}, its owner, has a second copy: {words}"));
                lines.rule(format!(
                    "{name} keeps both behind its guard: the copy answers only while {name} owns the address"
                ));
            }
            Obstacle::Foreign(_) => {
                lines.evidence(format!("{name}: {words}; it may answer beside the owner"));
                lines.rule(format!("{name} is not given it while that is so"));
            }
            Obstacle::NoInterface
            | Obstacle::NoCarrier
            | Obstacle::Refused(_)
            | Obstacle::Ungated(_) => {
                lines.rule(format!("{name} cannot carry it: {words}"));
            }
        }
        lines.remedy(format!("on {name}: {}", obstacle.remedy(&resource.spec)));
    }
    if let Some(rival) = state.rivals.get(&resource.id) {
        lines.evidence(format!(
            "{} hears another machine claim the address: {}",
            name_of(state, rival.by),
            rival.claim
        ));
        lines.remedy("find the machine with that hardware address and take the address from it");
    }
}

/// What one node cannot carry.
pub(super) fn on_node(state: &ClusterState, node: &Node, lines: &mut Lines) {
    let found: Vec<(&Resource, &Obstacle)> = state
        .obstacles
        .iter()
        .filter_map(|(id, nodes)| Some((state.resources.get(id)?, nodes.get(&node.id)?)))
        .collect();
    for (resource, obstacle) in found.iter().take(NAMED_MAX) {
        let (id, words) = (&resource.id, obstacle.words(&resource.spec));
        let holding = resource.ownership.holding();
        match obstacle {
            Obstacle::Foreign(_) if holding.is_some_and(|holding| holding.node == node.id) => {
                lines.evidence(format!(
                    "it holds {id} and has a second copy of it: {words}"
                ));
                lines.rule(format!(
                    "it keeps {id}: its guard lets the copy answer only while it owns the address"
                ));
            }
            Obstacle::Foreign(_) => lines.rule(format!("it is not given {id}: {words}")),
            Obstacle::NoInterface
            | Obstacle::NoCarrier
            | Obstacle::Refused(_)
            | Obstacle::Ungated(_) => {
                lines.rule(format!("it cannot carry {id}: {words}"));
            }
        }
    }
    if found.len() > NAMED_MAX {
        lines.rule(format!(
            "the same or the like stands in the way of {} more",
            found.len() - NAMED_MAX
        ));
    }
}
