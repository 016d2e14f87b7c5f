//! What a coordinator remembers of a peer, and the judgement on a peer that returns.
//!
//! A store alone cannot see that its end is missing, that it was rolled back to yesterday, or that a
//! copy of it runs elsewhere: all three look like an honest older directory. The peers can, because
//! each answer of a voter binds it. Pure; who keeps the memory and who asks is the caller's business.

use crate::boot::Boot;
use crate::model::LogPosition;

/// What a peer says of itself when it connects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The starts on its directory, oldest first; the last is the present one.
    pub boots: Vec<Boot>,
    /// Term of its durable vote.
    pub vote_term: u64,
    /// Its last durable entry.
    pub last: Option<LogPosition>,
}

/// What is remembered of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeerMemory {
    /// The start last met.
    pub boot: Boot,
    /// The highest term in which the peer gave a durable answer.
    pub vote_term: u64,
    /// The last entry that the peer then held durably.
    pub acked: Option<LogPosition>,
}

/// Why a peer may not take part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerRefusal {
    /// The peer names no start at all.
    #[error("the peer names no start")]
    NoBoot,
    /// The start last met is not in the peer's history: another copy of its directory ran.
    #[error(
        "start {met:?} of this node was met before, and the directory of start {present:?} does not know it: two copies of one directory are in use"
    )]
    Cloned {
        /// The start that this coordinator met.
        met: Boot,
        /// The start that presents itself.
        present: Boot,
    },
    /// The directory is older than the peer's own word.
    #[error(
        "the directory ends at {last:?} with its vote in term {vote_term}, behind {acked:?} in term {acked_term}, which this node has acknowledged"
    )]
    RolledBack {
        /// Where the peer's log ends.
        last: Option<LogPosition>,
        /// Term of the peer's vote.
        vote_term: u64,
        /// What it acknowledged.
        acked: Option<LogPosition>,
        /// The term in which it did.
        acked_term: u64,
    },
}

impl PeerMemory {
    /// Judges a peer that presents itself against `memory`, and says what to remember from now on.
    ///
    /// A log may honestly have become shorter since it was acknowledged, but only by the order of a
    /// leader of a later term, and the peer's vote is then in that term; within one term a follower's
    /// log only grows. So vote term and last entry, compared in that order, never fall from one start
    /// to the next. Within one start they are not compared: a process cannot lose what is durable, and
    /// its greetings on several connections may overtake each other.
    ///
    /// # Errors
    /// The peer must not take part; its directory has to be replaced.
    pub fn judge(memory: Option<&Self>, claim: &Claim) -> Result<Self, PeerRefusal> {
        let present = *claim.boots.last().ok_or(PeerRefusal::NoBoot)?;
        let claimed = Self {
            boot: present,
            vote_term: claim.vote_term,
            acked: claim.last,
        };
        let Some(met) = memory else {
            return Ok(claimed);
        };
        let oldest_known = claim.boots.first().map_or(0, |boot| boot.counter);
        let forgotten = met.boot.counter < oldest_known;
        if !forgotten && !claim.boots.contains(&met.boot) {
            return Err(PeerRefusal::Cloned {
                met: met.boot,
                present,
            });
        }
        if met.boot == present {
            let mut merged = *met;
            merged.note(claim.vote_term, claim.last);
            return Ok(merged);
        }
        if (claim.vote_term, claim.last) < (met.vote_term, met.acked) {
            return Err(PeerRefusal::RolledBack {
                last: claim.last,
                vote_term: claim.vote_term,
                acked: met.acked,
                acked_term: met.vote_term,
            });
        }
        Ok(claimed)
    }

    /// Notes a durable answer given in `vote_term` by a peer that then held `last`.
    /// Says whether anything is new.
    pub fn note(&mut self, vote_term: u64, last: Option<LogPosition>) -> bool {
        if (vote_term, last) <= (self.vote_term, self.acked) {
            return false;
        }
        self.acked = if vote_term > self.vote_term {
            last
        } else {
            last.max(self.acked)
        };
        self.vote_term = vote_term;
        true
    }
}
