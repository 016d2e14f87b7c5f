//! What every task of haftd shares.

use crate::beats::BeatCounters;
use crate::clock::boot_now;
use crate::consensus::{Consensus, Leadership};
use crate::peers::Peers;
use crate::pulse::Pulse;
use crate::replica::Replica;
use crate::seals::{SharedResponder, entry_id, voter_sets};
use crate::witness::Challenger;
use haft_config::Config;
use haft_engine::clock::Timing;
use haft_engine::command::{StatedAge, VoterSets};
use haft_engine::ids::{Incarnation, LogIndex, NodeId, Term};
use haft_engine::leader::Input;
use haft_engine::session::authority::Origin;
use haft_engine::session::responder::NoAge;
use haft_engine::state::ClusterState;
use haft_fence_protocol::caller::AgentDirs;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A voter this many entries behind still counts as caught up: they are on their way.
pub(crate) const CAUGHT_UP: u64 = 64;

/// Shared by reference between tasks.
pub struct Context {
    /// Own id.
    pub own: NodeId,
    /// 32 hex digits.
    pub cluster_hex: String,
    /// The one config.
    pub config: Config,
    /// Derived intervals.
    pub timing: Timing,
    /// Raft.
    pub consensus: Consensus,
    /// The replicated state.
    pub replica: Replica,
    /// Receipts and seals.
    pub responder: SharedResponder,
    /// Of the leader task.
    pub pulse: Pulse,
    /// To the leader task.
    pub inputs: mpsc::Sender<Input>,
    /// Streams of agents.
    pub streams: crate::streams::Streams,
    /// Channels to other coordinators.
    pub peers: Peers,
    /// Where fence agents are looked up.
    pub agents: AgentDirs,
    /// What the nodes' kernels have.
    pub sights: crate::sights::Sights,
    /// One lock per fence device.
    pub devices: crate::fencing::DeviceLocks,
    /// What the nodes' files say of the timing.
    pub files: crate::timing::FileTimings,
    /// Challenges machines that are said to be off.
    pub challenger: Arc<Challenger>,
    /// What came to the beat port.
    pub beats: Arc<BeatCounters>,
    /// The CA, once this coordinator has its key.
    pub authority: crate::pki::SharedAuthority,
}

impl Context {
    /// Raft's effective membership: the latest appended, perhaps joint.
    pub fn effective_membership(&self) -> VoterSets {
        let memberships = self.consensus.membership();
        let memberships = memberships.borrow();
        let at = memberships.effective.at.map(entry_id).unwrap_or_default();
        voter_sets(at, &memberships.effective.configs)
    }

    /// Where this coordinator stands as a leader that may hand something out (R2c). `None`: it may not.
    pub fn origin(&self, state: &ClusterState) -> Option<Origin> {
        let Leadership::Leader { term, .. } = *self.consensus.leadership().borrow() else {
            return None;
        };
        let applied = self.replica.applied_entry(state);
        Origin::of_leader(state.epoch, Term(term), applied)
    }

    /// States the silence of a life whose closing is applied here and on this disk.
    pub fn state_age(
        &self,
        node: NodeId,
        incarnation: Incarnation,
        closing: LogIndex,
    ) -> Result<StatedAge, NoAge> {
        let stated = self
            .responder
            .with(|responder| responder.state_age(boot_now(), node, incarnation, closing))?;
        if self.consensus.is_durable(closing.0) {
            Ok(stated)
        } else {
            Err(NoAge::NotDurable)
        }
    }

    /// Voters other than this one that answered lately and hold nearly the whole log.
    pub fn live_peers(&self) -> BTreeSet<NodeId> {
        let metrics = self.consensus.metrics();
        let last = metrics.last_log.unwrap_or(0);
        let live = metrics.peers.iter().filter(|(_, progress)| {
            let heard = progress
                .ack_age
                .is_some_and(|age| age < self.timing.election_min);
            let matched = progress.matched.map_or(0, |at| at.index);
            heard && matched + CAUGHT_UP >= last
        });
        live.map(|(peer, _)| NodeId(peer.0))
            .filter(|peer| *peer != self.own)
            .collect()
    }

    /// Hands an input to the leader task; waits while its queue is full.
    pub async fn tell_leader(&self, input: Input) {
        // The task lives as long as the process.
        let _ = self.inputs.send(input).await;
    }

    /// The leader's API address, if a leader is known.
    pub fn leader_api(&self) -> Option<String> {
        let leader = self.leader()?;
        let state = self.replica.state();
        let host = &state.nodes.get(&leader)?.host;
        Some(haft_api::client::host_port(host, self.config.ports.api))
    }

    /// The leader's id, if a leader is known.
    pub fn leader(&self) -> Option<NodeId> {
        match &*self.consensus.leadership().borrow() {
            Leadership::Leader { .. } => Some(self.own),
            Leadership::Follower { leader, .. } => Some(NodeId(leader.0)),
            Leadership::None => None,
        }
    }
}
