//! What stands in the way of resources on nodes: set and cleared by the leader, from what agents report.
//!
//! Keeps what placement, grants and `why` go by. Opens nothing and moves nothing.

use super::{At, Outcome, Refusal, event};
use crate::ids::{NodeId, NodeName, ResourceId};
use crate::machine::{Claim, Foreign, Obstacle};
use crate::plant::{self, Bug};
use crate::spec::ResourceSpec;
use crate::state::{ClusterState, Holding, Node, Rival};
use std::collections::BTreeMap;

/// Most changes of one command, so that entries stay small; the leader brings the others next.
pub const CHANGES_MAX: usize = 256;
/// Resources named in one event; the others are counted.
const NAMED_MAX: usize = 3;

/// Sets or clears what stands in the way on one node.
pub(super) fn obstructed(
    state: &mut ClusterState,
    at: At,
    node: NodeId,
    changes: &[(ResourceId, Option<Obstacle>)],
) -> Result<Outcome, Refusal> {
    let Some(name) = state.nodes.get(&node).map(|node| node.name.clone()) else {
        return Err(Refusal::not_found(
            "NoSuchNode",
            format!("no node {node} is registered"),
        ));
    };
    if changes.len() > CHANGES_MAX {
        return Err(Refusal::invalid(
            "TooManyChanges",
            format!("more than {CHANGES_MAX} changes in one command"),
        ));
    }
    let mut told = Told::default();
    for (id, wanted) in changes {
        let Some(resource) = state.resources.get(id) else {
            continue;
        };
        let spec = resource.spec.clone();
        let holding = resource.ownership.holding();
        let whose = if holding.is_some_and(|holding| holding.node == node) {
            Whose::Owner
        } else {
            Whose::Other
        };
        let on = state.obstacles.entry(id.clone()).or_default();
        let before = match wanted {
            Some(obstacle) => on.insert(node, obstacle.clone()),
            None => on.remove(&node),
        };
        if before == *wanted {
            continue;
        }
        for (obstacle, change) in [(&before, Change::Gone), (wanted, Change::New)] {
            if let Some(obstacle) = obstacle {
                let words = obstacle.words(&spec);
                let kind = kind_of(obstacle, whose);
                told.note((change, kind, words), id);
            }
        }
    }
    state.obstacles.retain(|_, nodes| !nodes.is_empty());
    told.tell(state, at, &name);
    Ok(Outcome::Done)
}

/// Notes who claims an address of ours, as heard by one node, or that nobody does any more.
pub(super) fn rival_heard(
    state: &mut ClusterState,
    at: At,
    id: &ResourceId,
    node: NodeId,
    claim: Option<&Claim>,
) -> Result<Outcome, Refusal> {
    let name = state.nodes.get(&node).map(|node| node.name.clone());
    let resource = state.resources.get(id);
    let (Some(name), Some(resource)) = (name, resource) else {
        return Err(Refusal::not_found(
            "NoSuchObject",
            format!("there is no {id}, or no node {node}"),
        ));
    };
    let ResourceSpec::VirtualIp(vip) = &resource.spec;
    let address = vip.address;
    let known = state.rivals.get(id);
    let Some(claim) = claim else {
        if known.is_some_and(|known| known.by == node) {
            state.rivals.remove(id);
            let message = format!("{name} hears nobody else claim {address} any more");
            event::note(state, at, "RivalGone", id, message);
        }
        return Ok(Outcome::Done);
    };
    if known.is_some_and(|known| known.claim == *claim) {
        return Ok(Outcome::Done);
    }
    let rival = Rival {
        by: node,
        claim: claim.clone(),
        since_unix_ms: at.stamp_unix_ms,
    };
    state.rivals.insert(id.clone(), rival);
    let message = format!("{name} hears another machine claim {address}: {claim}");
    event::warn(state, at, "RivalHeard", id, message);
    Ok(Outcome::Done)
}

/// Refuses a grant to a node on which somebody else has put the address (R13): it would be adopted there, or
/// answer beside the next owner.
pub(super) fn require_free(
    state: &ClusterState,
    id: &ResourceId,
    node: &Node,
) -> Result<(), Refusal> {
    let (Some(found), Some(resource)) = (state.foreign(id, node.id), state.resources.get(id))
    else {
        return Ok(());
    };
    if plant::is(Bug::AdoptForeign) {
        return Ok(());
    }
    let obstacle = Obstacle::Foreign(found.clone());
    Err(Refusal::dangerous(
        "ForeignAddress",
        format!("{}: {}", node.name, obstacle.words(&resource.spec)),
    )
    .fix(format!(
        "on {}: {}",
        node.name,
        obstacle.remedy(&resource.spec)
    )))
}

