//! Sessions (R2): a node's liveness lease, held by a majority of coordinators and not by the leader.
//!
//! Three sides, each a machine: [`responder`] on every coordinator acknowledges beats and states ages;
//! [`holder`] on the node counts majorities and knows the end of its lease; the judge on the leader
//! (in [`crate::leader`]) commits `Closing`, `Expired` and `Reopened`. The proof is in docs/session-proof.md.
//! Knows nothing of sockets and keys: a [`Beat`] here is already authentic.

use crate::clock::Moment;
use crate::command::{Attestation, VoterSets};
use crate::ids::{EntryId, Epoch, Incarnation, NodeId};
use std::time::Duration;

pub mod authority;
pub mod holder;
mod received;
pub mod responder;
pub mod retiming;

pub use received::Received;

/// One beat, as the node sends the same one to every coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beat {
    /// Who beats.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// 1, 2, ... within the incarnation; never repeats.
    pub sequence: u64,
    /// The membership entry under which the node counts majorities.
    pub membership: EntryId,
    /// The node counts its lease by this ttl: it ends `ttl·(1−ρ)` after this beat was sent.
    pub ttl: Duration,
    /// Whether every kernel guard is in place.
    pub guards: Attestation,
}

/// What a coordinator answers to a beat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Who answers.
    pub from: NodeId,
    /// To which life.
    pub incarnation: Incarnation,
    /// To which beat.
    pub sequence: u64,
    /// The voters' sets effective at this coordinator (latest appended). Without sets where a datagram has no
    /// room for them: the entry names them.
    pub membership: VoterSets,
    /// The cluster's epoch, as applied here.
    pub epoch: Epoch,
    /// The last entry of this coordinator's log. What the node was told in an entry beyond it has left the
    /// log of a coordinator whose term is later.
    pub log: EntryId,
    /// Acknowledged or not.
    pub kind: AnswerKind,
}

/// Acknowledged, or why not. Only `Acknowledged` counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AnswerKind {
    /// Receipt recorded before this was said.
    Acknowledged,
    /// This incarnation is closing here.
    Sealed,
    /// This coordinator's log does not know the incarnation (it lags, or the session has ended).
    NotAdmitted,
    /// The log has ended this incarnation for good: join anew.
    Ended,
    /// The beat names another membership than the effective one.
    OtherMembership,
    /// The beat names no ttl, or a longer one than the session's as this coordinator knows it (R2a).
    OtherTtl,
    /// Silent after a restart (R8a), not a voter, or asked about a beat it has heard before (a replay).
    NotReady,
}

/// A moment with the beat that was sent then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentBeat {
    /// Its sequence.
    pub sequence: u64,
    /// When it was sent, on the node's own clock.
    pub sent: Moment,
}
