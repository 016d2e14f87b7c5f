//! The fence executor of the simulated haftd: the devices of a level one after the other, all of which must confirm.
//!
//! Power is `off`, then two off reads in a row, and status first when it adopts (R5). A pill is written and read
//! back on a majority of the disks, waited out, and looked at once more; who adopts begins again. Each device's
//! delay passes first. Re-checks the order and the target's incarnation just before each irreversible call and gives
//! up at the try's deadline. The plants here are in decisions that haftd's driver and the agents take, not the engine.

use super::Coordinator;
use crate::bmc::{Ask, Said};
use crate::disks::{DiskTimes, majority};
use crate::park::Tool;
use crate::wire::{Act, Context, Hook, Question};
use haft_engine::clock::Moment;
use haft_engine::command::{FenceAction, Verdict};
use haft_engine::leader::{FenceRun, Input, StatusFirst};
use haft_engine::plant::{self, Bug};
use haft_engine::state::{OrderPhase, Session};
use std::time::Duration;

/// Between two reads of a BMC, and before an unanswered question is asked again.
const SPACING: Duration = Duration::from_millis(10);
/// The same of a PDU, beyond what any supply holds up (`docs/fence-pdu.md`).
const PDU_SPACING: Duration = Duration::from_millis(50);
/// Off reads in a row that prove it.
const READS: u32 = 2;

/// One try under way.
pub(super) struct Task {
    run: FenceRun,
    /// Which of the level's devices.
    at: usize,
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
}

impl Task {
    fn ask(&self) -> Option<Ask> {
        match (self.stage, self.run.action, self.tool) {
            (Stage::Delaying | Stage::Waiting, _, _) => None,
            (Stage::Verifying | Stage::LookingBack | Stage::TrustingSlot, _, _) => Some(Ask::Slot),
            (Stage::Asking | Stage::Reading, _, _) => Some(Ask::Status),
            (Stage::Ordering, FenceAction::Off, Tool::Disks) => Some(Ask::Pill),
            (Stage::Ordering, FenceAction::Off, Tool::Bmc | Tool::Pdu(_)) => Some(Ask::Off),
            (Stage::Ordering, FenceAction::On, _) => Some(Ask::On),
        }
    }

    fn first_stage(&self) -> Stage {
        match (self.tool, self.run.status) {
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
        let Some(lead) = &mut self.lead else { return };
        let id = run.order.0 * 1_000 + u64::from(run.attempt);
        let task = Task {
            run,
            at: 0,
            tool: Tool::Bmc,
            stage: Stage::Delaying,
            reads: 0,
            turn: 0,
            heard: 0,
            first_turn: 0,
            next: context.now,
        };
        lead.tasks.insert(id, task);
        self.begin_device(context, id);
    }

    /// Turns to the task's present device, or ends the task if that is gone.
    fn begin_device(&mut self, context: &mut Context<'_>, id: u64) {
        let Some(task) = self.lead.as_mut().and_then(|lead| lead.tasks.get_mut(&id)) else {
            return;
        };
        let name = task.run.devices.get(task.at);
        let device =
            name.and_then(|name| Some((Tool::named(name)?, self.state.devices.get(name)?)));
        let Some((tool, device)) = device else {
            self.finish(context, id, Verdict::Unknown, "there is no such device");
            return;
        };
        let before_all = match task.at {
            0 => task.run.delay,
            _ => Duration::ZERO,
        };
        let delay = match task.run.action {
            FenceAction::Off => before_all + device.spec.delay,
            FenceAction::On => Duration::ZERO,
        };
        task.tool = tool;
        task.first_turn = task.turn + 1;
        task.enter(Stage::Delaying, context.now + delay);
    }

    pub(super) fn wake_tasks(&mut self, context: &mut Context<'_>) {
        let due: Vec<u64> = match &self.lead {
            Some(lead) => lead
                .tasks
                .iter()
                .filter(|(_, task)| context.now >= task.next)
                .map(|(id, _)| *id)
                .collect(),
            None => return,
        };
        for id in due {
            self.go_on(context, id);
        }
    }

    fn go_on(&mut self, context: &mut Context<'_>, id: u64) {
        let now = context.now;
        let times = DiskTimes::of(&self.timing);
        let Some(task) = self.lead.as_mut().and_then(|lead| lead.tasks.get_mut(&id)) else {
            return;
        };
        if now >= task.run.deadline {
            self.finish(context, id, Verdict::Unknown, "the deadline passed");
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
            | Stage::TrustingSlot => {}
        }
        task.next = (now + task.spacing(&times)).min(task.run.deadline);
        let Some(ask) = task.ask() else { return };
        // A read without answer is no off read: the two must follow each other.
        if task.heard < task.turn && task.turn >= task.first_turn {
            task.reads = 0;
        }
        task.turn += 1;
        let question = Question {
            tool: task.tool,
            target: task.run.node,
            task: id,
            turn: task.turn,
            ask,
        };
        if task.stage == Stage::Ordering {
            let run = task.run.clone();
            context.acts.push(Act::Hook(Hook::FenceOrdering(run.node)));
            if !self.still_stands(&run) {
                self.finish(context, id, Verdict::Unknown, "the order no longer stands");
                return;
            }
        }
        context.acts.push(Act::AskDevice(question));
    }

    fn still_stands(&self, run: &FenceRun) -> bool {
        let running = self.state.orders.get(&run.order).is_some_and(|order| {
            matches!(&order.phase, OrderPhase::Running { attempt, executor, .. }
                if *attempt == run.attempt && *executor == self.own)
        });
        let newest = self.state.nodes.get(&run.node).map(|node| node.session);
        let same_life = match newest {
            Some(
                Session::Open { incarnation }
                | Session::Closing { incarnation, .. }
                | Session::Ended { incarnation, .. },
            ) => incarnation == run.incarnation,
            Some(Session::Never) | None => false,
        };
        running && same_life
    }

    pub(super) fn on_device(&mut self, context: &mut Context<'_>, id: u64, turn: u64, said: Said) {
        let disks = self.disks;
        let Some(task) = self.lead.as_mut().and_then(|lead| lead.tasks.get_mut(&id)) else {
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
                self.finish(context, id, Verdict::Refused, "the device refused");
            }
            (Tool::Disks, Said::Pills(on)) if on < majority(disks) => {
                self.finish(
                    context,
                    id,
                    Verdict::Unknown,
                    "the pill is not on a majority",
                );
            }
            (Tool::Disks, Said::Taken | Said::Pills(_)) => self.on_disks(context, id, said),
            (Tool::Disks, _) => {
                self.finish(
                    context,
                    id,
                    Verdict::Unknown,
                    "the disks answered something else",
                );
            }
            (Tool::Bmc | Tool::Pdu(_), _) => self.on_power(context, id, said),
        }
    }

