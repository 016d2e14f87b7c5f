//! The coordinator's side of sessions: acknowledges beats, seals what is closing, states ages.
//!
//! Lives under the lock that the log store's append takes, so that no beat is acknowledged after a
//! `Closing` is appended. Does not decide that anybody is lost.

use crate::clock::{Moment, Timing};
use crate::command::{Entry, StatedAge, VoterSets};
use crate::ids::{Incarnation, LogIndex, NodeId};
use crate::session::{Answer, Beat};
use crate::state::ClusterState;

/// One coordinator's receipts and seals.
#[derive(Clone, Debug)]
pub struct Responder;

/// Why no age is stated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAge {
    /// The `Closing` asked about is not in this coordinator's log.
    ClosingNotHeld,
    /// Silent after a restart, or not a voter.
    NotReady,
}

impl Responder {
    /// A coordinator that started at `now`; `restarted` if its log was not empty (then silent for
    /// one Raft lease, R8a).
    pub fn new(own: NodeId, timing: Timing, now: Moment, restart: Restart) -> Responder {
        let _ = (own, timing, now, restart);
        todo!()
    }
    /// Entry appended (not yet durable or committed), under the append lock; also replayed for every
    /// retained entry at start. `membership` entries come through `on_membership`.
    pub fn on_appended(&mut self, now: Moment, index: LogIndex, entry: &Entry) {
        let _ = (now, index, entry);
        todo!()
    }
    /// Entries from `from` on were truncated.
    pub fn on_truncated(&mut self, now: Moment, from: LogIndex) {
        let _ = (now, from);
        todo!()
    }
    /// The effective membership (latest appended, perhaps joint) changed.
    pub fn on_membership(&mut self, now: Moment, effective: VoterSets) {
        let _ = (now, effective);
        todo!()
    }
    /// The state machine applied entries up to `state.applied` (also after a snapshot was installed).
    pub fn on_applied(&mut self, now: Moment, state: &ClusterState) {
        let _ = (now, state);
        todo!()
    }
    /// An authentic beat. Records the receipt before it answers.
    pub fn on_beat(&mut self, now: Moment, beat: &Beat) -> Answer {
        let _ = (now, beat);
        todo!()
    }
    /// States the silence of an incarnation whose `Closing` at `closing` this coordinator holds.
    pub fn state_age(
        &self,
        now: Moment,
        node: NodeId,
        incarnation: Incarnation,
        closing: LogIndex,
    ) -> Result<StatedAge, NoAge> {
        let _ = (now, node, incarnation, closing);
        todo!()
    }
    /// Since the last authentic beat of the node's newest incarnation, or since listening began without a gap.
    pub fn silence(&self, now: Moment, node: NodeId) -> std::time::Duration {
        let _ = (now, node);
        todo!()
    }
    /// The loop was late by a beat: sockets were drained, every silence timer starts anew.
    pub fn on_late(&mut self, now: Moment) {
        let _ = now;
        todo!()
    }
}

/// How a coordinator started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// Its log was empty.
    Fresh,
    /// It lived before.
    Returned,
}
