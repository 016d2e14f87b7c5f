//! The hardware watchdog in the keeper's hands (R3, hazards 2.0): armed while a holding under isolation
//! `watchdog` needs it, petted only while the lease provably lasts, disarmed only when nothing needs it.
//!
//! ```text
//! Off -> Arming -> Armed <-> Petting        starved: petted no more, the machine resets itself
//!  ^                 |
//!  +--- Disarming <--+  nothing under `watchdog` is left in the kernel
//! ```
//!
//! The rule: a pet is decided only while `now + 2W <= E`. Carried out, it may be late by at most W, or the pet
//! before it would have fired; and it lasts W. So an watchdog that is not petted fires no later than E, whatever pause hits
//! this process. A holding begins only once the log holds the period, and is stopped from `E - 2W - S - G` on, so
//! that a node that was merely cut off has stopped, disarmed and lives on.
//! Opens no device and knows no ioctl.

use super::held::{Held, Phase};
use super::{Keeper, Mode, Operation, OperationResult, Output};
use crate::clock::{Moment, WATCHDOG_MARGIN};
use crate::ids::{ResourceId, Token};
use crate::plant::{self, Bug};
use crate::spec::Isolation;
use std::time::Duration;

/// Pause after the driver could not arm; the holding's own back-off decides when to give it back.
const REARM: Duration = Duration::from_secs(1);

/// The watchdog of this machine.
#[derive(Clone, Debug)]
pub(super) struct Watchdog {
    phase: WatchdogPhase,
    pets: Pets,
    /// When the armed period was last reported; repeated until the log has it.
    said: Moment,
    /// Not disarmed before this moment, after the driver refused.
    disarm_from: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WatchdogPhase {
    /// Not armed; not tried before this moment.
    Off(Moment),
    Arming,
    /// To be petted at this moment.
    Armed(Duration, Moment),
    Petting(Duration, Moment),
    Disarming(Duration),
}

/// Whether it may be petted at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pets {
    Given,
    /// A stop has failed under isolation `watchdog`: the reset is the proof (R7).
    Withheld,
}

impl Default for Watchdog {
    fn default() -> Watchdog {
        Watchdog {
            phase: WatchdogPhase::Off(Moment(0)),
            pets: Pets::Given,
            said: Moment(0),
            disarm_from: Moment(0),
        }
    }
}

impl Watchdog {
    /// The period in force while it can reset the machine.
    fn period(&self) -> Option<Duration> {
        match self.phase {
            WatchdogPhase::Off(_) | WatchdogPhase::Arming => None,
            WatchdogPhase::Armed(period, _)
            | WatchdogPhase::Petting(period, _)
            | WatchdogPhase::Disarming(period) => Some(period),
        }
    }

    /// The period while it stays armed.
    fn on_guard(&self) -> Option<Duration> {
        match self.phase {
            WatchdogPhase::Off(_) | WatchdogPhase::Arming | WatchdogPhase::Disarming(_) => None,
            WatchdogPhase::Armed(period, _) | WatchdogPhase::Petting(period, _) => Some(period),
        }
    }
}

/// Whether a holding needs the machine's watchdog.
fn needs_dog(held: &Held) -> bool {
    held.spec.isolation() == Isolation::Watchdog && !plant::is(Bug::ActWithoutWatchdog)
}

impl Keeper {
    /// Whether a holding may begin or go on, as far as the watchdog is concerned.
    pub(super) fn watched(&self, now: Moment, resource: &ResourceId, held: &Held) -> bool {
        if !needs_dog(held) {
            return true;
        }
        let attested = self
            .assigned
            .get(resource)
            .is_some_and(|item| item.token == held.token && item.watchdog.is_some());
        attested
            && self.watchdog.pets == Pets::Given
            && self
                .watchdog
                .on_guard()
                .and_then(|period| self.leave_by(period))
                .is_some_and(|end| now <= end)
    }

    /// The last moment at which a holding under `watchdog` may go on: `E - 2W - S - G`.
    fn leave_by(&self, period: Duration) -> Option<Moment> {
        if plant::is(Bug::PetWithoutLease) {
            return Some(Moment(u64::MAX));
        }
        let hand = period * 2 + self.timing.stop + WATCHDOG_MARGIN;
        self.lease_end.map(|end| end.before(hand))
    }

    /// The period of the machine's watchdog, while it can reset it.
    pub(super) fn watchdog_period(&self) -> Option<Duration> {
        self.watchdog.period()
    }

