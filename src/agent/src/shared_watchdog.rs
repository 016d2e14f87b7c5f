//! The machine's watchdog and its two claimants: what the keeper holds, and the shared disks.
//!
//! ```text
//! without disks:  the keeper's orders, passed on as they are
//! with disks:     Waiting ──the disks vouch──> Fresh ──petted──> Disks ──keeper arms──> Keeper
//!                                                               ^──petted── Returned <──disarms──┘
//! ```
//!
//! With disks it is armed from the moment they vouch for this node until everything is released at the end.
//! Every pet needs the disks' word, whoever asks for it; while the keeper has armed it for a holding under
//! isolation `watchdog`, only the keeper pets, by its own rule. So neither extends the other: a silent disk
//! starves it, and so does a lease that runs out under such a holding. The lease never stands in for the disks:
//! a node with a live session is fenced too (a stop that failed, an administrator), and the success of that is
//! concluded from the disks' arithmetic alone.

use crate::chain;
use crate::sbd::vouch::Vouch;
use crate::sbd::{SbdError, SbdNotice, SbdNotices};
use crate::watchdog::{Watchdog, WatchdogError};
use haft_engine::clock::Moment;
use haft_engine::keeper::OperationResult;
use std::fmt::Debug;
use std::time::Duration;

/// How long until an unarmed watchdog, or a silent disk, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A timer that resets the machine unless it is petted.
pub trait Timer: Send + Debug {
    /// Arms it, or changes its period, which pets it; the period that it keeps.
    ///
    /// # Errors
    /// As [`Watchdog::arm`].
    fn arm(&mut self, wanted: Duration) -> Result<Duration, WatchdogError>;
    /// Restarts it.
    ///
    /// # Errors
    /// As [`Watchdog::pet`].
    fn pet(&mut self) -> Result<(), WatchdogError>;
    /// Stops it.
    ///
    /// # Errors
    /// As [`Watchdog::disarm`].
    fn disarm(&mut self) -> Result<(), WatchdogError>;
}

impl Timer for Watchdog {
    fn arm(&mut self, wanted: Duration) -> Result<Duration, WatchdogError> {
        Watchdog::arm(self, wanted)
    }
    fn pet(&mut self) -> Result<(), WatchdogError> {
        Watchdog::pet(self)
    }
    fn disarm(&mut self) -> Result<(), WatchdogError> {
        Watchdog::disarm(self)
    }
}

/// The watchdog with whoever has a claim to it.
#[derive(Debug)]
pub struct SharedWatchdog {
    timer: Box<dyn Timer>,
    disks: Option<Disks>,
}

/// The disks' claim.
#[derive(Debug)]
struct Disks {
    vouch: Vouch,
    notices: SbdNotices,
    guard: Guard,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guard {
    /// Not armed: the disks have not vouched yet.
    Waiting,
    /// Armed just now. However long that took, nothing bounded it: nothing is held before a pet, which the
    /// armed watchdog bounds, has shown that the disks vouch still.
    Fresh(Duration),
    /// Armed with this period, petted for the disks alone, next at this moment.
    Disks(Duration, Moment),
    /// Armed with a period of the keeper's, who pets it.
    Keeper(Duration),
    /// Given back by the keeper with its period; the disks' own comes with the next pet, at this moment.
    Returned(Duration, Moment),
    /// It could not be armed, or was put down: not tried again.
    Over,
}

impl SharedWatchdog {
    /// For the keeper alone.
    pub fn alone(watchdog: Watchdog) -> SharedWatchdog {
        SharedWatchdog {
            timer: Box::new(watchdog),
            disks: None,
        }
    }

    /// For shared disks, too; the process hears when it is armed, or cannot be.
    pub fn with_disks(timer: Box<dyn Timer>, vouch: Vouch, notices: SbdNotices) -> SharedWatchdog {
        let disks = Disks {
            vouch,
            notices,
            guard: Guard::Waiting,
        };
        SharedWatchdog {
            timer,
            disks: Some(disks),
        }
    }

    /// Whether anything may be held here as far as the disks are concerned.
    pub fn is_watched(&self) -> bool {
        self.disks.as_ref().is_none_or(|disks| match disks.guard {
            Guard::Disks(..) | Guard::Keeper(_) | Guard::Returned(..) => true,
            Guard::Waiting | Guard::Fresh(_) | Guard::Over => false,
        })
    }

    /// The node has been admitted.
    pub fn admitted(&self) {
        if let Some(disks) = &self.disks {
            disks.vouch.admit();
        }
    }

