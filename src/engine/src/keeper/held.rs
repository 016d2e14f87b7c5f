//! One holding: where it stands between granted and released. Pure bookkeeping for the keeper.
//!
//! | phase | guard element | address | leaves by |
//! |---|---|---|---|
//! | Waiting | lapsed or lapsing | absent or behind the guard | a lease that permits, after any pause |
//! | Arming | `armed` on its way | same | answer |
//! | Installing | moving to `held` | same | answer |
//! | Adding | held, renewed | on its way | answer |
//! | Acting | held, renewed | present | lapse, vanished address, stop |
//! | Stopping | deleted or lapsing, never renewed | on its way out | successful removal |

use crate::clock::{Moment, Timing};
use crate::evidence::ADDRESS_LIFE_SLACK;
use crate::ids::Token;
use crate::spec::{Isolation, ResourceSpec};
use std::time::Duration;

/// Most doublings of the pause after a failure.
const DOUBLINGS_MAX: u32 = 5;

/// One granted resource in this node's hands.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) spec: ResourceSpec,
    pub(super) phase: Phase,
    /// When it was taken up.
    pub(super) since: Moment,
    /// No element of ours lets a frame through after this moment, if the guard is intact.
    pub(super) guard_until: Moment,
    /// Life of the longest element of ours that may be in the kernel until then.
    pub(super) guard_span: Duration,
    /// The longest lifetime that the address may have been given, and when that is over.
    pub(super) lifetime: Duration,
    pub(super) lifetime_until: Moment,
    /// When the address's own lifetime is to be refreshed.
    pub(super) refresh_at: Moment,
    /// Failures in a row.
    pub(super) failures: u32,
    /// What the kernel last said against its removal.
    pub(super) refusal: Option<String>,
    /// When its removal began; meaningful while it is stopping.
    pub(super) stopping_since: Moment,
    /// The failure reported last, so that the same one is not reported at every retry.
    pub(super) complaint: Option<String>,
    /// When the log was last asked for its word to begin.
    pub(super) asked: Option<Moment>,
    trace: Trace,
    address: Address,
    active: Active,
}

/// Where it stands; the table above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// For a lease that permits, and not before this moment.
    Waiting(Moment),
    Arming,
    Installing,
    Adding,
    Acting,
    Stopping(Removal),
}

/// How far its removal has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Removal {
    InFlight(Word),
    /// Failed; again at this moment.
    Retry(Moment, Word),
}

/// Whether its release has been said (R7 allows it before the removal succeeds).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Word {
    Owed,
    Said,
}

/// Whether the kernel may hold anything for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trace {
    Untouched,
    Touched,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Address {
    Absent,
    Present,
}

/// Whether it has been reported as acting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Active {
    Unreported,
    Reported,
}

impl Held {
    pub(super) fn new(now: Moment, token: Token, spec: ResourceSpec) -> Held {
        Held {
            token,
            spec,
            phase: Phase::Waiting(now),
            since: now,
            guard_until: Moment(0),
            guard_span: Duration::ZERO,
            lifetime: Duration::ZERO,
            lifetime_until: Moment(0),
            refresh_at: Moment(0),
            failures: 0,
            refusal: None,
            stopping_since: Moment(0),
            complaint: None,
            asked: None,
            trace: Trace::Untouched,
            address: Address::Absent,
            active: Active::Unreported,
        }
    }

    pub(super) fn arm(&mut self) {
        self.phase = Phase::Arming;
        self.trace = Trace::Touched;
    }

    /// The guard was perhaps installed at `now`; an older element may live on.
    pub(super) fn guarded(&mut self, now: Moment, timing: &Timing) {
        self.guard_until = self.guard_until.max(now + timing.guard_life);
        self.guard_span = self.guard_span.max(timing.guard_life);
    }

    /// The guard was renewed before `now`: the older element was deleted in the same transaction.
    pub(super) fn renewed(&mut self, now: Moment, timing: &Timing) {
        self.guard_until = now + timing.guard_life;
        self.guard_span = timing.guard_life;
    }

    /// A kernel gate was told this end.
    pub(super) fn gated(&mut self, until: Moment) {
        self.guard_until = self.guard_until.max(until);
    }

