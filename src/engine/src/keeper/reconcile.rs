//! The keeper's comparison of what is assigned with what is held, and its reaction to answers.
//!
//! Runs after every input and is level-triggered: what it wants follows from the present state alone, so
//! a repeated or lost assignment makes no difference.

use super::held::{Held, News, Phase, Removal, Word, backoff, refresh_interval};
use super::history::{HISTORY_MAX, History, Link};
use super::{Keeper, Mode, Operation, OperationResult, Output, Renewal, Want};
use crate::clock::Moment;
use crate::command::{Attestation, Difficulty};
use crate::ids::{ResourceId, Token};
use crate::plant;
use crate::spec::Isolation;
use std::collections::BTreeSet;

/// Failures in a row after which a resource that never worked is handed back, patience permitting.
const FAILURES_MAX: u32 = 5;

impl Keeper {
    pub(super) fn reconcile(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        self.note_guards(now);
        self.stop_unwanted(now, outputs);
        self.take_up(now);
        self.release_untouched(now, outputs);
        self.own_up(now, outputs);
        self.watch(now, outputs);
        self.ask_to_begin(now, outputs);
        self.advance(now, outputs);
        self.renew(now, outputs);
        self.say_again(now, outputs);
        self.forget_history();
        let quiet = self.held.values().all(Held::is_said) && self.is_unwatched();
        if self.mode == Mode::Ending && quiet {
            self.mode = Mode::Ended;
            outputs.push(Output::Idle);
        }
        self.wake = self.wake_after(now);
    }

    /// Takes up what is assigned, not held, and was never released.
    fn take_up(&mut self, now: Moment) {
        for (resource, item) in &self.assigned {
            let released = self
                .history
                .get(resource)
                .is_some_and(|history| history.has_released(item.token));
            let acts_anyway = plant::is(plant::Bug::ActAfterRelease) && item.want == Want::Hold;
            if !self.held.contains_key(resource) && (!released || acts_anyway) {
                let held = Held::new(now, item.token, item.spec.clone());
                self.held.insert(resource.clone(), held);
            }
        }
    }

    /// Stops what is held and no longer wanted, or cannot be kept.
    fn stop_unwanted(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let unwanted: Vec<ResourceId> = self
            .held
            .iter()
            .filter(|(resource, held)| {
                held.is_touched()
                    && !held.is_stopping()
                    && (self.is_unwanted(now, resource, held) || !self.watched(now, resource, held))
            })
            .map(|(resource, _)| resource.clone())
            .collect();
        for resource in unwanted {
            self.note_hopeless(now, &resource);
            if let Some(held) = self.held.get_mut(&resource) {
                held.stop(now);
                outputs.push(Output::Do(Operation::Remove(resource, held.token)));
            }
        }
    }

    /// What never reached the kernel is released without touching it.
    fn release_untouched(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let unwanted: Vec<ResourceId> = self
            .held
            .iter()
            .filter(|(resource, held)| !held.is_touched() && self.is_unwanted(now, resource, held))
            .map(|(resource, _)| resource.clone())
            .collect();
        for resource in unwanted {
            self.note_hopeless(now, &resource);
            if let Some(held) = self.held.remove(&resource) {
                self.say_released(now, &resource, held.token, outputs);
            }
        }
    }

    fn is_unwanted(&self, now: Moment, resource: &ResourceId, held: &Held) -> bool {
        let wanted = self
            .assigned
            .get(resource)
            .is_some_and(|item| item.token == held.token && item.want == Want::Hold);
        !wanted
            || self.mode != Mode::Keeping
            || self.expired(now)
            || self.hopeless_at(resource, held).is_some_and(|at| now >= at)
    }

