//! What the beat thread needs of the replicated state: who may beat, with which keys, and where its haftd is.
//!
//! A copy behind a lock of its own, held for the exchange of a pointer: the state's lock is held by `apply` and by
//! the leader's step for as long as they take, and a beat must not wait for them. Decides nothing.

use haft_api::beat::{BeatKey, Claim};
use haft_engine::command::HeartbeatKey;
use haft_engine::ids::{Incarnation, NodeId};
use haft_engine::state::{ClusterState, Node};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// Shared, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct BeatKeys(Arc<Mutex<Arc<Table>>>);

#[derive(Debug, Default)]
struct Table {
    /// With the host of their ports, if it is an address.
    nodes: BTreeMap<NodeId, Option<IpAddr>>,
    keys: Vec<HeartbeatKey>,
}

impl BeatKeys {
    /// Takes over what the state says, if it says something else than before.
    pub fn learn(&self, state: &ClusterState) {
        let known = self.table();
        let address = |node: &Node| node.host.parse::<IpAddr>().ok();
        let nodes: BTreeMap<_, _> = state
            .nodes
            .iter()
            .map(|(id, node)| (*id, address(node)))
            .collect();
        if known.nodes == nodes && known.keys == state.heartbeat_keys {
            return;
        }
        let table = Arc::new(Table {
            nodes,
            keys: state.heartbeat_keys.clone(),
        });
        *self.0.lock().expect(crate::POISON) = table;
    }

    /// The key of a life of a registered node.
    pub fn key(&self, claim: Claim) -> Option<BeatKey> {
        let table = self.table();
        let heartbeat = table
            .keys
            .iter()
            .find(|key| key.generation == claim.generation)?;
        let registered = table.nodes.contains_key(&claim.node);
        registered.then(|| BeatKey::derive(heartbeat, claim.node, claim.incarnation))
    }

    /// The newest key of a life of a registered node, for what this coordinator says first.
    pub fn newest(&self, node: NodeId, incarnation: Incarnation) -> Option<BeatKey> {
        let table = self.table();
        let heartbeat = table.keys.last()?;
        let registered = table.nodes.contains_key(&node);
        registered.then(|| BeatKey::derive(heartbeat, node, incarnation))
    }

    /// Where a registered node's haftd is.
    pub fn host(&self, node: NodeId) -> Option<IpAddr> {
        self.table().nodes.get(&node).copied().flatten()
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.lock().expect(crate::POISON))
    }
}
