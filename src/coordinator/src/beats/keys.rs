//! What the beat thread needs of the replicated state: who may beat, and with which keys.
//!
//! A copy behind a lock of its own, held for the exchange of a pointer: the state's lock is held by `apply` and by
//! the leader's step for as long as they take, and a beat must not wait for them. Decides nothing.

use haft_api::beat::{BeatKey, Claim};
use haft_engine::command::HeartbeatKey;
use haft_engine::ids::NodeId;
use haft_engine::state::ClusterState;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Shared, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct BeatKeys(Arc<Mutex<Arc<Table>>>);

#[derive(Debug, Default)]
struct Table {
    nodes: BTreeSet<NodeId>,
    keys: Vec<HeartbeatKey>,
}

impl BeatKeys {
    /// Takes over what the state says, if it says something else than before.
    pub fn learn(&self, state: &ClusterState) {
        let known = self.table();
        if known.nodes.iter().eq(state.nodes.keys()) && known.keys == state.heartbeat_keys {
            return;
        }
        let table = Arc::new(Table {
            nodes: state.nodes.keys().copied().collect(),
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
        let registered = table.nodes.contains(&claim.node);
        registered.then(|| BeatKey::derive(heartbeat, claim.node, claim.incarnation))
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.lock().expect(crate::POISON))
    }
}