    /// Arms and pets for the disks, as far as that is due.
    pub fn tend(&mut self, now: Moment) {
        let Some(disks) = &mut self.disks else {
            return;
        };
        let holds = disks.vouch.holds(now);
        match disks.guard {
            Guard::Waiting if holds => disks.arm(now, &mut *self.timer),
            Guard::Fresh(period) if holds => {
                if obeyed(self.timer.pet()) == OperationResult::Done {
                    disks.guard = Guard::Disks(period, now + period / 4);
                    disks.say(SbdNotice::Watched);
                }
            }
            Guard::Returned(_, at) if now >= at && holds => disks.arm(now, &mut *self.timer),
            Guard::Disks(period, at) if now >= at && holds => {
                let next = match self.timer.pet() {
                    Ok(()) => period / 4,
                    Err(error) => {
                        tracing::error!(err = chain(&error), "the watchdog does not obey");
                        LOOK_AGAIN
                    }
                };
                disks.guard = Guard::Disks(period, now + next);
            }
            Guard::Disks(period, at) if now >= at => {
                tracing::warn!(?period, "too few disks answer: the watchdog is not petted");
                disks.guard = Guard::Disks(period, now + LOOK_AGAIN);
            }
            Guard::Returned(period, at) if now >= at => {
                disks.guard = Guard::Returned(period, now + LOOK_AGAIN);
            }
            Guard::Waiting
            | Guard::Fresh(_)
            | Guard::Disks(..)
            | Guard::Keeper(_)
            | Guard::Returned(..)
            | Guard::Over => {}
        }
    }

    /// When to tend next.
    pub fn next_wake(&self, now: Moment) -> Option<Moment> {
        match self.disks.as_ref()?.guard {
            Guard::Waiting | Guard::Fresh(_) => Some(now + LOOK_AGAIN),
            Guard::Disks(_, at) | Guard::Returned(_, at) => Some(at),
            Guard::Keeper(_) | Guard::Over => None,
        }
    }

    /// The keeper wants it armed.
    pub fn arm(&mut self, now: Moment, wanted: Duration) -> OperationResult {
        let wanted = match &self.disks {
            None => wanted,
            Some(disks) if self.is_watched() && disks.vouch.holds(now) => {
                wanted.min(whole_seconds(disks.vouch.longest().unwrap_or_default()))
            }
            Some(_) => {
                let why = "the shared disks do not vouch for this node".to_owned();
                return OperationResult::Failed(why);
            }
        };
        match self.timer.arm(wanted) {
            Ok(period) => {
                if let Some(disks) = &mut self.disks {
                    disks.guard = Guard::Keeper(period);
                }
                OperationResult::Armed(period)
            }
            Err(error) => {
                // What was refused has been disarmed: the disks arm it anew, or say that they cannot.
                if let Some(disks) = &mut self.disks {
                    disks.guard = Guard::Waiting;
                }
                OperationResult::Failed(chain(&error))
            }
        }
    }

    /// The keeper wants it petted, and may by its own rule.
    pub fn pet(&mut self, now: Moment) -> OperationResult {
        if let Some(disks) = &self.disks
            && !disks.vouch.holds(now)
        {
            return OperationResult::Lapsed;
        }
        obeyed(self.timer.pet())
    }

    /// The keeper needs it no more. The disks go on needing it.
    pub fn disarm(&mut self, now: Moment) -> OperationResult {
        let Some(disks) = &mut self.disks else {
            return obeyed(self.timer.disarm());
        };
        if let Guard::Keeper(period) = disks.guard {
            disks.guard = Guard::Returned(period, now);
        }
        OperationResult::Done
    }

    /// Everything is released and the process ends: nothing is left that a pill would have to stop.
    pub fn disarm_finally(&mut self) {
        if let Some(disks) = &mut self.disks {
            disks.guard = Guard::Over;
            let _ = obeyed(self.timer.disarm());
        }
    }
}

fn obeyed(result: Result<(), WatchdogError>) -> OperationResult {
    match result {
        Ok(()) => OperationResult::Done,
        Err(error) => {
            tracing::error!(err = chain(&error), "the watchdog does not obey");
            OperationResult::Failed(chain(&error))
        }
    }
}

impl Disks {
    fn arm(&mut self, now: Moment, timer: &mut dyn Timer) {
        match arm_for(timer, &self.vouch) {
            Ok(period) if self.guard == Guard::Waiting => self.guard = Guard::Fresh(period),
            Ok(period) => self.guard = Guard::Disks(period, now + period / 4),
            Err(error) => {
                self.guard = Guard::Over;
                self.say(SbdNotice::Failed(error));
            }
        }
    }

    fn say(&self, notice: SbdNotice) {
        // Closed: the process is ending.
        let _ = self.notices.try_send(notice);
    }
}

/// Arms with the longest period that the disks' times allow. A driver that keeps a longer one is refused.
fn arm_for(timer: &mut dyn Timer, vouch: &Vouch) -> Result<Duration, SbdError> {
    let longest = vouch.longest().unwrap_or_default();
    let wanted = whole_seconds(longest);
    if wanted.is_zero() {
        let left_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        return Err(SbdError::NoRoom { left_ms });
    }
    let failed = |error: WatchdogError| SbdError::Watchdog { why: chain(&error) };
    let period = timer.arm(wanted).map_err(failed)?;
    if period > longest {
        timer.disarm().map_err(failed)?;
        let why = format!(
            "its driver keeps {} ms, and the SBD disks allow {}",
            period.as_millis(),
            longest.as_millis()
        );
        return Err(SbdError::Watchdog { why });
    }
    Ok(period)
}

fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}

#[cfg(test)]
mod tests;
