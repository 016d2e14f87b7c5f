//! Raft's voters follow the registered coordinators: the leader adds each as a learner, then as a voter.
//!
//! One change at a time, each conditional on the membership it was planned on. Removing voters is not here:
//! member replacement is a later capability.

use crate::consensus::Leadership;
use crate::context::Context;
use haft_engine::command::NodeRole;
use haft_engine::ids::NodeId;
use haft_store::{Peer, PeerId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A learner must catch up within this, or the change is tried again.
const CATCH_UP: Duration = Duration::from_secs(30);
/// Between looks; joins are rare.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs until the process ends.
pub async fn run(context: Arc<Context>) {
    let mut applied = context.replica.applied();
    loop {
        let leads = matches!(
            &*context.consensus.leadership().borrow(),
            Leadership::Leader { .. }
        );
        if leads && let Some((id, peer)) = missing(&context) {
            if let Err(error) = admit(&context, id, peer).await {
                tracing::warn!(node = %id, error, "a coordinator is not a voter yet");
                tokio::time::sleep(LOOK_EVERY).await;
            }
            continue;
        }
        // Woken by the next entry, or by time in case leadership came without one.
        let _ = tokio::time::timeout(LOOK_EVERY * 5, applied.changed()).await;
    }
}

/// The first registered coordinator that does not vote.
fn missing(context: &Context) -> Option<(NodeId, Peer)> {
    let effective = context.effective_membership();
    let state = context.replica.state();
    let node = state
        .nodes
        .values()
        .find(|node| node.role == NodeRole::Coordinator && !effective.contains(node.id))?;
    Some((node.id, peer_of(context, &node.name.0, &node.host)))
}

/// How consensus reaches a coordinator.
pub fn peer_of(context: &Context, name: &str, host: &str) -> Peer {
    peer(name, host, context.config.ports.peer)
}

/// How consensus reaches a coordinator at this peer port.
pub fn peer(name: &str, host: &str, port: u16) -> Peer {
    Peer {
        name: name.to_owned(),
        addresses: vec![haft_api::client::host_port(host, port)],
    }
}

async fn admit(context: &Context, id: NodeId, peer: Peer) -> Result<(), String> {
    let deadline = Instant::now() + CATCH_UP;
    let joined = context
        .consensus
        .add_learner(PeerId(id.0), peer, deadline)
        .await;
    joined.map_err(|error| error.to_string())?;
    let (voters, last) = {
        let memberships = context.consensus.membership();
        let memberships = memberships.borrow();
        let effective = &memberships.effective;
        if effective.configs.len() != 1 {
            return Err("another membership change is under way".to_owned());
        }
        let mut voters: BTreeSet<PeerId> = effective.configs[0].clone();
        voters.insert(PeerId(id.0));
        (voters, effective.at.ok_or("no membership yet")?)
    };
    let changed = context
        .consensus
        .change_voters(voters, last, deadline)
        .await;
    changed.map_err(|error| error.to_string())?;
    tracing::info!(node = %id, "a coordinator votes now");
    Ok(())
}
