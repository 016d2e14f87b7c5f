//! When is a node without power, or with it: reads and commands of all its outlets as a machine.
//!
//! A node with two supplies is off when every one of its outlets is. "Off" takes two consecutive rounds of
//! reads, spaced, in which every outlet said off, after the command or instead of it when all were off
//! already (design rule R5). Any other value in between starts the count anew. "On" takes one round:
//! nothing is granted on it. The plan knows neither objects nor sockets; a read that fails ends the run
//! outside of it, because an unknown power state is a failure.

use std::time::{Duration, Instant};

/// What an outlet's state was read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It delivers power.
    On,
    /// It does not.
    Off,
    /// Neither: pending, unknown, or a value that means nothing to us.
    Unclear,
}

/// A power state to bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Every outlet delivers power.
    On,
    /// None does.
    Off,
}

impl Goal {
    const fn reading(self) -> Reading {
        match self {
            Self::On => Reading::On,
            Self::Off => Reading::Off,
        }
    }

    /// Rounds of reads that prove it.
    const fn rounds_needed(self) -> u32 {
        match self {
            Self::On => 1,
            Self::Off => 2,
        }
    }
}

/// What a round of reads says about the node behind the outlets.
///
/// One outlet that is on feeds the node: it is on. It is off only when every outlet is.
pub fn node_state(readings: &[Reading]) -> Reading {
    if readings.contains(&Reading::On) {
        Reading::On
    } else if readings.is_empty() || readings.contains(&Reading::Unclear) {
        Reading::Unclear
    } else {
        Reading::Off
    }
}

/// Times of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerPace {
    /// Between two rounds of reads.
    pub read_spacing: Duration,
    /// Between the commands and the first round after them.
    pub wait: Duration,
    /// From the commands until the state must have changed.
    pub change_timeout: Duration,
    /// How often the commands are given. Once for off.
    pub commands_max: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read every outlet and call [`SwitchPlan::on_read`].
    Read,
    /// Command every outlet and call [`SwitchPlan::on_commanded`].
    Command,
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
    /// The commands were given and the reads prove it.
    Switched,
    /// Some outlet still reads otherwise when the time is over.
    StillOther,
}

/// The way to one power state.
#[derive(Clone, Debug)]
pub struct SwitchPlan {
    goal: Goal,
    pace: PowerPace,
    next: Step,
    matching_rounds: u32,
    commands: u32,
    give_up_at: Option<Instant>,
}

impl SwitchPlan {
    /// A plan towards `goal`, beginning with a round of reads.
    pub fn new(goal: Goal, pace: PowerPace) -> Self {
        Self {
            goal,
            pace,
            next: Step::Read,
            matching_rounds: 0,
            commands: 0,
            give_up_at: None,
        }
    }

    /// Where it leads.
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// What to do at this time.
    pub fn next(&mut self, now: Instant) -> Step {
        match self.next {
            Step::PauseUntil(at) if now >= at => self.next = Step::Read,
            Step::PauseUntil(_) | Step::Read | Step::Command | Step::Finished(_) => {}
        }
        self.next
    }

    /// The commands were given; that they were acknowledged proves nothing.
    pub fn on_commanded(&mut self, now: Instant) {
        self.commands += 1;
        self.matching_rounds = 0;
        self.give_up_at = Some(now + self.pace.change_timeout);
        self.next = Step::PauseUntil(now + self.pace.wait);
    }

    /// Every outlet was read.
    pub fn on_read(&mut self, now: Instant, readings: &[Reading]) {
        let goal = self.goal.reading();
        let matches = !readings.is_empty() && readings.iter().all(|reading| *reading == goal);
        self.next = if matches {
            self.on_match(now)
        } else {
            self.on_mismatch(now)
        };
    }

    fn on_match(&mut self, now: Instant) -> Step {
        self.matching_rounds += 1;
        if self.matching_rounds < self.goal.rounds_needed() {
            return Step::PauseUntil(now + self.pace.read_spacing);
        }
        Step::Finished(if self.commands == 0 {
            SwitchEnd::Already
        } else {
            SwitchEnd::Switched
        })
    }

    fn on_mismatch(&mut self, now: Instant) -> Step {
        self.matching_rounds = 0;
        let waiting = self.give_up_at.is_some_and(|at| now < at);
        if waiting {
            Step::PauseUntil(now + self.pace.read_spacing)
        } else if self.commands < self.pace.commands_max {
            Step::Command
        } else {
            Step::Finished(SwitchEnd::StillOther)
        }
    }
}

#[cfg(test)]
mod tests;
