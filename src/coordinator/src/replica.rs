//! This coordinator's copy of the replicated state, and the state machine that consensus feeds.
//!
//! Lock order: the state before the responder; nobody takes the state while holding the responder. Decides
//! nothing: `haft_engine::apply` does.

use crate::POISON;
use crate::beats::BeatKeys;
use crate::clock::boot_now;
use crate::consensus::{MembershipView, RestoreError, StateMachine};
use crate::seals::{SharedResponder, entry_id, voter_sets};
use haft_api::persisted;
use haft_engine::apply::{Outcome, apply};
use haft_engine::command::{Command, Entry};
use haft_engine::ids::{EntryId, LogIndex, Term};
use haft_engine::state::ClusterState;
use haft_store::{LogPosition, RowChange};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use tokio::sync::{broadcast, watch};

/// Applied entries that a slow leader task may lag behind before it re-evaluates from the state.
const APPLIED_QUEUE: usize = 1_024;

/// What one entry did.
#[derive(Clone, Debug)]
pub struct AppliedEntry {
    /// Which entry.
    pub index: LogIndex,
    /// One for each of its commands.
    pub outcomes: Vec<Outcome>,
}

/// Shared, cheap to clone.
#[derive(Clone, Debug)]
pub struct Replica {
    state: Arc<RwLock<ClusterState>>,
    keys: BeatKeys,
    applied: watch::Sender<LogIndex>,
    /// Term of the last applied entry; written while the state is locked for writing.
    term: Arc<AtomicU64>,
    entries: broadcast::Sender<AppliedEntry>,
}

impl Default for Replica {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            keys: BeatKeys::default(),
            term: Arc::default(),
            applied: watch::Sender::new(LogIndex(0)),
            entries: broadcast::Sender::new(APPLIED_QUEUE),
        }
    }
}

impl Replica {
    /// The state; hold it briefly and never across an await.
    pub fn state(&self) -> RwLockReadGuard<'_, ClusterState> {
        self.state.read().expect(POISON)
    }

    /// The last applied entry, of a state that is locked for reading.
    pub fn applied_entry(&self, state: &ClusterState) -> EntryId {
        EntryId {
            term: Term(self.term.load(Ordering::Relaxed)),
            index: state.applied,
        }
    }

    /// Who may beat, as of the last applied entry.
    pub fn beat_keys(&self) -> BeatKeys {
        self.keys.clone()
    }

    /// Index of the last applied entry, and its changes.
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        self.applied.subscribe()
    }

    /// Every applied entry from now on.
    pub fn entries(&self) -> broadcast::Receiver<AppliedEntry> {
        self.entries.subscribe()
    }

    fn change<T>(
        &self,
        responder: &SharedResponder,
        change: impl FnOnce(&mut ClusterState) -> T,
    ) -> T {
        let mut state = self.state.write().expect(POISON);
        let result = change(&mut state);
        self.keys.learn(&state);
        responder.with(|responder| responder.on_applied(boot_now(), &state));
        self.applied.send_replace(state.applied);
        result
    }
}

/// The state machine behind consensus.
pub struct Machine {
    replica: Replica,
    responder: SharedResponder,
}

impl Machine {
    /// A machine over this replica; the responder learns what is applied.
    pub fn new(replica: Replica, responder: SharedResponder) -> Self {
        Self { replica, responder }
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, at: LogPosition, payload: &[u8], _rows: &mut Vec<RowChange>) -> Vec<u8> {
        let index = LogIndex(at.index);
        let entry = match persisted::decode_entry(payload) {
            Ok(entry) => entry,
            Err(error) => {
                // Every coordinator would read the same bytes; going on without this entry would let
                // replicas of different versions diverge. Stop, and let an upgraded haftd read it.
                tracing::error!(index = at.index, %error, "a committed entry is unreadable to this version");
                std::process::abort();
            }
        };
        let outcomes = self.replica.change(&self.responder, |state| {
            crate::plant::panic_in("apply");
            apply(state, index, &entry)
        });
        let response = persisted::encode_outcomes(&outcomes);
        // No receiver: this coordinator does not lead.
        let _ = self.replica.entries.send(AppliedEntry { index, outcomes });
        response
    }

    fn snapshot(&self) -> Vec<u8> {
        persisted::encode_state(&self.replica.state())
    }

    fn restore(
        &mut self,
        _at: Option<LogPosition>,
        snapshot: &[u8],
        _rows: &mut Vec<RowChange>,
    ) -> Result<(), RestoreError> {
        let restored = persisted::decode_state(snapshot).map_err(|error| RestoreError {
            reason: error.to_string(),
        })?;
        self.replica
            .change(&self.responder, |state| *state = restored);
        Ok(())
    }

    fn membership_changed(&mut self, membership: &MembershipView) {
        let Some(at) = membership.at else { return };
        let index = LogIndex(at.index);
        let entry = Entry {
            stamp_unix_ms: 0,
            commands: vec![Command::Membership(voter_sets(
                entry_id(at),
                &membership.configs,
            ))],
        };
        let outcomes = self.replica.change(&self.responder, |state| {
            // A snapshot's membership is older than its state.
            let applied = state.applied;
            let outcomes = apply(state, index, &entry);
            state.applied = state.applied.max(applied);
            outcomes
        });
        let _ = self.replica.entries.send(AppliedEntry { index, outcomes });
    }

    fn passed(&mut self, at: LogPosition) {
        let term = Arc::clone(&self.replica.term);
        self.replica.change(&self.responder, |state| {
            state.applied = state.applied.max(LogIndex(at.index));
            term.store(at.term, Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests;