    /// The address was given its lifetime before `now`.
    pub(super) fn put(&mut self, now: Moment, timing: &Timing) {
        self.lifetime = timing.address_life;
        self.lifetime_until = now + timing.address_life + ADDRESS_LIFE_SLACK;
    }

    /// What failed may have been done all the same.
    pub(super) fn put_perhaps(&mut self, now: Moment, timing: &Timing) {
        let until = now + timing.address_life + ADDRESS_LIFE_SLACK;
        self.lifetime = self.lifetime.max(timing.address_life);
        self.lifetime_until = self.lifetime_until.max(until);
    }

    /// The address is in place; whether that is news to the leader.
    pub(super) fn act(&mut self, now: Moment, timing: &Timing) -> News {
        self.phase = Phase::Acting;
        self.failures = 0;
        self.complaint = None;
        self.refresh_at = now + refresh_interval(timing);
        self.address = Address::Present;
        match std::mem::replace(&mut self.active, Active::Reported) {
            Active::Unreported => News::First,
            Active::Reported => News::Known,
        }
    }

    /// Goes through the install path again, unless it is stopping.
    pub(super) fn reinstall(&mut self, now: Moment) {
        match self.phase {
            Phase::Arming | Phase::Installing | Phase::Adding | Phase::Acting => {
                self.phase = Phase::Waiting(now);
            }
            Phase::Waiting(_) | Phase::Stopping(_) => {}
        }
    }

    /// Pauses after a failure, longer each time, then goes through the install path.
    pub(super) fn pause(&mut self, now: Moment, timing: &Timing) {
        let pause = backoff(self.failures, timing);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting(now + pause);
    }

    /// What it paused for is over.
    pub(super) fn hurry(&mut self, now: Moment) {
        match self.phase {
            Phase::Waiting(until) => self.phase = Phase::Waiting(until.min(now)),
            Phase::Arming
            | Phase::Installing
            | Phase::Adding
            | Phase::Acting
            | Phase::Stopping(_) => {}
        }
    }

    /// Begins its removal.
    pub(super) fn stop(&mut self, now: Moment) {
        self.phase = Phase::Stopping(Removal::InFlight(Word::Owed));
        self.stopping_since = now;
        self.complaint = None;
    }

    pub(super) fn lose_address(&mut self) {
        self.address = Address::Absent;
    }

    pub(super) fn has_address(&self) -> bool {
        self.address == Address::Present
    }

    /// Whether its guard element is to be renewed.
    pub(super) fn is_guarded(&self) -> bool {
        match self.phase {
            Phase::Adding | Phase::Acting => true,
            Phase::Waiting(_) | Phase::Arming | Phase::Installing | Phase::Stopping(_) => false,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        match self.phase {
            Phase::Stopping(_) => true,
            Phase::Waiting(_)
            | Phase::Arming
            | Phase::Installing
            | Phase::Adding
            | Phase::Acting => false,
        }
    }

    /// Whether the leader was told that it acts, and it has not begun to stop.
    pub(super) fn is_active(&self) -> bool {
        self.active == Active::Reported && !self.is_stopping()
    }

    pub(super) fn is_touched(&self) -> bool {
        self.trace == Trace::Touched
    }

    /// Whether everything owed for it has been said.
    pub(super) fn is_said(&self) -> bool {
        match self.phase {
            Phase::Stopping(Removal::InFlight(word) | Removal::Retry(_, word)) => {
                word == Word::Said
            }
            Phase::Waiting(_)
            | Phase::Arming
            | Phase::Installing
            | Phase::Adding
            | Phase::Acting => false,
        }
    }

    /// Whether the guard's lapse proves that it has stopped although its removal fails (R7).
    pub(super) fn lapse_is_proof(&self, now: Moment) -> bool {
        self.spec.isolation() == Isolation::Lease && now >= self.guard_until
    }
}

/// Whether acting is news to the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    First,
    Known,
}

/// Four refreshes in one lifetime, so that three may be lost.
pub(super) fn refresh_interval(timing: &Timing) -> Duration {
    timing.address_life / 4
}

/// The pause after the given number of earlier failures in a row.
pub(super) fn backoff(failures: u32, timing: &Timing) -> Duration {
    timing.guard_renewal * (1 << failures.min(DOUBLINGS_MAX))
}
