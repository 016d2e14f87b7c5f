//! What each node's kernel was last reported to have, as far as this coordinator was told while it led.
//!
//! For the check of what an administrator applies; placement has the leader's own copy and the log. Holds one
//! report for each registered node, and no more than [`NODES_MAX`] of them.

use haft_engine::ids::NodeId;
use haft_engine::machine::{Foreign, Machine};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// As many nodes as a cluster may register.
const NODES_MAX: usize = 4_096;

/// The reports.
#[derive(Debug, Default)]
pub struct Sights(Mutex<BTreeMap<NodeId, Machine>>);

impl Sights {
    /// Takes a report.
    pub fn note(&self, node: NodeId, machine: Machine) {
        let mut known = self.lock();
        if known.contains_key(&node) || known.len() < NODES_MAX {
            known.insert(node, machine);
        }
    }

    /// A node on which somebody has put this address, and where.
    pub fn foreign(&self, address: IpAddr) -> Option<(NodeId, Foreign)> {
        let known = self.lock();
        known
            .iter()
            .find_map(|(node, machine)| Some((*node, machine.foreign(address)?.clone())))
    }

    /// A report is whole or absent, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Machine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_on_the_node_that_last_reported_it() {
        let sights = Sights::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let found = Foreign {
            link: "eth0".to_owned(),
            prefix: 24,
        };
        let machine = Machine::new(1, Vec::new(), vec![(address, found.clone())]).unwrap();
        sights.note(NodeId(2), machine);
        assert_eq!(sights.foreign(address), Some((NodeId(2), found)));
        sights.note(NodeId(2), Machine::default());
        assert_eq!(sights.foreign(address), None);
    }
}
