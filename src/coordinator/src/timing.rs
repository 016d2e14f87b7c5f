//! What the files on the machines say of the timing, beside what the log says, which alone counts (R2a).
//!
//! Each agent tells what its file says when it greets; kept in memory by whoever leads. Judges nobody by it.

use crate::context::Context;
use haft_engine::clock::Timing;
use haft_engine::ids::{Generation, NodeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What each node's file says, as far as it has been heard of.
#[derive(Debug, Default)]
pub struct FileTimings(Mutex<BTreeMap<NodeId, Timing>>);

impl FileTimings {
    /// A registered node's agent has greeted.
    pub fn note(&self, node: NodeId, timing: Timing) {
        let mut files = self.0.lock().expect(crate::POISON);
        files.insert(node, timing);
    }

    /// Nodes whose file says something else.
    pub fn differing(&self, in_force: &Timing) -> Vec<NodeId> {
        let files = self.0.lock().expect(crate::POISON);
        let others = files.iter().filter(|(_, timing)| *timing != in_force);
        others.map(|(node, _)| *node).collect()
    }
}

/// Says once for each version that this coordinator's own file says something else.
pub async fn watch(context: Arc<Context>) {
    let mut applied = context.replica.applied();
    let mut said = Generation(0);
    loop {
        applied.borrow_and_update();
        let in_force = context.replica.state().timing;
        if let Some(now) = in_force.filter(|now| now.generation != said) {
            said = now.generation;
            if now.timing != context.timing {
                tracing::warn!(
                    generation = %now.generation,
                    in_force = ?now.timing,
                    file = ?context.timing,
                    "`timing` in this file differs from the cluster's, which is used for every session; \
                     Raft's own timers are the file's until the next start (fix: haftctl cluster timing \
                     shows what to write, or changes the cluster's)"
                );
            }
        }
        if applied.changed().await.is_err() {
            return;
        }
    }
}
