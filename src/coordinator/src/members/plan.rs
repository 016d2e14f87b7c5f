//! The next change of Raft's membership, decided from what is seen.
//!
//! - A membership left joint by a change that nobody finished is finished first.
//! - Learners of nodes that are registered no more go.
//! - Every registered coordinator becomes a learner at once, whatever the others do.
//! - Those that answer and hold the log become voters together, so that the number of voters is odd
//!   again after one change. Alone, one makes an even number: a second voter (a copy of the log is
//!   better than none) once the others that are expected had their time, but no fourth and no
//!   sixth, which add no loss that can be survived: it stays a learner, with the whole log, until
//!   another makes them an odd number.
//! - At most seven vote, however many are registered: each write waits for a majority of them.
//!
//! Changes nothing and reads no clock.

use crate::consensus::{Memberships, Peer, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Most voters of a cluster (design: three, five or seven).
pub(super) const VOTERS_MAX: usize = 7;
/// How long others wait for a coordinator that is on its way, so that the voters' number stays odd.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failed change about the same coordinators, doubled each time up to the greatest.
const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// What the decision rests on.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The registered coordinators.
    pub(super) coordinators: BTreeMap<PeerId, Peer>,
    /// As consensus has them.
    pub(super) memberships: Memberships,
    /// Those that answer and hold nearly the whole log.
    pub(super) ready: BTreeSet<PeerId>,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Everything is as it should be, or nothing can be done.
    Nothing,
    /// Something is on its way.
    Wait,
    /// Add a learner.
    Enlist(PeerId, Peer),
    /// Make exactly these vote.
    Vote {
        /// All of them.
        voters: BTreeSet<PeerId>,
        /// Those whom the change is about.
        new: BTreeSet<PeerId>,
    },
    /// Take a learner out.
    Dismiss(PeerId),
}

impl Step {
    /// Whom it is about.
    pub(super) fn concerns(&self) -> BTreeSet<PeerId> {
        match self {
            Self::Nothing | Self::Wait => BTreeSet::new(),
            Self::Enlist(id, _) | Self::Dismiss(id) => [*id].into(),
            Self::Vote { new, .. } => new.clone(),
        }
    }
}

/// What came of earlier changes, by coordinator: each has its own pause.
#[derive(Clone, Debug, Default)]
pub(super) struct Trials(BTreeMap<PeerId, Trial>);

#[derive(Clone, Copy, Debug)]
struct Trial {
    /// When it was first looked for.
    since: Instant,
    failures: u32,
    not_before: Instant,
}

impl Trials {
    fn of(&mut self, id: PeerId, now: Instant) -> &mut Trial {
        self.0.entry(id).or_insert(Trial {
            since: now,
            failures: 0,
            not_before: now,
        })
    }

    /// A change about these was made.
    pub(super) fn worked(&mut self, whom: &BTreeSet<PeerId>) {
        for id in whom {
            if let Some(trial) = self.0.get_mut(id) {
                trial.failures = 0;
            }
        }
    }

    /// A change about these was not made.
    pub(super) fn failed(&mut self, whom: &BTreeSet<PeerId>, now: Instant) {
        for id in whom {
            let trial = self.of(*id, now);
            let pause = AGAIN_MIN * 2_u32.saturating_pow(trial.failures.min(8));
            trial.not_before = now + pause.min(AGAIN_MAX);
            trial.failures = trial.failures.saturating_add(1);
        }
    }

    fn may(&mut self, id: PeerId, now: Instant) -> bool {
        self.of(id, now).not_before <= now
    }
}

/// The next change.
pub(super) fn next(seen: &Seen, trials: &mut Trials, now: Instant) -> Step {
    let effective = &seen.memberships.effective;
    let settled = effective.at == seen.memberships.committed.at;
    let (Some(_), Some(voters)) = (effective.at, effective.configs.last()) else {
        return Step::Nothing;
    };
    if !settled {
        return Step::Wait;
    }
    if effective.configs.len() > 1 {
        let (voters, new) = (voters.clone(), voters.clone());
        return match new.iter().all(|id| trials.may(*id, now)) {
            true => Step::Vote { voters, new },
            false => Step::Wait,
        };
    }
    let learners = effective.peers.keys().filter(|id| !voters.contains(*id));
    let (kept, gone): (BTreeSet<PeerId>, BTreeSet<PeerId>) =
        learners.partition(|id| seen.coordinators.contains_key(*id));
    if let Some(id) = gone.into_iter().find(|id| trials.may(*id, now)) {
        return Step::Dismiss(id);
    }
    let absent = seen
        .coordinators
        .iter()
        .find(|(id, _)| !effective.peers.contains_key(*id) && trials.may(**id, now));
    if let Some((id, peer)) = absent {
        return Step::Enlist(*id, peer.clone());
    }
    vote(seen, voters, &kept, trials, now)
}

fn vote(
    seen: &Seen,
    voters: &BTreeSet<PeerId>,
    learners: &BTreeSet<PeerId>,
    trials: &mut Trials,
    now: Instant,
) -> Step {
    let room = VOTERS_MAX.saturating_sub(voters.len());
    if room == 0 {
        return Step::Nothing;
    }
    let fit = |id: PeerId, trials: &mut Trials| seen.ready.contains(&id) && trials.may(id, now);
    let mut new: BTreeSet<PeerId> = learners
        .iter()
        .filter(|id| fit(**id, trials))
        .take(room)
        .copied()
        .collect();
    let others = seen.coordinators.keys();
    let others = others.filter(|id| !voters.contains(*id) && !new.contains(*id));
    let expected = others
        .filter(|id| now.duration_since(trials.of(**id, now).since) < PATIENCE)
        .count();
    let is_even = |new: &BTreeSet<PeerId>| (voters.len() + new.len()).is_multiple_of(2);
    if !new.is_empty() && is_even(&new) {
        if expected > 0 {
            return Step::Wait;
        }
        if new.len() > 1 || voters.len() > 1 {
            new.pop_last();
        }
    }
    match new.is_empty() {
        true if expected > 0 => Step::Wait,
        true => Step::Nothing,
        false => Step::Vote {
            voters: voters.union(&new).copied().collect(),
            new,
        },
    }
}

#[cfg(test)]
mod tests;
