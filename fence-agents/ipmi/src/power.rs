//! When is a machine off, or on: reads and commands as a machine.
//!
//! "Off" takes two consecutive off reads, spaced, after the command or instead of it when the machine
//! was off already (design rule R5). A read of "on" in between starts the count anew. "On" takes one
//! read: nothing is granted on it. The plan knows neither session nor socket; a read that fails ends
//! the run outside of it, because an unknown power state is a failure.

use std::time::{Duration, Instant};

use crate::wire::message::Control;

/// A power state as read from the BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// The chassis is powered.
    On,
    /// The chassis is not powered.
    Off,
}

/// Longest pause between two reads while the machine is still the other way. A machine that takes
/// seconds to go off is not asked a hundred times a second: some BMCs answer nobody then.
pub const POLL_MAX: Duration = Duration::from_millis(200);
/// Shortest pause there, also where the reads that prove are to follow at once.
const POLL_MIN: Duration = Duration::from_millis(5);

/// Times of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerPace {
    /// Between the two reads that prove; the first pause while waiting, which grows by a quarter each time up to [`POLL_MAX`], so
    /// that off is seen at most a quarter later than it came.
    pub read_spacing: Duration,
    /// Between the command and the first read after it.
    pub wait: Duration,
    /// From the command until the state must have changed.
    pub change_timeout: Duration,
    /// How often the command is given. One for off.
    pub commands_max: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the power state and call [`SwitchPlan::on_read`].
    Read,
    /// Give this command and call [`SwitchPlan::on_commanded`].
    Command(Control),
    /// Ask again at this time.
    PauseUntil(Instant),
    /// The end.
    Finished(SwitchEnd),
}

/// How a plan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchEnd {
    /// It was so already; no command was given.
    Already,
    /// The command was given and the reads prove it.
    Switched,
    /// The machine still reads the other way when the time is over.
    StillOther,
}

/// The way to one power state.
#[derive(Clone, Debug)]
pub struct SwitchPlan {
    goal: Power,
    pace: PowerPace,
    next: Step,
    matching_reads: u32,
    commands: u32,
    give_up_at: Option<Instant>,
    /// The next pause while the machine is still the other way.
    poll: Duration,
}

impl SwitchPlan {
    /// A plan towards `goal`, beginning with a read.
    pub fn new(goal: Power, pace: PowerPace) -> Self {
        Self {
            goal,
            pace,
            next: Step::Read,
            matching_reads: 0,
            commands: 0,
            give_up_at: None,
            poll: pace.read_spacing.max(POLL_MIN),
        }
    }

    /// What to do at this time.
    pub fn next(&mut self, now: Instant) -> Step {
        match self.next {
            Step::PauseUntil(at) if now >= at => self.next = Step::Read,
            Step::PauseUntil(_) | Step::Read | Step::Command(_) | Step::Finished(_) => {}
        }
        self.next
    }

    /// The command was acknowledged, which proves nothing.
    pub fn on_commanded(&mut self, now: Instant) {
        self.commands += 1;
        self.matching_reads = 0;
        self.poll = self.pace.read_spacing.max(POLL_MIN);
        self.give_up_at = Some(now + self.pace.change_timeout);
        self.next = Step::PauseUntil(now + self.pace.wait);
    }

    /// With a read from before: one of the other state need not be repeated before the command, one of the goal proves
    /// nothing, since the reads that prove come after it was wanted.
    pub fn begin_from(&mut self, now: Instant, before: Power) {
        if before != self.goal {
            self.on_read(now, before);
        }
    }

    /// Whether the newest read is the first of the two that prove off.
    pub fn has_first_off_read(&self) -> bool {
        self.goal == Power::Off && self.matching_reads == 1
    }

    /// The machine was read.
    pub fn on_read(&mut self, now: Instant, power: Power) {
        self.next = if power == self.goal {
            self.on_match(now)
        } else {
            self.on_mismatch(now)
        };
    }

    fn on_match(&mut self, now: Instant) -> Step {
        self.matching_reads += 1;
        if self.matching_reads < reads_needed(self.goal) {
            return Step::PauseUntil(now + self.pace.read_spacing);
        }
        Step::Finished(if self.commands == 0 {
            SwitchEnd::Already
        } else {
            SwitchEnd::Switched
        })
    }

    fn on_mismatch(&mut self, now: Instant) -> Step {
        self.matching_reads = 0;
        let waiting = self.give_up_at.is_some_and(|at| now < at);
        if waiting {
            let pause = self.poll;
            self.poll = (pause + pause / 4).min(POLL_MAX).max(pause);
            Step::PauseUntil(now + pause)
        } else if self.commands < self.pace.commands_max {
            Step::Command(match self.goal {
                Power::On => Control::Up,
                Power::Off => Control::Down,
            })
        } else {
            Step::Finished(SwitchEnd::StillOther)
        }
    }
}

fn reads_needed(goal: Power) -> u32 {
    match goal {
        Power::On => 1,
        Power::Off => 2,
    }
}

#[cfg(test)]
mod tests;