    fn may_pet(&self, now: Moment, period: Duration) -> bool {
        if plant::is(Bug::PetWithoutLease) {
            return true;
        }
        self.watchdog.pets == Pets::Given
            && self.lease_end.is_some_and(|end| now + period * 2 <= end)
    }

    pub(super) fn may_still_watch(&self, now: Moment, operation: &Operation) -> bool {
        match operation {
            Operation::ArmWatchdog(wanted) => {
                self.lease_end.is_some_and(|end| now + *wanted * 2 <= end)
            }
            Operation::PetWatchdog => self
                .watchdog
                .period()
                .is_some_and(|period| self.may_pet(now, period)),
            Operation::DisarmWatchdog => !self
                .held
                .values()
                .any(|held| needs_dog(held) && held.is_touched()),
            Operation::Arm(..)
            | Operation::Install(..)
            | Operation::AddAddress(..)
            | Operation::Renew(_)
            | Operation::RefreshAddress(..)
            | Operation::Remove(..)
            | Operation::Announce(..) => true,
        }
    }

    /// Whether the timing was lowered to one that this period does not fit, with nothing acting under it yet.
    fn is_misfit(&self, period: Duration) -> bool {
        let acts = self
            .held
            .values()
            .any(|held| needs_dog(held) && held.is_touched());
        !acts && !self.timing.admits_watchdog(period)
    }

    /// Whether anything under `watchdog` may be in the kernel, or is about to be.
    fn needs_watching(&self) -> bool {
        self.held
            .values()
            .any(|held| needs_dog(held) && (held.is_touched() || self.mode == Mode::Keeping))
    }

    /// Arms, pets, disarms, and says what is armed.
    pub(super) fn watch(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let needed = self.needs_watching();
        match self.watchdog.phase {
            WatchdogPhase::Off(from) if needed && now >= from && self.mode == Mode::Keeping => {
                let wanted = self.timing.watchdog;
                let ask = Operation::ArmWatchdog(wanted);
                if wanted.is_zero() {
                    self.watchdog.phase = WatchdogPhase::Off(now + REARM);
                    let why = "the cluster's ttl is too short for any watchdog".to_owned();
                    self.unwatchable(now, &why, outputs);
                } else if self.may_still_watch(now, &ask) {
                    self.watchdog.phase = WatchdogPhase::Arming;
                    outputs.push(Output::Do(ask));
                }
            }
            // One that does not fit the timing any more is laid down, where nothing acts under it, and armed anew.
            WatchdogPhase::Armed(period, _)
                if (!needed || self.is_misfit(period)) && now >= self.watchdog.disarm_from =>
            {
                self.watchdog.phase = WatchdogPhase::Disarming(period);
                outputs.push(Output::Do(Operation::DisarmWatchdog));
            }
            WatchdogPhase::Armed(period, at) if now >= at && self.may_pet(now, period) => {
                self.watchdog.phase = WatchdogPhase::Petting(period, now + period / 4);
                outputs.push(Output::Do(Operation::PetWatchdog));
            }
            WatchdogPhase::Off(_)
            | WatchdogPhase::Arming
            | WatchdogPhase::Armed(..)
            | WatchdogPhase::Petting(..)
            | WatchdogPhase::Disarming(_) => {}
        }
        if now >= self.watchdog.said + self.timing.ttl {
            let reports = self.armed_reports();
            if !reports.is_empty() {
                self.watchdog.said = now;
                outputs.extend(reports);
            }
        }
    }

    /// What the log does not hold yet of the armed watchdog.
    pub(super) fn armed_reports(&self) -> Vec<Output> {
        let armed = self.watchdog.on_guard();
        let Some(period) = armed.filter(|period| self.timing.admits_watchdog(*period)) else {
            return Vec::new();
        };
        let unattested = self.held.iter().filter(|(resource, held)| {
            let item = self.assigned.get(*resource);
            needs_dog(held)
                && !held.is_touched()
                && item.is_some_and(|item| item.token == held.token && item.watchdog.is_none())
        });
        unattested
            .map(|(resource, held)| Output::ReportArmed {
                resource: resource.clone(),
                token: held.token,
                period,
            })
            .collect()
    }

