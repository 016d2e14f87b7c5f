//! What a keeper may write, and when, behind either kind of gate.
//!
//! Behind timed elements a write is permitted while the element that it replaces and its own life fit before the
//! lease's end. A kernel gate is told that end itself, whenever it moves, also when it is capped: what is written
//! late there is an end in the past, so that nothing has to fit. Does not know how either gate is built.

use super::held::{Held, Phase};
use super::{Keeper, Renewal};
use crate::clock::Moment;
use crate::gate::{self, GateKind};

impl Renewal {
    pub(super) fn no_later_than(self, at: Moment) -> Renewal {
        match self {
            Renewal::Due(due) => Renewal::Due(due.min(at)),
            Renewal::InFlight(next) => Renewal::InFlight(next.min(at)),
        }
    }
}

impl Keeper {
    /// The same behind this kind of gate.
    pub fn behind(mut self, gate: GateKind) -> Keeper {
        self.gate = gate;
        self
    }

    /// The end of the lease as told last; what a kernel gate is told follows from it.
    pub fn lease_end(&self) -> Option<Moment> {
        self.lease_end
    }

    /// Behind timed elements `now + 2W ≤ E`: a write decided now takes effect within W (an older element of W
    /// must still live for it), and what it writes lives W more. After W was shortened the older life counts once
    /// ([`super::retime`]). Behind a kernel gate, while that is open.
    pub(super) fn permitted(&self, now: Moment) -> bool {
        let life = self.timing.guard_life;
        self.lease_end.is_some_and(|end| match self.gate {
            GateKind::Timed => now + self.older_guard.max(life) + life <= end,
            GateKind::Kernel => now < gate::closes(end),
        })
    }

    /// Whether a renewal may be written: to a kernel gate always, since an end that is capped or in the past has
    /// to reach it, too.
    pub(super) fn may_renew(&self, now: Moment) -> bool {
        match self.gate {
            GateKind::Timed => self.permitted(now),
            GateKind::Kernel => self.lease_end.is_some(),
        }
    }

    /// Whether a holding's guard is to be renewed. A kernel gate may still hold an end for whatever it was told of.
    pub(super) fn is_renewed(&self, held: &Held) -> bool {
        let waits = matches!(held.phase, Phase::Waiting(_)) && held.is_touched();
        held.is_guarded() || (self.gate == GateKind::Kernel && waits)
    }

    /// The end that a kernel gate has been told; none behind timed elements.
    pub(super) fn gated_until(&self) -> Option<Moment> {
        match self.gate {
            GateKind::Timed => None,
            GateKind::Kernel => self.lease_end,
        }
    }

    pub(super) fn on_lease_end(&mut self, now: Moment, end: Moment) {
        if self.lease_end.is_none_or(|known| known < end) {
            self.lease_end = Some(end);
            self.tell_gate(now);
        }
    }

    pub(super) fn on_lease_capped(&mut self, now: Moment, end: Moment) {
        if self.lease_end.is_some_and(|known| known > end) {
            self.lease_end = Some(end);
            self.tell_gate(now);
        }
    }

    /// A kernel gate is told at once; timed elements are renewed at their own pace.
    fn tell_gate(&mut self, now: Moment) {
        match self.gate {
            GateKind::Timed => {}
            GateKind::Kernel => self.renewal = self.renewal.no_later_than(now),
        }
    }

    /// When the next renewal is due, if nothing happens before.
    pub(super) fn renews_at(&self, now: Moment) -> Moment {
        match self.gate {
            GateKind::Timed => now + self.timing.guard_renewal,
            GateKind::Kernel => Moment(u64::MAX),
        }
    }
}
