//! Placement: which node each resource should go to, and which owner should let go.
//!
//! A resource stays where it is unless its spec, a move, a drain or `failback: auto` says otherwise. A new
//! owner is chosen among eligible nodes by preference, then fewest holdings, then name; and every node that
//! is not eligible has a reason, which `why` prints. Nothing here proves that an old owner has stopped: only
//! `Unowned` resources are granted, and `apply` makes them so.

use super::draft::Draft;
use super::streams::{Reach, reach};
use super::{View, Wake};
use crate::clock::{Moment, lengthened};
use crate::command::{Command, RelinquishCause};
use crate::evidence;
use crate::ids::{NodeId, NodeName, ResourceId, Token};
use crate::levels::{awaits_unfencing, is_isolated};
use crate::plant::{self, Bug};
use crate::spec::{Failback, Isolation, ResourceSpec, Scheduling, Unfenced};
use crate::state::{ClusterState, Holding, Node, Ownership, Resource, Session};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// After a node has handed a resource back unasked, it is not granted that resource for so long at first;
/// doubled each time, up to [`AVOID_MAX`].
const AVOID_MIN: Duration = Duration::from_secs(1);
/// Longest avoidance: a node that has been repaired is tried again within this.
const AVOID_MAX: Duration = Duration::from_secs(60);
/// A better-preferred node must have been online for so long before `failback: auto` moves anything.
const FAILBACK_STABLE: Duration = Duration::from_secs(5);
/// For so long after a leader's start a resource that was never granted waits for its first choice.
const FIRST_CHOICE_PATIENCE: Duration = Duration::from_secs(1);

/// Why a node is not granted a resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ineligible {
    /// It has never joined, is closing, or is lost.
    NoSession,
    /// The administrator grants it nothing new.
    Cordoned,
    /// The administrator drains it.
    Standby,
    /// It was fenced too often.
    Quarantined,
    /// The resource's isolation is `stonith` and no device covers the node.
    NoFenceDevice,
    /// The ports of its storage have not been opened to its present life.
    NotUnfenced,
    /// It cannot carry the address, or somebody else has put it there: the state's obstacles say what.
    Obstructed,
}

/// Whether `node` may be granted `resource`, as far as the replicated state says.
pub fn eligible(state: &ClusterState, resource: &Resource, node: &Node) -> Result<(), Ineligible> {
    match node.session {
        Session::Open { .. } => {}
        Session::Never | Session::Closing { .. } | Session::Ended { .. } => {
            return Err(Ineligible::NoSession);
        }
    }
    if node.quarantined {
        return Err(Ineligible::Quarantined);
    }
    if awaits_unfencing(state, node) {
        return Err(Ineligible::NotUnfenced);
    }
    match node.spec.scheduling {
        Scheduling::Open => {}
        Scheduling::Cordoned => return Err(Ineligible::Cordoned),
        Scheduling::Standby => return Err(Ineligible::Standby),
    }
    let ResourceSpec::VirtualIp(vip) = &resource.spec;
    let needs_device = match (vip.isolation, vip.unfenced) {
        (Isolation::Stonith, Unfenced::Refused) => true,
        (Isolation::Stonith, Unfenced::Allowed) => false,
        (Isolation::Lease | Isolation::Watchdog, Unfenced::Refused | Unfenced::Allowed) => false,
    };
    if needs_device && !is_covered(state, &node.name) {
        return Err(Ineligible::NoFenceDevice);
    }
    if state.obstacle(&resource.id, node.id).is_some() && !plant::is(Bug::AdoptForeign) {
        return Err(Ineligible::Obstructed);
    }
    Ok(())
}

/// Whether any device isolates the node of this name.
pub fn is_covered(state: &ClusterState, name: &NodeName) -> bool {
    is_isolated(&state.devices, &state.topologies, name)
}

/// Place of a node in the preference list; unnamed nodes come last, together.
fn rank(spec: &ResourceSpec, name: &NodeName) -> usize {
    let preference = spec.preference();
    preference
        .iter()
        .position(|preferred| preferred == name)
        .unwrap_or(preference.len())
}

fn holdings(state: &ClusterState, node: NodeId) -> usize {
    state
        .resources
        .values()
        .filter(|resource| {
            resource
                .ownership
                .holding()
                .is_some_and(|holding| holding.node == node)
        })
        .count()
}

/// When a resource may be tried again on a node that handed it back.
#[derive(Clone, Copy, Debug)]
struct Avoid {
    until: Moment,
    span: Duration,
}

/// Placement's memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Placement {
    /// When each orphan was first seen; a new leader starts anew.
    orphans: BTreeMap<ResourceId, (Token, Moment)>,
    avoided: BTreeMap<(ResourceId, NodeId), Avoid>,
    /// When something was last seen to stand in the way of a resource on a node.
    obstructed: BTreeMap<(ResourceId, NodeId), Moment>,
}