    pub(super) fn on_dog_armed(
        &mut self,
        now: Moment,
        result: OperationResult,
        outputs: &mut Vec<Output>,
    ) {
        if self.watchdog.phase != WatchdogPhase::Arming {
            return;
        }
        match result {
            OperationResult::Armed(period) => {
                self.watchdog.phase = WatchdogPhase::Armed(period, now + period / 4);
                self.watchdog.said = Moment(0);
                if !self.timing.admits_watchdog(period) {
                    self.watchdog.phase = WatchdogPhase::Disarming(period);
                    outputs.push(Output::Do(Operation::DisarmWatchdog));
                    let why = format!(
                        "its watchdog will not count less than {} ms, which does not fit the ttl",
                        period.as_millis()
                    );
                    self.unwatchable(now, &why, outputs);
                }
            }
            OperationResult::Lapsed | OperationResult::Done => {
                self.watchdog.phase = WatchdogPhase::Off(now);
            }
            OperationResult::Failed(why) => {
                self.watchdog.phase = WatchdogPhase::Off(now + REARM);
                self.unwatchable(
                    now,
                    &format!("its watchdog cannot be armed: {why}"),
                    outputs,
                );
            }
        }
    }

    /// Nothing under `watchdog` can be held here: each holding backs off and is handed back in the end.
    fn unwatchable(&mut self, now: Moment, why: &str, outputs: &mut Vec<Output>) {
        let waiting: Vec<(ResourceId, Token)> = self
            .held
            .iter()
            .filter(|(_, held)| needs_dog(held) && matches!(held.phase, Phase::Waiting(_)))
            .map(|(resource, held)| (resource.clone(), held.token))
            .collect();
        for (resource, token) in waiting {
            self.on_failed(now, &resource, token, why.to_owned(), outputs);
        }
    }

    pub(super) fn on_petted(&mut self, now: Moment, result: &OperationResult) {
        if let WatchdogPhase::Petting(period, next) = self.watchdog.phase {
            let at = match result {
                OperationResult::Done => next,
                // Tried again at once while it may: the machine's life hangs on it.
                OperationResult::Lapsed
                | OperationResult::Failed(_)
                | OperationResult::Armed(_) => now + period / 8,
            };
            self.watchdog.phase = WatchdogPhase::Armed(period, at);
        }
    }

    pub(super) fn on_disarmed(&mut self, now: Moment, result: &OperationResult) {
        if let WatchdogPhase::Disarming(period) = self.watchdog.phase {
            self.watchdog.phase = match result {
                OperationResult::Done if self.timing.admits_watchdog(period) => {
                    WatchdogPhase::Off(now)
                }
                OperationResult::Done => WatchdogPhase::Off(now + REARM),
                // A driver that cannot be disarmed is petted on, and asked again.
                OperationResult::Lapsed
                | OperationResult::Failed(_)
                | OperationResult::Armed(_) => {
                    self.watchdog.disarm_from = now + period / 2;
                    WatchdogPhase::Armed(period, now)
                }
            };
        }
    }

    /// A stop under isolation `watchdog` has failed: the machine resets itself (R7).
    pub(super) fn starve(&mut self) {
        self.watchdog.pets = Pets::Withheld;
    }

    /// Whether this keeper has nothing armed: only then may its process end in peace.
    pub(super) fn is_unwatched(&self) -> bool {
        match self.watchdog.phase {
            WatchdogPhase::Off(_) => true,
            WatchdogPhase::Arming
            | WatchdogPhase::Armed(..)
            | WatchdogPhase::Petting(..)
            | WatchdogPhase::Disarming(_) => false,
        }
    }

    /// The earliest moment at which [`Keeper::watch`] would do anything new, or a holding must leave.
    pub(super) fn watch_wake(&self, now: Moment) -> Option<Moment> {
        let needed = self.needs_watching();
        let own = match self.watchdog.phase {
            WatchdogPhase::Off(from) if needed && self.mode == Mode::Keeping => {
                let at = from.max(now);
                self.may_still_watch(at, &Operation::ArmWatchdog(self.timing.watchdog))
                    .then_some(at)
            }
            WatchdogPhase::Armed(period, at) => {
                let at = at.max(now);
                let pet = self.may_pet(at, period).then_some(at);
                let down = !needed || self.is_misfit(period);
                let disarm = down.then(|| self.watchdog.disarm_from.max(now));
                [pet, disarm].into_iter().flatten().min()
            }
            WatchdogPhase::Off(_)
            | WatchdogPhase::Arming
            | WatchdogPhase::Petting(..)
            | WatchdogPhase::Disarming(_) => None,
        };
        let leave = self
            .held
            .values()
            .any(|held| needs_dog(held) && held.is_touched() && !held.is_stopping())
            .then(|| {
                self.watchdog
                    .on_guard()
                    .and_then(|period| self.leave_by(period))
            })
            .flatten()
            // The first moment after it.
            .map(|end| end + Duration::from_nanos(1));
        let said = (!self.armed_reports().is_empty()).then(|| self.watchdog.said + self.timing.ttl);
        [own, leave, said].into_iter().flatten().min()
    }
}