    /// When a resource that cannot work here is handed back, if it is such.
    fn hopeless_at(&self, resource: &ResourceId, held: &Held) -> Option<Moment> {
        let history = self.history.get(resource).copied().unwrap_or_default();
        let patience = history.patience(&self.timing);
        let unlinked = match history.link {
            Link::Up => None,
            Link::Down(since) => Some(since.max(held.since) + patience),
        };
        let failing = (held.failures >= FAILURES_MAX).then(|| held.since + patience);
        match (unlinked, failing) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn note_hopeless(&mut self, now: Moment, resource: &ResourceId) {
        let Some(held) = self.held.get(resource) else {
            return;
        };
        if self.hopeless_at(resource, held).is_some_and(|at| now >= at) {
            let history = self.history.entry(resource.clone()).or_default();
            history.patience = history.patience.saturating_add(1);
        }
    }

    /// Reports a stop that has not come to its end within the stop deadline (R7). Under isolation `watchdog` the
    /// machine then resets itself.
    fn own_up(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let mut starve = false;
        for (resource, held) in &mut self.held {
            if !held.is_stopping() || held.is_said() || now < held.stopping_since + self.timing.stop
            {
                continue;
            }
            starve |= held.spec.isolation() == Isolation::Watchdog;
            if held.complaint.is_none() {
                let why = match &held.refusal {
                    Some(why) => why.clone(),
                    None => "its removal has no answer from the kernel".to_owned(),
                };
                held.complaint = Some(why.clone());
                outputs.push(Output::ReportFailed {
                    resource: resource.clone(),
                    token: held.token,
                    difficulty: Difficulty::Stop,
                    why,
                });
            }
        }
        if starve {
            self.starve();
        }
    }

    /// Starts what waits and retries what failed.
    fn advance(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let permitted = self.permitted(now);
        let timing = self.timing;
        let ready: BTreeSet<ResourceId> = self
            .held
            .iter()
            .filter(|(resource, held)| {
                self.watched(now, resource, held) && self.may_begin(resource, held)
            })
            .map(|(resource, _)| resource.clone())
            .collect();
        for (resource, held) in &mut self.held {
            match held.phase {
                Phase::Waiting(until) if permitted && now >= until && ready.contains(resource) => {
                    held.arm();
                    outputs.push(Output::Do(Operation::Arm(resource.clone(), held.token)));
                }
                Phase::Acting if permitted && now >= held.refresh_at => {
                    held.refresh_at = now + refresh_interval(&timing);
                    outputs.push(Output::Do(Operation::RefreshAddress(
                        resource.clone(),
                        held.token,
                    )));
                }
                Phase::Stopping(Removal::Retry(at, word)) if now >= at => {
                    held.phase = Phase::Stopping(Removal::InFlight(word));
                    outputs.push(Output::Do(Operation::Remove(resource.clone(), held.token)));
                }
                Phase::Waiting(_)
                | Phase::Arming
                | Phase::Installing
                | Phase::Adding
                | Phase::Acting
                | Phase::Stopping(_) => {}
            }
        }
    }

    /// Renews what is held while that may be written. Otherwise does nothing, and the kernel closes it.
    fn renew(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let due = match self.renewal {
            Renewal::Due(at) => now >= at,
            Renewal::InFlight(_) => false,
        };
        if !due || !self.may_renew(now) {
            return;
        }
        let list: Vec<(ResourceId, Token)> = self
            .held
            .iter()
            .filter(|(_, held)| self.is_renewed(held))
            .map(|(resource, held)| (resource.clone(), held.token))
            .collect();
        if !list.is_empty() {
            self.renewal = Renewal::InFlight(self.renews_at(now));
            outputs.push(Output::Do(Operation::Renew(list)));
        }
    }

    /// Repeats every release that the assignment still names.
    fn say_again(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let owed: Vec<(ResourceId, Token)> = self
            .assigned
            .iter()
            .filter(|(resource, item)| {
                self.history.get(*resource).is_some_and(|history| {
                    history.has_released(item.token)
                        && now >= history.say_at(item.token, &self.timing)
                })
            })
            .map(|(resource, item)| (resource.clone(), item.token))
            .collect();
        for (resource, token) in owed {
            self.say_released(now, &resource, token, outputs);
        }
    }

    fn say_released(
        &mut self,
        now: Moment,
        resource: &ResourceId,
        token: Token,
        outputs: &mut Vec<Output>,
    ) {
        let history = self.history.entry(resource.clone()).or_default();
        history.released = history.released.max(Some(token));
        history.said = Some((token, now));
        outputs.push(Output::ReportReleased {
            resource: resource.clone(),
            token,
        });
    }

    fn forget_history(&mut self) {
        while self.history.len() > HISTORY_MAX {
            let oldest = self
                .history
                .iter()
                .filter(|(resource, _)| {
                    !self.assigned.contains_key(*resource) && !self.held.contains_key(*resource)
                })
                .min_by_key(|(_, history)| history.released)
                .map(|(resource, _)| resource.clone());
            match oldest {
                Some(resource) => self.history.remove(&resource),
                None => return,
            };
        }
    }

    pub(super) fn on_renewed(
        &mut self,
        now: Moment,
        list: &[(ResourceId, Token)],
        result: &OperationResult,
        outputs: &mut Vec<Output>,
    ) {
        if let Renewal::InFlight(next) = self.renewal {
            self.renewal = Renewal::Due(next);
        }
        if *result == OperationResult::Lapsed && self.permitted(now) {
            self.lapses = self.lapses.saturating_add(1);
        }
        for (resource, token) in list {
            match result {
                OperationResult::Done => {
                    let (timing, gated) = (self.timing, self.gated_until());
                    if let Some(held) = self.held_under(resource, *token) {
                        match gated {
                            Some(until) => held.gated(until),
                            None => held.renewed(now, &timing),
                        }
                    }
                }
                OperationResult::Lapsed | OperationResult::Armed(_) => {
                    if let Some(held) = self.held_under(resource, *token) {
                        held.reinstall(now);
                    }
                }
                OperationResult::Failed(why) => {
                    self.on_failed(now, resource, *token, why.clone(), outputs);
                }
            }
        }
    }

    pub(super) fn on_armed(
        &mut self,
        now: Moment,
        resource: &ResourceId,
        token: Token,
        result: OperationResult,
        outputs: &mut Vec<Output>,
    ) {
        let permitted = self.permitted(now);
        let Some(held) = self.held_in(resource, token, Phase::Arming) else {
            return;
        };
        match result {
            // Decided on the clock as read after arming: the armed element bounds any pause from here.
            OperationResult::Done if permitted => {
                held.phase = Phase::Installing;
                outputs.push(Output::Do(Operation::Install(resource.clone(), token)));
            }
            OperationResult::Done | OperationResult::Lapsed | OperationResult::Armed(_) => {
                held.reinstall(now);
            }
            OperationResult::Failed(why) => self.on_failed(now, resource, token, why, outputs),
        }
    }

    pub(super) fn on_installed(
        &mut self,
        now: Moment,
        resource: &ResourceId,
        token: Token,
        result: OperationResult,
        outputs: &mut Vec<Output>,
    ) {
        let timing = self.timing;
        let (gated, renewal) = (self.gated_until(), self.renews_at(now));
        if let Some(held) = self.held_under(resource, token) {
            match gated {
                Some(until) => held.gated(until),
                None => held.guarded(now, &timing),
            }
        }
        let permitted = self.permitted(now);
        let Some(held) = self.held_in(resource, token, Phase::Installing) else {
            return;
        };
        match result {
            // Installed, but too late for the address: the element lapses by itself.
            OperationResult::Done if !permitted => held.reinstall(now),
            OperationResult::Done => {
                if held.has_address() {
                    held.act(now, &timing);
                    outputs.push(Output::Do(Operation::Announce(resource.clone(), token)));
                } else {
                    held.phase = Phase::Adding;
                    outputs.push(Output::Do(Operation::AddAddress(resource.clone(), token)));
                }
                self.renewal = self.renewal.no_later_than(renewal);
            }
            OperationResult::Lapsed | OperationResult::Armed(_) => {
                held.reinstall(now);
                if permitted {
                    self.lapses = self.lapses.saturating_add(1);
                }
            }
            OperationResult::Failed(why) => self.on_failed(now, resource, token, why, outputs),
        }
    }

    pub(super) fn on_added(
        &mut self,
        now: Moment,
        resource: &ResourceId,
        token: Token,
        result: OperationResult,
        outputs: &mut Vec<Output>,
    ) {
        let timing = self.timing;
        let guard = self.attested;
        let Some(held) = self.held_in(resource, token, Phase::Adding) else {
            return;
        };
        match result {
            OperationResult::Done => {
                held.put(now, &timing);
                if held.act(now, &timing) == News::First {
                    outputs.push(Output::ReportActive {
                        resource: resource.clone(),
                        token,
                        guard,
                        address_life: timing.address_life,
                    });
                }
                if let Some(history) = self.history.get_mut(resource)
                    && history.link == Link::Up
                {
                    history.patience = 0;
                }
            }
            OperationResult::Lapsed | OperationResult::Armed(_) => held.reinstall(now),
            OperationResult::Failed(why) => self.on_failed(now, resource, token, why, outputs),
        }
    }

    pub(super) fn on_removed(
        &mut self,
        now: Moment,
        resource: &ResourceId,
        token: Token,
        result: OperationResult,
        outputs: &mut Vec<Output>,
    ) {
        let timing = self.timing;
        let intact = self.attested == Attestation::Intact;
        let Some(held) = self.held_under(resource, token) else {
            return;
        };
        let Phase::Stopping(Removal::InFlight(word)) = held.phase else {
            return;
        };
        match (result, word) {
            (OperationResult::Done, Word::Owed) => {
                self.held.remove(resource);
                self.say_released(now, resource, token, outputs);
            }
            (OperationResult::Done, Word::Said) => {
                self.held.remove(resource);
            }
            (OperationResult::Lapsed | OperationResult::Failed(_), Word::Owed)
                if intact && held.lapse_is_proof(now) || plant::is(plant::Bug::ReleaseUnproven) =>
            {
                let retry = now + backoff(held.failures, &timing);
                held.failures = held.failures.saturating_add(1);
                held.phase = Phase::Stopping(Removal::Retry(retry, Word::Said));
                self.say_released(now, resource, token, outputs);
            }
            (OperationResult::Lapsed | OperationResult::Armed(_), word) => {
                held.phase = Phase::Stopping(Removal::Retry(now + timing.guard_renewal, word));
            }
            (OperationResult::Failed(why), word) => {
                let retry = now + backoff(held.failures, &timing);
                held.failures = held.failures.saturating_add(1);
                held.phase = Phase::Stopping(Removal::Retry(retry, word));
                held.refusal = Some(why);
            }
        }
    }

    /// A step of the install path failed: says why, pauses, starts over.
    pub(super) fn on_failed(
        &mut self,
        now: Moment,
        resource: &ResourceId,
        token: Token,
        why: String,
        outputs: &mut Vec<Output>,
    ) {
        let timing = self.timing;
        let Some(held) = self.held_under(resource, token) else {
            return;
        };
        if held.is_stopping() {
            return;
        }
        held.put_perhaps(now, &timing);
        held.pause(now, &timing);
        self.complain(resource, token, why, outputs);
    }

    fn complain(
        &mut self,
        resource: &ResourceId,
        token: Token,
        why: String,
        outputs: &mut Vec<Output>,
    ) {
        let Some(held) = self.held_under(resource, token) else {
            return;
        };
        if held.complaint.as_deref() != Some(why.as_str()) {
            held.complaint = Some(why.clone());
            outputs.push(Output::ReportFailed {
                resource: resource.clone(),
                token,
                difficulty: Difficulty::Start,
                why,
            });
        }
    }

    fn held_under(&mut self, resource: &ResourceId, token: Token) -> Option<&mut Held> {
        self.held
            .get_mut(resource)
            .filter(|held| held.token == token)
    }

    fn held_in(&mut self, resource: &ResourceId, token: Token, phase: Phase) -> Option<&mut Held> {
        self.held_under(resource, token)
            .filter(|held| held.phase == phase)
    }

    /// The earliest moment at which `reconcile` would do anything new without an input.
    fn wake_after(&self, now: Moment) -> Moment {
        let guarded = self.held.values().any(|held| self.is_renewed(held));
        let renewal = match self.renewal {
            Renewal::Due(at) if guarded && at < Moment(u64::MAX) => {
                Some(at.max(now)).filter(|at| self.may_renew(*at))
            }
            Renewal::Due(_) | Renewal::InFlight(_) => None,
        };
        let lease = self.lease_end.map(|end| end + self.timing.ttl);
        let holdings = self.held.iter().flat_map(|(resource, held)| {
            let own = match held.phase {
                // Without its watchdog, or the log's word, it waits for that, not for this moment.
                Phase::Waiting(until) => self
                    .when_permitted(now, until)
                    .filter(|at| self.watched(*at, resource, held))
                    .filter(|_| self.may_begin(resource, held)),
                Phase::Acting => self.when_permitted(now, held.refresh_at),
                Phase::Stopping(Removal::Retry(at, _)) => Some(at),
                Phase::Arming
                | Phase::Installing
                | Phase::Adding
                | Phase::Stopping(Removal::InFlight(_)) => None,
            };
            let failed = (held.is_stopping() && !held.is_said() && held.complaint.is_none())
                .then(|| held.stopping_since + self.timing.stop);
            let stop = (!held.is_stopping())
                .then_some([lease, self.hopeless_at(resource, held)])
                .into_iter()
                .flatten()
                .flatten()
                .min();
            [own, stop, failed].into_iter().flatten()
        });
        let owed = self.assigned.iter().filter_map(|(resource, item)| {
            let history: &History = self.history.get(resource)?;
            history
                .has_released(item.token)
                .then(|| history.say_at(item.token, &self.timing))
        });
        holdings
            .chain(owed)
            .chain(self.watch_wake(now))
            .chain(self.begin_wake(now))
            .chain(renewal)
            .min()
            .unwrap_or(Moment(u64::MAX))
    }

    /// `at` or `now`, whichever is later, if a write would still be permitted then.
    pub(super) fn when_permitted(&self, now: Moment, at: Moment) -> Option<Moment> {
        let at = at.max(now);
        self.permitted(at).then_some(at)
    }
}