impl Placement {
    /// An owner has let go; if nobody asked it to, it is not the next owner for a while.
    pub(super) fn note_release(&mut self, view: &View<'_>, id: &ResourceId) {
        let Some(resource) = view.state.resources.get(id) else {
            return;
        };
        let node = match &resource.ownership {
            Ownership::Granted(holding) | Ownership::Active(holding) => holding.node,
            Ownership::Unowned | Ownership::Releasing(..) | Ownership::Orphaned(_) => return,
        };
        self.avoid(view, id, node);
    }

    /// This node could not, or did not, act as its owner: others come first for a while.
    pub(super) fn avoid(&mut self, view: &View<'_>, id: &ResourceId, node: NodeId) {
        let earlier = self.avoided.get(&(id.clone(), node));
        // Trouble that returns soon after the last avoidance ended counts as the same trouble.
        let span = match earlier {
            Some(avoid) if view.now < avoid.until + avoid.span * 2 => {
                (avoid.span * 2).min(AVOID_MAX)
            }
            Some(_) | None => AVOID_MIN,
        };
        let until = view.now + span;
        self.avoided
            .insert((id.clone(), node), Avoid { until, span });
    }

    /// Proposes lapses, relinquishments and grants.
    pub(super) fn plan(&mut self, view: &View<'_>, draft: &mut Draft<'_>, wake: &mut Wake) {
        self.forget(view);
        self.lapse(view, draft, wake);
        let ids: Vec<ResourceId> = draft.state().resources.keys().cloned().collect();
        for id in ids {
            let Some(resource) = draft.state().resources.get(&id).cloned() else {
                continue;
            };
            match &resource.ownership {
                Ownership::Unowned => self.grant(view, draft, &resource, wake),
                Ownership::Orphaned(_) if plant::is(Bug::SkipEvidenceCheck) => {
                    self.grant(view, draft, &resource, wake);
                }
                Ownership::Granted(holding) | Ownership::Active(holding) => {
                    if view.knows(holding.token.index.0)
                        && let Some(cause) = self.unsettled(view, draft, &resource, holding, wake)
                    {
                        draft.propose(Command::Relinquish {
                            resource: id,
                            token: holding.token,
                            cause,
                        });
                    }
                }
                Ownership::Releasing(..) | Ownership::Orphaned(_) => {}
            }
        }
    }

    fn forget(&mut self, view: &View<'_>) {
        for (id, nodes) in &view.state.obstacles {
            for node in nodes.keys() {
                let key = (id.clone(), *node);
                // What it was handed back for is known, and so will be its end.
                self.avoided.remove(&key);
                self.obstructed.insert(key, view.now);
            }
        }
        self.obstructed
            .retain(|_, seen| view.now < *seen + FAILBACK_STABLE);
        self.avoided.retain(|(id, _), avoid| {
            view.state.resources.contains_key(id) && view.now < avoid.until + avoid.span * 2
        });
        self.orphans
            .retain(|id, (token, _)| match view.state.resources.get(id) {
                Some(resource) => match &resource.ownership {
                    Ownership::Orphaned(holding) => holding.token == *token,
                    Ownership::Unowned
                    | Ownership::Granted(_)
                    | Ownership::Active(_)
                    | Ownership::Releasing(..) => false,
                },
                None => false,
            });
    }

    /// Orphans that open by the passing of time, on this leader's clock, from the moment it saw the end of the
    /// session applied: under `lease` with a guard that was not attested, the address's own lifetime; under
    /// `watchdog`, what a reset may take.
    fn lapse(&mut self, view: &View<'_>, draft: &mut Draft<'_>, wake: &mut Wake) {
        for (id, resource) in &view.state.resources {
            let Ownership::Orphaned(holding) = &resource.ownership else {
                continue;
            };
            let isolation = evidence::isolation_in_force(resource, holding);
            let needed = match isolation {
                Isolation::Lease => evidence::lapse_wait(holding),
                Isolation::Watchdog => evidence::watchdog_wait(holding),
                Isolation::Stonith => continue,
            };
            let (_, seen) = *self
                .orphans
                .entry(id.clone())
                .or_insert((holding.token, view.now));
            let waited = view.now.since(seen);
            if waited < needed {
                wake.at(seen + needed);
                continue;
            }
            let (resource, token) = (id.clone(), holding.token);
            draft.propose(match isolation {
                Isolation::Watchdog => Command::WatchdogLapsed {
                    resource,
                    token,
                    waited,
                },
                Isolation::Lease | Isolation::Stonith => Command::LifetimeLapsed {
                    resource,
                    token,
                    waited,
                },
            });
        }
    }

    fn grant(&self, view: &View<'_>, draft: &mut Draft<'_>, resource: &Resource, wake: &mut Wake) {
        if resource.deleting || self.awaits_first_choice(view, draft.state(), resource, wake) {
            return;
        }
        let Some((node, incarnation)) = self.choose(view, draft.state(), resource, wake) else {
            return;
        };
        draft.propose(Command::Grant {
            resource: resource.id.clone(),
            node,
            incarnation,
            previous: resource.last_token,
            generation: resource.generation,
        });
    }

