//! The node's side of a session: sends beats, counts the majorities that acknowledged them, knows when
//! its lease ends. Counts from the send time, on the node's suspend-counting clock (R2).

use crate::clock::{Moment, Timing};
use crate::command::{Attestation, VoterSets};
use crate::ids::{Incarnation, NodeId};
use crate::session::{Answer, Beat};

/// A node's own view of its session.
#[derive(Clone, Debug)]
pub struct Holder;

/// What the node learned from an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// Nothing new.
    Nothing,
    /// The lease now ends at this moment.
    Extended(Moment),
    /// A majority says that this incarnation is over: release everything and join anew.
    Over,
}

impl Holder {
    /// A session admitted as `incarnation` under `membership`.
    pub fn new(
        node: NodeId,
        incarnation: Incarnation,
        membership: VoterSets,
        timing: Timing,
    ) -> Holder {
        let _ = (node, incarnation, membership, timing);
        todo!()
    }
    /// The next beat, if one is due at `now`. The driver sends it to `recipients()`.
    pub fn on_tick(&mut self, now: Moment, guards: Attestation) -> Option<Beat> {
        let _ = (now, guards);
        todo!()
    }
    /// An authentic answer.
    pub fn on_answer(&mut self, now: Moment, answer: &Answer) -> Learned {
        let _ = (now, answer);
        todo!()
    }
    /// The moment at which the lease ends, `sent + ttl·(1−ρ)`; `None` before the first majority.
    pub fn end(&self) -> Option<Moment> {
        todo!()
    }
    /// When `on_tick` wants to be called next.
    pub fn next_wake(&self) -> Moment {
        todo!()
    }
    /// Coordinators to beat to: every voter of every set known.
    pub fn recipients(&self) -> Vec<NodeId> {
        todo!()
    }
}