/// Refuses a move to a node that cannot carry the resource.
pub(super) fn require_able(
    state: &ClusterState,
    id: &ResourceId,
    node: NodeId,
    name: &NodeName,
) -> Result<(), Refusal> {
    let (Some(obstacle), Some(resource)) = (state.obstacle(id, node), state.resources.get(id))
    else {
        return Ok(());
    };
    Err(Refusal::dangerous(
        "NodeCannotCarry",
        format!(
            "{name} cannot carry {id}: {}",
            obstacle.words(&resource.spec)
        ),
    )
    .fix(format!("on {name}: {}", obstacle.remedy(&resource.spec))))
}

/// Why waiting out a lifetime proves nothing: somebody else's copy has none.
pub(super) fn outlives(state: &ClusterState, node: NodeId, found: &Foreign) -> Refusal {
    let name = state
        .nodes
        .get(&node)
        .map_or_else(|| node.to_string(), |node| node.name.to_string());
    let Foreign { link, prefix } = found;
    Refusal::dangerous(
        "ForeignAddress",
        format!(
            "somebody else has put it on {link} of {name} (/{prefix}), where no lifetime ends it"
        ),
    )
    .fix(format!(
        "make sure that {name} is off: haftctl confirm-off {name} --reason '...'"
    ))
}

/// What a release has to say beside that it is one: a copy that somebody else made is still there, behind
/// the guard of the node that has released.
pub(super) fn silenced(state: &ClusterState, id: &ResourceId, holding: &Holding) -> String {
    let Some(found) = state.foreign(id, holding.node) else {
        return String::new();
    };
    let words = Obstacle::Foreign(found.clone()).words(&holding.spec);
    format!("; its node keeps the address silent, since {words}")
}

/// Forgets what is no longer there to stand in the way of.
pub(super) fn forget(state: &mut ClusterState) {
    let (resources, nodes) = (&state.resources, &state.nodes);
    state.obstacles.retain(|id, on| {
        on.retain(|node, _| nodes.contains_key(node));
        resources.contains_key(id) && !on.is_empty()
    });
    state
        .rivals
        .retain(|id, rival| resources.contains_key(id) && nodes.contains_key(&rival.by));
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Change {
    Gone,
    New,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// A copy where nothing is granted because of it.
    Foreign,
    /// A copy beside the owner's own.
    Beside,
    Link,
}

/// What the node is to the resource.
#[derive(Clone, Copy)]
enum Whose {
    Owner,
    Other,
}

fn kind_of(obstacle: &Obstacle, whose: Whose) -> Kind {
    match (obstacle, whose) {
        (Obstacle::Foreign(_), Whose::Owner) => Kind::Beside,
        (Obstacle::Foreign(_), Whose::Other) => Kind::Foreign,
        (
            Obstacle::NoInterface
            | Obstacle::NoCarrier
            | Obstacle::Refused(_)
            | Obstacle::Ungated(_),
            _,
        ) => Kind::Link,
    }
}

/// What happened, with the resources that it happened to: one event, however many they are.
#[derive(Default)]
struct Told(BTreeMap<(Change, Kind, String), Vec<ResourceId>>);

impl Told {
    fn note(&mut self, what: (Change, Kind, String), id: &ResourceId) {
        self.0.entry(what).or_default().push(id.clone());
    }

    fn tell(self, state: &mut ClusterState, at: At, node: &NodeName) {
        for ((change, kind, words), resources) in self.0 {
            let subject = match resources.as_slice() {
                [only] => only.to_string(),
                _ => format!("node/{node}"),
            };
            let list = listed(&resources);
            match (change, kind) {
                (Change::New, Kind::Foreign) => {
                    let message = format!("{node} is not given {list}: {words}");
                    event::warn(state, at, "ForeignAddress", subject, message);
                }
                (Change::New, Kind::Beside) => {
                    let message =
                        format!("{node} owns {list} and has a second copy of it: {words}");
                    event::warn(state, at, "ForeignAddress", subject, message);
                }
                (Change::Gone, Kind::Foreign | Kind::Beside) => {
                    let message = format!("no longer so on {node}, for {list}: {words}");
                    event::note(state, at, "ForeignAddressGone", subject, message);
                }
                (Change::New, Kind::Link) => {
                    let message = format!("{node} cannot carry {list}: {words}");
                    event::warn(state, at, "CannotCarry", subject, message);
                }
                (Change::Gone, Kind::Link) => {
                    let message = format!("no longer so on {node}, for {list}: {words}");
                    event::note(state, at, "ObstacleGone", subject, message);
                }
            }
        }
    }
}

fn listed(resources: &[ResourceId]) -> String {
    let named: Vec<String> = resources
        .iter()
        .take(NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    match resources.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
