//! What each node's kernel was last reported to have, as far as this coordinator was told while it led.
//!
//! For the check of what an administrator applies; placement has the leader's own copy and the log. Holds one
//! report for each registered node, and none of another.

use haft_engine::ids::NodeId;
use haft_engine::machine::{Foreign, Machine};
use haft_engine::state::{ClusterState, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

/// The reports.
#[derive(Debug, Default)]
pub struct Sights(Mutex<BTreeMap<NodeId, Machine>>);

impl Sights {
    /// Takes a report, and forgets those of nodes that are not registered any more.
    pub fn note(&self, state: &ClusterState, node: NodeId, machine: Machine) {
        let mut known = self.lock();
        known.insert(node, machine);
        known.retain(|node, _| state.nodes.contains_key(node));
    }

    /// A registered node on which somebody has put this address, and where. Only of those that have a stream to this
    /// coordinator: what others said is old, such as from when it led before.
    pub fn foreign<'a>(
        &self,
        state: &'a ClusterState,
        attached: &BTreeSet<NodeId>,
        address: IpAddr,
    ) -> Option<(&'a Node, Foreign)> {
        let known = self.lock();
        let mut present = known.iter().filter(|(node, _)| attached.contains(node));
        present.find_map(|(node, machine)| {
            Some((state.nodes.get(node)?, machine.foreign(address)?.clone()))
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Machine>> {
        self.0.lock().expect(crate::POISON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use haft_engine::command::NodeRole;
    use haft_engine::ids::{BootId, Epoch, Generation, Incarnation, NodeName};
    use haft_engine::place::Place;
    use haft_engine::spec::NodeSpec;
    use haft_engine::state::Session;

    fn registered(id: NodeId) -> Node {
        Node {
            id,
            name: NodeName(format!("n{id}")),
            role: NodeRole::AgentOnly,
            host: String::new(),
            key_sha256: [0; 32],
            spec: NodeSpec::default(),
            generation: Generation(1),
            session: Session::Never,
            terms: None,
            boot: BootId::default(),
            boot_epoch: Epoch(1),
            place: Place::default(),
            witnessed: None,
            fenced_at_ms: Vec::new(),
            quarantined: false,
            unfenced: Incarnation::default(),
        }
    }

    #[test]
    fn an_address_is_found_on_the_registered_node_that_last_reported_it() {
        let mut state = ClusterState::default();
        for id in [NodeId(1), NodeId(2)] {
            state.nodes.insert(id, registered(id));
        }
        let sights = Sights::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let found = |link: &str| Foreign {
            link: link.to_owned(),
            prefix: 24,
        };
        let reports = |link| Machine::new(1, Vec::new(), vec![(address, found(link))]).unwrap();
        sights.note(&state, NodeId(1), reports("eth0"));
        sights.note(&state, NodeId(2), reports("eth1"));
        let seen = |state: &ClusterState, attached: &[u64]| {
            let attached = attached.iter().map(|node| NodeId(*node)).collect();
            let (node, found) = sights.foreign(state, &attached, address)?;
            Some((node.id, found))
        };
        assert_eq!(seen(&state, &[1, 2]), Some((NodeId(1), found("eth0"))));
        assert_eq!(seen(&state, &[2]), Some((NodeId(2), found("eth1"))));
        assert_eq!(seen(&state, &[]), None);
        // A node that is gone hides no other, and its report goes with the next.
        state.nodes.remove(&NodeId(1));
        assert_eq!(seen(&state, &[1, 2]), Some((NodeId(2), found("eth1"))));
        sights.note(&state, NodeId(2), Machine::default());
        assert_eq!(seen(&state, &[1, 2]), None);
        assert_eq!(sights.lock().len(), 1);
    }
}
