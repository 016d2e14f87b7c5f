//! The fence executor of the simulated haftd: the devices of a level one after the other, all of which must confirm.
//!
//! Power is `off`, then two off reads in a row, and status first when it adopts (R5). A pill is written and read
//! back on a majority of the disks, waited out, and looked at once more; who adopts begins again. Each device's
//! delay passes first. Which device comes next, whether it may still be called and what all of them prove is asked of
//! `haft_engine::attempt`, as haftd does. Gives up at the try's deadline. The plants here are in what the agents decide.

use super::Coordinator;
use crate::bmc::{Ask, Said};
use crate::disks::{DiskTimes, majority};
use crate::park::Tool;
use crate::wire::{Act, Challenged, Context, Hook, Question};
use haft_engine::attempt::Attempt;
use haft_engine::clock::Moment;
use haft_engine::command::{FenceAction, Verdict};
use haft_engine::leader::{FenceRun, Input, StatusFirst};
use haft_engine::plant::{self, Bug};
use haft_engine::witness::{Challenge, Heard, LISTEN_MIN, Witness};
use std::time::Duration;

/// Between two reads of a BMC, and before an unanswered question is asked again.
const SPACING: Duration = Duration::from_millis(10);
/// The same of a PDU, beyond what any supply holds up (`docs/fence-pdu.md`).
const PDU_SPACING: Duration = Duration::from_millis(50);
/// Off reads in a row that prove it.
const READS: u32 = 2;

/// Names of tries: the order's number times this, and the try's own.
pub(crate) const ATTEMPTS_PER_ORDER: u64 = 1_000;

/// One try under way.
pub(super) struct Task {
    attempt: Attempt,
    tool: Tool,
    stage: Stage,
    reads: u32,
    turn: u64,
    /// The newest question that was answered.
    heard: u64,
    /// First question to the present device; answers to earlier ones come too late.
    first_turn: u64,
    pub(super) next: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The device's delay passes.
    Delaying,
    /// Status first.
    Asking,
    /// The irreversible call.
    Ordering,
    /// Two reads.
    Reading,
    /// Is the pill there?
    Verifying,
    /// msgwait.
    Waiting,
    /// Is it still there?
    LookingBack,
    /// Planted: a pill in the slot is taken for off.
    TrustingSlot,
    /// All devices have said off; the machine itself is asked.
    Challenging,
}

impl Task {
    fn ask(&self) -> Option<Ask> {
        match (self.stage, self.attempt.run().action, self.tool) {
            (Stage::Delaying | Stage::Waiting | Stage::Challenging, _, _) => None,
            (Stage::Verifying | Stage::LookingBack | Stage::TrustingSlot, _, _) => Some(Ask::Slot),
            (Stage::Asking | Stage::Reading, _, _) => Some(Ask::Status),
            (Stage::Ordering, FenceAction::Off, Tool::Disks) => Some(Ask::Pill),
            (Stage::Ordering, FenceAction::Off, Tool::Bmc | Tool::Pdu(_)) => Some(Ask::Off),
            (Stage::Ordering, FenceAction::On, _) => Some(Ask::On),
        }
    }

    fn first_stage(&self) -> Stage {
        match (self.tool, self.attempt.run().status) {
            (Tool::Disks, StatusFirst::Yes) if plant::is(Bug::AdoptedPillCounts) => {
                Stage::TrustingSlot
            }
            (Tool::Bmc | Tool::Pdu(_), StatusFirst::Yes) => Stage::Asking,
            // What a slot holds is no power state, so a pill is sent as if anew.
            (Tool::Disks, _) | (_, StatusFirst::No) => Stage::Ordering,
        }
    }

    fn spacing(&self, times: &DiskTimes) -> Duration {
        match self.tool {
            Tool::Bmc => SPACING,
            Tool::Pdu(_) => PDU_SPACING,
            Tool::Disks => times.io * 4,
        }
    }

