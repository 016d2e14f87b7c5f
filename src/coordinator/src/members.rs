//! Raft's voters follow the registered coordinators: the leader adds each as a learner, makes it a
//! voter once it holds the log, and takes out the learners of nodes that are gone.
//!
//! What comes next is decided by [`plan`], a value, from what is seen; here it is carried out, one
//! change at a time, each conditional on the membership it was planned on and bounded in time.
//! Nothing waits for a single coordinator: one that never starts costs the others nothing. Removing
//! voters is not here: member replacement is a later capability.

mod plan;

use crate::consensus::{Leadership, Peer, PeerId};
use crate::context::Context;
use haft_engine::command::NodeRole;
use plan::{Seen, Step, Trials};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A change commits within this, or its outcome is looked at anew.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);
/// Between looks while there may be something to do, and while there is not; joins are rare.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const IDLE_EVERY: Duration = Duration::from_secs(1);

/// Runs until the process ends.
pub async fn run(context: Arc<Context>) {
    let mut applied = context.replica.applied();
    let mut trials = Trials::default();
    let mut led = None;
    loop {
        let leads = match *context.consensus.leadership().borrow() {
            Leadership::Leader { term, .. } => Some(term),
            Leadership::Follower { .. } | Leadership::None => None,
        };
        if leads != led {
            // What an earlier leadership has tried says nothing about now.
            trials = Trials::default();
            led = leads;
        }
        let pause = match leads {
            Some(_) => look(&context, &mut trials).await,
            None => IDLE_EVERY,
        };
        // Woken by the next entry, too; an error means that the process ends.
        let _ = tokio::time::timeout(pause, applied.changed()).await;
    }
}

/// One look and at most one change; how long to wait for the next.
async fn look(context: &Context, trials: &mut Trials) -> Duration {
    let seen = seen(context);
    let step = plan::next(&seen, trials, Instant::now());
    let whom = step.concerns();
    let deadline = Instant::now() + CHANGE_WITHIN;
    let Some(at) = seen.memberships.effective.at else {
        return IDLE_EVERY;
    };
    let done = match step {
        Step::Nothing => return IDLE_EVERY,
        Step::Wait => return LOOK_EVERY,
        Step::Enlist(id, peer) => context.consensus.enlist(id, peer, deadline).await,
        Step::Vote { voters, .. } => context.consensus.change_voters(voters, at, deadline).await,
        Step::Dismiss(id) => context.consensus.remove_learner(id, at, deadline).await,
    };
    match done {
        Ok(_) => {
            trials.worked(&whom);
            tracing::info!(?whom, "the membership of raft has changed");
        }
        Err(error) => {
            trials.failed(&whom, Instant::now());
            tracing::warn!(?whom, %error, "the membership of raft is not changed yet");
        }
    }
    LOOK_EVERY
}

fn seen(context: &Context) -> Seen {
    let state = context.replica.state();
    let coordinators = state
        .nodes
        .values()
        .filter(|node| node.role == NodeRole::Coordinator)
        .map(|node| {
            let peer = peer_of(context, &node.name.0, &node.host);
            (PeerId(node.id.0), peer)
        });
    let coordinators: BTreeMap<PeerId, Peer> = coordinators.collect();
    drop(state);
    let metrics = context.consensus.metrics();
    let last = metrics.last_log.unwrap_or(0);
    let holds_the_log = metrics.peers.into_iter().filter(|(_, progress)| {
        let matched = progress.matched.map_or(0, |at| at.index);
        let answers = progress
            .ack_age
            .is_some_and(|age| age < context.timing.election_min);
        answers && matched + crate::context::CAUGHT_UP >= last
    });
    Seen {
        coordinators,
        memberships: context.consensus.membership().borrow().clone(),
        ready: holds_the_log.map(|(peer, _)| peer).collect(),
    }
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
