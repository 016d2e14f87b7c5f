//! A draft: the state as it will be once everything proposed so far has been applied.
//!
//! Plans are tried on it with `apply` itself, so a plan is never a command that would be refused. Indexes
//! in it are guesses, wrong whenever somebody else's entry comes between: a command that names a life, token
//! or order of the draft is then refused by its precondition and planned anew. Only the grant to a node
//! admitted in the same entry relies on one, so that an agent's restart moves nothing.
//!
//! What does not fit into one entry goes on in the next, in the order in which it was planned: what must not wait
//! is planned first.

use super::proposals::{EntryLimit, Flights};
use crate::apply::{Outcome, Refusal, apply};
use crate::command::{Command, Entry};
use crate::ids::LogIndex;
use crate::state::ClusterState;
use std::borrow::Cow;
use std::collections::VecDeque;

/// The applied state, what is in flight, and what this step adds.
pub(super) struct Draft<'a> {
    state: Cow<'a, ClusterState>,
    /// Where the last entry would stand.
    index: LogIndex,
    stamp_unix_ms: u64,
    /// What this step adds; the last one is being filled.
    entries: Vec<Entry>,
    /// Bytes of the last entry.
    filled: usize,
    limit: EntryLimit,
    room: usize,
    /// Whether something found no room, and has to be planned again when an entry in flight is applied.
    overflow: Overflow,
}

/// Whether everything that was planned found room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overflow {
    /// Nothing was turned away.
    No,
    /// Something was, for want of entries.
    Yes,
}

impl<'a> Draft<'a> {
    /// Starts from `state` with the entries in flight applied.
    pub(super) fn new(state: &'a ClusterState, stamp_unix_ms: u64, flights: &Flights) -> Draft<'a> {
        let mut draft = Draft {
            state: Cow::Borrowed(state),
            index: LogIndex(state.applied.0 + 1),
            stamp_unix_ms,
            entries: Vec::new(),
            filled: 0,
            limit: flights.limit(),
            room: flights.room(),
            overflow: Overflow::No,
        };
        for entry in flights.entries() {
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

    /// Whether something was turned away for want of room, so that a refusal says nothing.
    pub(super) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Adds `command` unless the draft refuses it, or no entry has room for it.
    pub(super) fn propose(&mut self, command: Command) -> Outcome {
        let size = (self.limit.measure)(&command);
        if size > self.limit.bytes {
            let why = "no entry has room for it by itself";
            return Outcome::Refused(Refusal::invalid("TooLarge", why));
        }
        let opens = self.entries.is_empty() || self.filled + size > self.limit.bytes;
        if opens && self.entries.len() >= self.room {
            self.overflow = Overflow::Yes;
            return Outcome::Refused(Refusal::stale("NoRoom", "too much is in flight"));
        }
        let further = opens && !self.entries.is_empty();
        let index = LogIndex(self.index.0 + u64::from(further));
        let single = Entry {
            stamp_unix_ms: self.stamp_unix_ms,
            commands: vec![command],
        };
        match apply(self.writable(), index, &single).pop() {
            Some(Outcome::Refused(refusal)) => Outcome::Refused(refusal),
            Some(accepted) => {
                self.index = index;
                self.add(single, size, opens);
                accepted
            }
            None => Outcome::Done,
        }
    }

    fn add(&mut self, single: Entry, size: usize, opens: bool) {
        match self.entries.last_mut() {
            Some(last) if !opens => {
                last.commands.extend(single.commands);
                self.filled += size;
            }
            Some(_) | None => {
                self.entries.push(single);
                self.filled = size;
            }
        }
    }

    /// What this step adds, in order.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
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
        timing: state.timing,
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
