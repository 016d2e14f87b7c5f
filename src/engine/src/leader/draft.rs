//! A draft: the state as it will be once everything proposed so far has been applied.
//!
//! Plans are tried on it with `apply` itself, so a plan is never a command that would be refused. Indexes
//! in it are guesses, wrong whenever somebody else's entry comes between: a command that names a life, token
//! or order of the draft is then refused by its precondition and planned anew. Only the grant to a node
//! admitted in the same entry relies on one, so that an agent's restart moves nothing.

use crate::apply::{Outcome, apply};
use crate::command::{Command, Entry};
use crate::ids::LogIndex;
use crate::state::ClusterState;
use std::borrow::Cow;
use std::collections::VecDeque;

/// The applied state, what is in flight, and what this step adds.
pub(super) struct Draft<'a> {
    state: Cow<'a, ClusterState>,
    index: LogIndex,
    entry: Entry,
}

impl<'a> Draft<'a> {
    /// Starts from `state` with the entries in flight applied.
    pub(super) fn new<'e>(
        state: &'a ClusterState,
        stamp_unix_ms: u64,
        in_flight: impl Iterator<Item = &'e Entry>,
    ) -> Draft<'a> {
        let mut draft = Draft {
            state: Cow::Borrowed(state),
            index: LogIndex(state.applied.0 + 1),
            entry: Entry {
                stamp_unix_ms,
                commands: Vec::new(),
            },
        };
        for entry in in_flight {
            let index = draft.index;
            apply(draft.writable(), index, entry);
            draft.index = LogIndex(index.0 + 1);
        }
        draft
    }

    /// The drafted state.
    pub(super) fn state(&self) -> &ClusterState {
        &self.state
    }

    /// Adds `command` unless the draft refuses it.
    pub(super) fn propose(&mut self, command: Command) -> Outcome {
        let index = self.index;
        let single = Entry {
            stamp_unix_ms: self.entry.stamp_unix_ms,
            commands: vec![command],
        };
        let outcome = apply(self.writable(), index, &single).pop();
        match outcome {
            Some(Outcome::Refused(refusal)) => Outcome::Refused(refusal),
            Some(accepted) => {
                self.entry.commands.extend(single.commands);
                accepted
            }
            None => Outcome::Done,
        }
    }

    /// What this step adds.
    pub(super) fn into_entry(self) -> Entry {
        self.entry
    }

    fn writable(&mut self) -> &mut ClusterState {
        if let Cow::Borrowed(state) = self.state {
            self.state = Cow::Owned(lean(state));
        }
        self.state.to_mut()
    }
}

/// A copy without what no plan looks at, and which would be most of the work of copying.
fn lean(state: &ClusterState) -> ClusterState {
    ClusterState {
        cluster: state.cluster,
        epoch: state.epoch,
        applied: state.applied,
        membership: state.membership.clone(),
        heartbeat_keys: state.heartbeat_keys.clone(),
        nodes: state.nodes.clone(),
        resources: state.resources.clone(),
        devices: state.devices.clone(),
        topologies: state.topologies.clone(),
        orders: state.orders.clone(),
        join_tokens: state.join_tokens.clone(),
        requests: VecDeque::new(),
        events: VecDeque::new(),
        obstacles: state.obstacles.clone(),
        rivals: state.rivals.clone(),
    }
}
