//! The fence executor of the simulated haftd: one BMC a node, `off`, then two off reads in a row.
//!
//! Re-checks the order and the target's incarnation just before the irreversible call, gives up at
//! the try's deadline, and asks for status first when it adopts (R5).

use super::Coordinator;
use crate::bmc::{Ask, Said};
use crate::wire::{Act, Context, Hook};
use haft_engine::clock::Moment;
use haft_engine::command::{FenceAction, Verdict};
use haft_engine::leader::{FenceRun, Input, StatusFirst};
use haft_engine::state::{OrderPhase, Session};
use std::time::Duration;

/// Between two reads, and before an unanswered question is asked again.
const SPACING: Duration = Duration::from_millis(10);
/// Off reads in a row that prove it.
const READS: u32 = 2;

/// One try under way.
pub(super) struct Task {
    run: FenceRun,
    stage: Stage,
    reads: u32,
    pub(super) next: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking,
    Ordering,
    Reading,
}

impl Coordinator {
    pub(super) fn start_task(&mut self, context: &mut Context<'_>, run: FenceRun) {
        let Some(lead) = &mut self.lead else { return };
        let stage = match run.status {
            StatusFirst::Yes => Stage::Asking,
            StatusFirst::No => Stage::Ordering,
        };
        let id = run.order.0 * 1_000 + u64::from(run.attempt);
        let task = Task {
            run,
            stage,
            reads: 0,
            next: context.now,
        };
        lead.tasks.insert(id, task);
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
        let Some(task) = self.lead.as_mut().and_then(|lead| lead.tasks.get_mut(&id)) else {
            return;
        };
        if now >= task.run.deadline {
            self.finish(context, id, Verdict::Unknown, "the deadline passed");
            return;
        }
        task.next = (now + SPACING).min(task.run.deadline);
        let target = task.run.node;
        let ask = match (task.stage, task.run.action) {
            (Stage::Asking | Stage::Reading, FenceAction::Off | FenceAction::On) => Ask::Status,
            (Stage::Ordering, FenceAction::Off) => Ask::Off,
            (Stage::Ordering, FenceAction::On) => Ask::On,
        };
        if task.stage == Stage::Ordering {
            let run = task.run.clone();
            context.acts.push(Act::Hook(Hook::FenceOrdering(target)));
            if !self.still_stands(&run) {
                self.finish(context, id, Verdict::Unknown, "the order no longer stands");
                return;
            }
        }
        context.acts.push(Act::AskBmc {
            target,
            task: id,
            ask,
        });
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

    pub(super) fn on_bmc(&mut self, context: &mut Context<'_>, id: u64, said: Said) {
        let Some(task) = self.lead.as_mut().and_then(|lead| lead.tasks.get_mut(&id)) else {
            return;
        };
        let wanted = match task.run.action {
            FenceAction::Off => Said::Off,
            FenceAction::On => Said::On,
        };
        match (task.stage, said) {
            (_, Said::Refused) => {
                self.finish(context, id, Verdict::Refused, "the device refused");
            }
            (Stage::Ordering, Said::Taken) => {
                task.stage = Stage::Reading;
                task.next = context.now;
            }
            (Stage::Asking | Stage::Reading, Said::On | Said::Off) if said == wanted => {
                task.reads += 1;
                if task.reads >= READS {
                    self.finish(context, id, Verdict::Confirmed, "two reads in a row");
                }
            }
            (Stage::Asking, Said::On | Said::Off | Said::Unknown) => {
                task.reads = 0;
                task.stage = Stage::Ordering;
                task.next = context.now;
            }
            (Stage::Reading, Said::On | Said::Off | Said::Unknown) => task.reads = 0,
            (Stage::Ordering, Said::On | Said::Off | Said::Unknown)
            | (Stage::Asking | Stage::Reading, Said::Taken) => {}
        }
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