    fn enter(&mut self, stage: Stage, next: Moment) {
        self.stage = stage;
        self.reads = 0;
        self.next = next;
    }
}

impl Coordinator {
    pub(super) fn start_task(&mut self, context: &mut Context<'_>, run: FenceRun) {
        let id = run.order.0 * ATTEMPTS_PER_ORDER + u64::from(run.attempt);
        let task = Task {
            attempt: Attempt::new(run),
            tool: Tool::Bmc,
            stage: Stage::Delaying,
            reads: 0,
            turn: 0,
            heard: 0,
            first_turn: 0,
            next: context.now,
        };
        self.tasks.insert(id, task);
        self.begin_device(context, id);
    }

    /// Turns to the task's present device, or ends the task if that is gone.
    fn begin_device(&mut self, context: &mut Context<'_>, id: u64) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let Some(name) = task.attempt.device() else {
            self.ask_machine(context, id);
            return;
        };
        let Some(tool) = Tool::named(name) else {
            self.found(context, id, Verdict::Unknown);
            return;
        };
        let delay = task.attempt.delay(&self.state);
        task.tool = tool;
        task.first_turn = task.turn + 1;
        task.enter(Stage::Delaying, context.now + delay);
    }

    pub(super) fn wake_tasks(&mut self, context: &mut Context<'_>) {
        let due: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(_, task)| context.now >= task.next)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.go_on(context, id);
        }
    }

    fn go_on(&mut self, context: &mut Context<'_>, id: u64) {
        let now = context.now;
        let times = DiskTimes::of(&self.timing);
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if task.stage == Stage::Challenging {
            self.finish(context, id);
            return;
        }
        if now >= task.attempt.run().deadline {
            self.found(context, id, Verdict::Unknown);
            return;
        }
        match task.stage {
            Stage::Delaying => task.stage = task.first_stage(),
            Stage::Waiting => task.stage = Stage::LookingBack,
            Stage::Asking
            | Stage::Ordering
            | Stage::Reading
            | Stage::Verifying
            | Stage::LookingBack
            | Stage::Challenging
            | Stage::TrustingSlot => {}
        }
        task.next = (now + task.spacing(&times)).min(task.attempt.run().deadline);
        let Some(ask) = task.ask() else { return };
        // A read without answer is no off read: the two must follow each other.
        if task.heard < task.turn && task.turn >= task.first_turn {
            task.reads = 0;
        }
        task.turn += 1;
        let question = Question {
            tool: task.tool,
            target: task.attempt.run().node,
            task: id,
            turn: task.turn,
            ask,
        };
        if task.stage == Stage::Ordering {
            context
                .acts
                .push(Act::Hook(Hook::FenceOrdering(task.attempt.run().node)));
            if task.attempt.target(&self.state, self.own).is_err() {
                self.found(context, id, Verdict::Unknown);
                return;
            }
        }
        context.acts.push(Act::AskDevice(question));
    }

    pub(super) fn on_device(&mut self, context: &mut Context<'_>, id: u64, turn: u64, said: Said) {
        let disks = self.disks;
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        // To each question about disks there is one answer, and only that counts.
        let late = match task.tool {
            Tool::Disks => turn != task.turn,
            Tool::Bmc | Tool::Pdu(_) => turn < task.first_turn,
        };
        if late {
            return;
        }
        task.heard = task.heard.max(turn);
        match (task.tool, said) {
            (_, Said::Refused) => {
                self.found(context, id, Verdict::Refused);
            }
            (Tool::Disks, Said::Pills(on)) if on < majority(disks) => {
                self.found(context, id, Verdict::Unknown);
            }
            (Tool::Disks, Said::Taken | Said::Pills(_)) => self.on_disks(context, id, said),
            (Tool::Disks, _) => {
                self.found(context, id, Verdict::Unknown);
            }
            (Tool::Bmc | Tool::Pdu(_), _) => self.on_power(context, id, said),
        }
    }

    fn on_power(&mut self, context: &mut Context<'_>, id: u64, said: Said) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let wanted = match task.attempt.run().action {
            FenceAction::Off => Said::Off,
            FenceAction::On => Said::On,
        };
        let reads = if plant::is(Bug::OneOffRead) { 1 } else { READS };
        match (task.stage, said) {
            (Stage::Ordering, Said::Taken) => task.enter(Stage::Reading, context.now),
            (Stage::Asking | Stage::Reading, said) if said == wanted => {
                task.reads += 1;
                if task.reads >= reads {
                    self.found(context, id, Verdict::Confirmed);
                }
            }
            (Stage::Asking, Said::On | Said::Off | Said::Unknown) => {
                task.enter(Stage::Ordering, context.now);
            }
            (Stage::Reading, Said::On | Said::Off | Said::Unknown) => task.reads = 0,
            // Garbage for an answer to an order: what it did, reads tell.
            (Stage::Ordering, Said::On | Said::Off | Said::Unknown) => {}
            _ => {}
        }
    }

    /// The disks took the write, or show the pill on a majority.
    fn on_disks(&mut self, context: &mut Context<'_>, id: u64, said: Said) {
        let wait = DiskTimes::of(&self.timing).msgwait;
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        match (task.stage, said) {
            (Stage::Ordering, Said::Taken) => task.enter(Stage::Verifying, context.now),
            (Stage::Verifying, Said::Pills(_)) if plant::is(Bug::PillBeforeMsgwait) => {
                self.found(context, id, Verdict::Confirmed);
            }
            (Stage::Verifying, Said::Pills(_)) => {
                let hook = Hook::PillWritten(task.attempt.run().node);
                task.enter(Stage::Waiting, context.now + wait);
                task.next = task.next.min(task.attempt.run().deadline);
                context.acts.push(Act::Hook(hook));
            }
            (Stage::LookingBack | Stage::TrustingSlot, Said::Pills(_)) => {
                self.found(context, id, Verdict::Confirmed)
            }
            _ => {}
        }
    }

    /// The present device has shown this: the next one, or the end.
    fn found(&mut self, context: &mut Context<'_>, id: u64, verdict: Verdict) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let device = task.attempt.device();
        let device = device.and_then(|name| self.state.devices.get(name));
        let observes = device.map(|device| device.spec.observes);
        task.attempt.found(verdict, observes);
        if task.attempt.device().is_some() {
            let hook = Hook::BetweenDevices(task.attempt.run().node);
            context.acts.push(Act::Hook(hook));
        }
        self.begin_device(context, id);
    }

    /// Where all devices have said off, every coordinator asks the machine, and its answer is waited for.
    fn ask_machine(&mut self, context: &mut Context<'_>, id: u64) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if !task.attempt.to_challenge() {
            self.finish(context, id);
            return;
        }
        task.attempt.challenged(Challenge(id));
        task.enter(Stage::Challenging, context.now + LISTEN_MIN);
        let run = task.attempt.run();
        context.acts.push(Act::Challenge(Challenged {
            task: id,
            target: run.node,
            tools: run.devices.iter().filter_map(Tool::named).collect(),
        }));
    }

    /// Something of the machine has answered.
    pub(super) fn on_witness(&mut self, context: &mut Context<'_>, id: u64, witness: Witness) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let challenge = Challenge(id);
        task.attempt.heard(Heard { challenge, witness });
        if task.attempt.lie().is_some() {
            self.finish(context, id);
        }
    }

    /// Reports what all devices together have proved; none, if some were not reached.
    fn finish(&mut self, context: &mut Context<'_>, id: u64) {
        let Some(task) = self.tasks.remove(&id) else {
            return;
        };
        let run = task.attempt.run();
        let answer = Input::FenceAnswered {
            order: run.order,
            attempt: run.attempt,
            verdict: task.attempt.verdict().unwrap_or(Verdict::Unknown),
            detail: "the devices have been gone through".to_owned(),
            lie: task.attempt.lie(),
        };
        self.step_lead(context, answer);
    }
}
