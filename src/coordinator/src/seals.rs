//! The session responder, shared between the log store's append, the state machine and the beat socket.
//!
//! The store calls [`SealObserver`] under its append lock, so that no beat is acknowledged after a `Closing`
//! is in this coordinator's log (R2). Decides nothing: `haft_engine::session::responder` does.

use crate::clock::boot_now;
use haft_api::persisted;
use haft_engine::command::VoterSets;
use haft_engine::ids::{EntryId, NodeId};
use haft_engine::session::responder::Responder;
use haft_engine::state::ClusterState;
use haft_store::{AppendObserver, LogPosition, Membership, MembershipAt, PeerId, Snapshot};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// The responder behind its own short lock.
#[derive(Clone, Debug)]
pub struct SharedResponder(Arc<Mutex<Responder>>);

impl SharedResponder {
    /// Shares this responder.
    pub fn new(responder: Responder) -> Self {
        Self(Arc::new(Mutex::new(responder)))
    }

    /// Runs `use_it` under the lock. Never call back into the store or the state from it.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut Responder) -> T) -> T {
        use_it(&mut self.0.lock().expect(crate::POISON))
    }
}

/// What the store tells about its log.
pub struct SealObserver(pub SharedResponder);

impl AppendObserver for SealObserver {
    fn on_snapshot(&mut self, snapshot: &Snapshot, in_force: &MembershipAt) {
        let decoded = match snapshot.last {
            Some(_) => persisted::decode_state(&snapshot.state),
            None => Ok(ClusterState::default()),
        };
        let last = snapshot.last.map(entry_id).unwrap_or_default();
        let sets = sets_of(in_force);
        match decoded {
            Ok(state) => self
                .0
                .with(|responder| responder.on_ground(boot_now(), last, sets, &state)),
            Err(error) => {
                // The state machine refuses the same snapshot and haftd does not start.
                tracing::error!(%error, "the stored snapshot is unreadable to this version");
            }
        }
    }

    fn on_append(&mut self, at: LogPosition, payload: &[u8]) {
        match persisted::decode_entry(payload) {
            Ok(entry) => self.0.with(|responder| {
                responder.on_appended(boot_now(), entry_id(at), &entry);
            }),
            Err(error) => {
                // It could be a Closing: stay silent rather than acknowledge past it.
                tracing::error!(index = at.index, %error, "an appended entry is unreadable to this version");
                std::process::abort();
            }
        }
    }

    fn on_blank(&mut self, at: LogPosition) {
        self.0.with(|responder| responder.on_blank(entry_id(at)));
    }

    fn on_truncate(&mut self, kept: Option<LogPosition>, in_force: &MembershipAt) {
        let kept = kept.map(entry_id).unwrap_or_default();
        let sets = sets_of(in_force);
        self.0
            .with(|responder| responder.on_truncated(boot_now(), kept, sets));
    }

    fn on_membership(&mut self, at: LogPosition, membership: &Membership) {
        let sets = voter_sets(entry_id(at), &membership.configs);
        self.0
            .with(|responder| responder.on_membership(boot_now(), sets));
    }
}

fn sets_of(membership: &MembershipAt) -> VoterSets {
    let at = membership.at.map(entry_id).unwrap_or_default();
    voter_sets(at, &membership.membership.configs)
}

/// A position in the log, as the engine names it.
pub fn entry_id(at: LogPosition) -> EntryId {
    EntryId::new(at.term, at.index)
}

/// Raft's voters as the engine names them.
pub fn voter_sets(at: EntryId, configs: &[BTreeSet<PeerId>]) -> VoterSets {
    let sets = configs
        .iter()
        .map(|set| set.iter().map(|peer| NodeId(peer.0)).collect());
    VoterSets {
        at,
        sets: sets.collect(),
    }
}