    fn on_power(&mut self, context: &mut Context<'_>, id: u64, said: Said) {
        let Some(task) = self.lead.as_mut().and_then(|lead| lead.tasks.get_mut(&id)) else {
            return;
        };
        let wanted = match task.run.action {
            FenceAction::Off => Said::Off,
            FenceAction::On => Said::On,
        };
        let reads = if plant::is(Bug::OneOffRead) { 1 } else { READS };
        match (task.stage, said) {
            (Stage::Ordering, Said::Taken) => task.enter(Stage::Reading, context.now),
            (Stage::Asking | Stage::Reading, said) if said == wanted => {
                task.reads += 1;
                if task.reads >= reads {
                    self.confirm(context, id);
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
        let Some(task) = self.lead.as_mut().and_then(|lead| lead.tasks.get_mut(&id)) else {
            return;
        };
        match (task.stage, said) {
            (Stage::Ordering, Said::Taken) => task.enter(Stage::Verifying, context.now),
            (Stage::Verifying, Said::Pills(_)) if plant::is(Bug::PillBeforeMsgwait) => {
                self.confirm(context, id);
            }
            (Stage::Verifying, Said::Pills(_)) => {
                let hook = Hook::PillWritten(task.run.node);
                task.enter(Stage::Waiting, context.now + wait);
                task.next = task.next.min(task.run.deadline);
                context.acts.push(Act::Hook(hook));
            }
            (Stage::LookingBack | Stage::TrustingSlot, Said::Pills(_)) => self.confirm(context, id),
            _ => {}
        }
    }

    /// The present device has confirmed: the next one, or the verdict.
    fn confirm(&mut self, context: &mut Context<'_>, id: u64) {
        let Some(task) = self.lead.as_mut().and_then(|lead| lead.tasks.get_mut(&id)) else {
            return;
        };
        task.at += 1;
        if task.at < task.run.devices.len() && !plant::is(Bug::OneDeviceForLevel) {
            let hook = Hook::BetweenDevices(task.run.node);
            context.acts.push(Act::Hook(hook));
            self.begin_device(context, id);
            return;
        }
        self.finish(context, id, Verdict::Confirmed, "every device confirmed");
    }

    fn finish(&mut self, context: &mut Context<'_>, id: u64, verdict: Verdict, detail: &str) {
        let Some(task) = self.lead.as_mut().and_then(|lead| lead.tasks.remove(&id)) else {
            return;
        };
        let answer = Input::FenceAnswered {
            order: task.run.order,
            attempt: task.run.attempt,
            verdict,
            detail: detail.to_owned(),
        };
        self.step_lead(context, answer);
    }
}
