//! The cluster's timing changes under what is held (R2a): guard elements, lifetimes and watchdog go by the new one.
//!
//! A write decided now takes effect before the element that it replaces has lapsed, and what it writes lives W. So
//! while elements of another, longer life may be in the kernel, that life stands in the rule in W's place once:
//! `now + W_old + W <= E`. Nothing is dropped for the change: each holding is renewed and refreshed in its turn.
//! Does not decide when: [`crate::session::retiming`] does, and only while no operation is in flight.

use super::Keeper;
use super::held::Held;
use crate::clock::{Moment, Timing};
use crate::gate::GateKind;

impl Keeper {
    /// What every kernel write goes by; the driver has no timing of its own.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    pub(super) fn on_retime(&mut self, now: Moment, timing: Timing) {
        self.older_guard = self.older_guard.max(self.timing.guard_life);
        self.timing = timing;
        self.renewal = self.renewal.no_later_than(now);
        for held in self.held.values_mut() {
            held.refresh_at = held.refresh_at.min(now);
        }
    }

    /// Forgets the longer life of older elements once each has been written anew or has lapsed.
    pub(super) fn note_guards(&mut self, now: Moment) {
        let life = self.timing.guard_life;
        if self.older_guard <= life {
            return;
        }
        let any =
            |held: &Held| held.is_touched() && held.guard_span > life && now < held.guard_until;
        if !self.held.values().any(any) {
            self.older_guard = life;
        }
    }

    /// Whether the kernel holds nothing that was written to live longer than the timing in force says.
    pub fn is_retimed(&self, now: Moment) -> bool {
        let lives =
            |held: &Held| held.lifetime <= self.timing.address_life || now >= held.lifetime_until;
        let guards = self.older_guard <= self.timing.guard_life;
        let watchdog = self.watchdog_period();
        guards
            && self.held.values().all(lives)
            && watchdog.is_none_or(|period| self.timing.admits_watchdog(period))
    }

    /// The last moment at which anything decided up to `now` may still act: a write takes effect within the life of
    /// the element that it replaces and lives its own, a pet within its period and lasts another.
    pub fn reach(&self, now: Moment) -> Moment {
        let touched = self.held.values().any(Held::is_touched);
        // A kernel gate is told the capped end before anything is said of it.
        let guard = (touched && self.gate == GateKind::Timed)
            .then(|| self.timing.guard_life + self.older_guard.max(self.timing.guard_life));
        let watchdog = self.watchdog_period().map(|period| period * 2);
        now + guard.max(watchdog).unwrap_or_default()
    }
}