    /// While a cluster comes up its first choice may be a moment late; stickiness would then keep the
    /// resource away from it for good.
    fn awaits_first_choice(
        &self,
        view: &View<'_>,
        state: &ClusterState,
        resource: &Resource,
        wake: &mut Wake,
    ) -> bool {
        let until = view.started + lengthened(FIRST_CHOICE_PATIENCE);
        if resource.last_token != Token::default() || view.now >= until {
            return false;
        }
        let first = resource.spec.preference().first();
        let absent = first
            .and_then(|name| state.node_named(name))
            .is_some_and(|node| eligible(state, resource, node) == Err(Ineligible::NoSession));
        if absent {
            wake.at(until);
        }
        absent
    }

    /// The best eligible node, and its life.
    fn choose(
        &self,
        view: &View<'_>,
        state: &ClusterState,
        resource: &Resource,
        wake: &mut Wake,
    ) -> Option<(NodeId, crate::ids::Incarnation)> {
        let candidates: Vec<&Node> = state
            .nodes
            .values()
            .filter(|node| eligible(state, resource, node).is_ok())
            .filter(|node| self.is_ready(view, resource, node.id, wake))
            .collect();
        let best = candidates.into_iter().min_by_key(|node| {
            let wanted = resource.move_to == Some(node.id);
            (
                Reverse(wanted),
                // Held by a majority, unheard by this coordinator: the last resort.
                view.is_suspect(node.id),
                rank(&resource.spec, &node.name),
                holdings(state, node.id),
                node.name.clone(),
            )
        })?;
        match best.session {
            Session::Open { incarnation } => Some((best.id, incarnation)),
            Session::Never | Session::Closing { .. } | Session::Ended { .. } => None,
        }
    }

    /// Whether a node that is eligible by the state can be granted right now.
    fn is_ready(
        &self,
        view: &View<'_>,
        resource: &Resource,
        node: NodeId,
        wake: &mut Wake,
    ) -> bool {
        if reach(view, node, wake) == Reach::Deaf && !plant::is(Bug::GrantToDeaf) {
            return false;
        }
        let silent = view.silence(node);
        // About to be closed: a grant now would only have to be expired again.
        if view.is_suspect(node) && silent < view.judged(node).ttl {
            wake.at(view.now + view.judged(node).beat);
            return false;
        }
        if let Some(avoid) = self.avoided.get(&(resource.id.clone(), node))
            && view.now < avoid.until
        {
            wake.at(avoid.until);
            return false;
        }
        true
    }

    /// Why the present owner should let go, if it should.
    fn unsettled(
        &self,
        view: &View<'_>,
        draft: &Draft<'_>,
        resource: &Resource,
        holding: &Holding,
        wake: &mut Wake,
    ) -> Option<RelinquishCause> {
        let state = draft.state();
        let owner = state.nodes.get(&holding.node)?;
        match owner.session {
            Session::Open { .. } => {}
            Session::Never | Session::Closing { .. } | Session::Ended { .. } => return None,
        }
        if resource.deleting {
            return Some(RelinquishCause::Deleted);
        }
        if needs_restart(&holding.spec, &resource.spec) {
            return Some(RelinquishCause::SpecChanged);
        }
        match owner.spec.scheduling {
            Scheduling::Open | Scheduling::Cordoned => {}
            Scheduling::Standby => return Some(RelinquishCause::Drained),
        }
        if let Some(target) = resource.move_to.filter(|target| *target != holding.node) {
            let node = state.nodes.get(&target)?;
            let can = eligible(state, resource, node).is_ok()
                && self.is_ready(view, resource, target, wake);
            return can.then_some(RelinquishCause::Moved);
        }
        match resource.spec.failback() {
            Failback::Never => None,
            Failback::Auto => self
                .better_choice(view, state, resource, owner, wake)
                .then_some(RelinquishCause::Failback),
        }
    }

    /// Whether a better-preferred node has been back for long enough.
    fn better_choice(
        &self,
        view: &View<'_>,
        state: &ClusterState,
        resource: &Resource,
        owner: &Node,
        wake: &mut Wake,
    ) -> bool {
        let held_at = rank(&resource.spec, &owner.name);
        state.nodes.values().any(|node| {
            let better = rank(&resource.spec, &node.name) < held_at
                && eligible(state, resource, node).is_ok()
                && self.is_ready(view, resource, node.id, wake);
            let key = (resource.id.clone(), node.id);
            let able_for = self.obstructed.get(&key).map(|seen| view.now.since(*seen));
            let open_for = view.open_for.get(&node.id).copied().unwrap_or_default();
            let open_for = open_for.min(able_for.unwrap_or(FAILBACK_STABLE));
            if better && open_for < FAILBACK_STABLE {
                wake.at(view.now + (FAILBACK_STABLE - open_for));
            }
            better && open_for >= FAILBACK_STABLE
        })
    }
}

/// Whether a running owner cannot follow the change. Isolation, preference and failback need no restart:
/// the grant keeps its isolation until it ends (R3).
fn needs_restart(granted: &ResourceSpec, wanted: &ResourceSpec) -> bool {
    let ResourceSpec::VirtualIp(granted) = granted;
    let ResourceSpec::VirtualIp(wanted) = wanted;
    granted.address != wanted.address || granted.interface != wanted.interface
}
