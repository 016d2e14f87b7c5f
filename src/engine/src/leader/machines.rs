//! What agents report of their kernels, until what follows from it is in the log.
//!
//! Compares the newest report of each node with every resource, and proposes what has changed: one command
//! for each node, not one for each address. What stands in the way is proposed at once; that it is gone only
//! if it stayed away since it was last seen to come and go, so that a link that flaps writes two entries in
//! [`STEADY`] and no more. A node that has not reported is taken to be able.

use super::draft::Draft;
use super::{View, Wake};
use crate::apply::OBSTACLE_CHANGES_MAX;
use crate::clock::Moment;
use crate::command::Command;
use crate::ids::{NodeId, ResourceId};
use crate::machine::{Machine, Obstacle};
use crate::state::ClusterState;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two clearings of one obstacle.
const STEADY: Duration = Duration::from_secs(2);

/// Whether a report starts a stream or follows on one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// The first of a stream: whatever came before, this is the node now.
    Begins,
    /// A later one.
    Goes,
}

/// The newest report of each node.
#[derive(Clone, Debug, Default)]
pub(super) struct Machines {
    reported: BTreeMap<NodeId, Machine>,
    /// When an obstacle was last proposed to be gone.
    cleared: BTreeMap<(NodeId, ResourceId), Moment>,
    /// Reports taken so far.
    version: u64,
    /// What the log agreed with when it was last compared.
    settled: Option<Seen>,
}

/// What a comparison depends on: if it has not changed, neither has the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    version: u64,
    resources: usize,
    nodes: usize,
    obstacles: usize,
    /// Each change of a spec raises one of them.
    generations: u64,
}

impl Machines {
    /// Takes a report, unless a later one was taken from the same stream.
    pub(super) fn on_report(&mut self, node: NodeId, machine: Machine, stream: Stream) {
        let late = self
            .reported
            .get(&node)
            .is_some_and(|known| known.taken_ns > machine.taken_ns);
        match stream {
            Stream::Goes if late => return,
            Stream::Goes | Stream::Begins => {}
        }
        let known = self.reported.insert(node, machine);
        let same = known.zip(self.reported.get(&node));
        if !same.is_some_and(|(known, machine)| known.says_like(machine)) {
            self.version += 1;
        }
    }

    /// Proposes what the log does not say yet.
    pub(super) fn plan(&mut self, view: &View<'_>, draft: &mut Draft<'_>, wake: &mut Wake) {
        let seen = self.seen(view.state);
        if self.settled == Some(seen) {
            return;
        }
        self.reported
            .retain(|node, _| view.state.nodes.contains_key(node));
        self.cleared.retain(|_, at| view.now < *at + STEADY);
        let mut settled = true;
        let nodes: Vec<NodeId> = self.reported.keys().copied().collect();
        for node in nodes {
            settled &= self.changes(node, view.state).is_empty();
            let all = self.changes(node, draft.state());
            // What one entry has no room for is not taken for said.
            let changes: Vec<_> = all
                .into_iter()
                .filter(|(id, wanted)| self.may_be_said(view, wake, node, id, wanted.as_ref()))
                .take(OBSTACLE_CHANGES_MAX)
                .collect();
            if !changes.is_empty() {
                draft.propose(Command::Obstructed { node, changes });
            }
        }
        self.settled = settled.then_some(seen);
    }

    fn seen(&self, state: &ClusterState) -> Seen {
        Seen {
            version: self.version,
            resources: state.resources.len(),
            nodes: state.nodes.len(),
            obstacles: state.obstacles.values().map(BTreeMap::len).sum(),
            generations: state
                .resources
                .values()
                .map(|resource| resource.generation.0)
                .fold(0, u64::wrapping_add),
        }
    }

    fn changes(&self, node: NodeId, state: &ClusterState) -> Vec<(ResourceId, Option<Obstacle>)> {
        let Some(machine) = self.reported.get(&node) else {
            return Vec::new();
        };
        state
            .resources
            .values()
            .filter_map(|resource| {
                let wanted = machine.obstacle(&resource.spec);
                let known = state.obstacle(&resource.id, node);
                (wanted.as_ref() != known).then(|| (resource.id.clone(), wanted))
            })
            .collect()
    }

    fn may_be_said(
        &mut self,
        view: &View<'_>,
        wake: &mut Wake,
        node: NodeId,
        id: &ResourceId,
        wanted: Option<&Obstacle>,
    ) -> bool {
        if wanted.is_some() {
            return true;
        }
        let key = (node, id.clone());
        if let Some(at) = self.cleared.get(&key)
            && view.now < *at + STEADY
        {
            wake.at(*at + STEADY);
            return false;
        }
        self.cleared.insert(key, view.now);
        true
    }
}
