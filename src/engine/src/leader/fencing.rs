//! Fence orders, as the leader drives them (R5): intent before act, one attempt at a time, adoption.
//!
//! ```text
//! orphans left -> FenceIntent + first attempt -> Fence (driver) -> FenceAnswered -> FenceVerdict (+ Grants)
//!                       |                                              | Unknown, Refused
//!                     Held: quorum, no device                next level at once; first level after a pause
//! ```
//! An attempt that this machine did not propose belongs to an earlier leader, whose `off` may still be in
//! flight: it is superseded by an own attempt that asks for status first, and the target is not admitted
//! anew before the old deadline has passed on this clock.

mod foresight;
mod intent;
mod levels;
mod quorum;
mod strays;
mod void;

pub(super) use levels::devices_at;

use super::draft::Draft;
use super::judge::Judge;
use super::steering::{Aim, aimed_at};
use super::{FenceRun, Output, StatusFirst, View, Wake};
use crate::apply::Outcome;
use crate::apply::may_testify;
use crate::apply::{leaves_orphans, wants_power};
use crate::clock::Moment;
use crate::command::{
    Command, Entry, FenceAction, FenceAttemptPlan, FenceCause, HoldReason, Verdict,
};
use crate::ids::{BootId, Incarnation, NodeId, OrderId, RequestId};
use crate::levels::awaits_unfencing;
use crate::state::{ClusterState, Ending, FenceOrder, Node, OrderPhase, Session};
use crate::text::{DETAIL_MAX, bounded};
use crate::witness::{Lie, Witness};
use foresight::Foresight;
use intent::Intent;
use levels::{Purpose, first_level, level_at, next_level, same_level, serves};
use quorum::{live_voters, survives};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use void::void_reason;

/// Pause before the first level is tried again; doubled each time.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause: a repaired device is noticed within this.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// What the driver gets beyond the deadline to say that it has killed the agent.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// An administrator's order that could not be carried out for so long is dropped: nobody expects it by then.
const ADMINISTRATOR_ORDER_LIFE: Duration = Duration::from_secs(900);

/// What an attempt proved.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    attempt: u32,
    verdict: Verdict,
    detail: String,
    lie: Option<Lie>,
}

impl Answer {
    /// As the driver said it, cut as `apply` cuts it.
    pub(super) fn new(attempt: u32, verdict: Verdict, detail: &str) -> Answer {
        Answer {
            attempt,
            verdict,
            detail: bounded(detail, DETAIL_MAX),
            lie: None,
        }
    }

    /// With what contradicts it.
    pub(super) fn contradicted(mut self, lie: Option<Lie>) -> Answer {
        self.lie = lie;
        self
    }
}

/// An attempt handed to the driver.
#[derive(Clone, Copy, Debug)]
struct Run {
    attempt: u32,
    deadline: Moment,
}

/// When an order is tried again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    after_attempt: u32,
    at: Moment,
    pause: Duration,
}

/// The fencing memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Fencing {
    /// Lives against which this machine has proposed an intent with a first attempt, and when it first did.
    intents: BTreeMap<(NodeId, Incarnation), Intent>,
    /// Attempts that this machine has proposed by themselves, and when it first did.
    attempts: BTreeMap<(OrderId, u32), Moment>,
    runs: BTreeMap<OrderId, Run>,
    answers: BTreeMap<OrderId, Answer>,
    retries: BTreeMap<OrderId, Retry>,
    seen: BTreeMap<OrderId, Moment>,
    strays: strays::Strays,
    /// Answers of machines that are proven off; one of each life is enough.
    witnesses: BTreeMap<(NodeId, Incarnation), Witness>,
    foresight: Foresight,
}

impl Fencing {
    /// The driver has answered an attempt.
    pub(super) fn on_answer(&mut self, order: OrderId, answer: Answer) {
        self.answers.insert(order, answer);
    }

    /// Something of a machine has answered a challenge.
    pub(super) fn on_witness(&mut self, node: NodeId, life: Incarnation, witness: Witness) {
        self.witnesses.insert((node, life), witness);
    }

    /// Until when an earlier executor may still act on this machine.
    pub(super) fn stray_until(&self, node: NodeId) -> Option<Moment> {
        self.strays.until(node)
    }

    /// Remembers what this machine has proposed, so that it knows its own attempts. Their deadlines count from the
    /// first proposal: whoever learns of a try and waits its deadline out has learned of it later than that.
    pub(super) fn proposed(&mut self, view: &View<'_>, entry: &Entry) {
        for command in &entry.commands {
            if let Command::FenceAttempt { order, attempt, .. } = command {
                let attempt = self.attempts.entry((*order, *attempt));
                attempt.or_insert(view.now);
            }
            if let Command::FenceIntent {
                node,
                incarnation,
                first: Some(_),
                ..
            } = command
            {
                let new = Intent::new(view);
                let life = (*node, *incarnation);
                let known = self.intents.get(&life);
                let stands = known.is_some_and(|known| known.may_come(view, life));
                if !stands {
                    self.intents.insert(life, new);
                }
            }
        }
    }

    /// Whether an open order to power off aims at the machine of this leader.
    pub(super) fn aims_at(&self, view: &View<'_>) -> Aim {
        if aimed_at(view.state, view.own) {
            Aim::OwnMachine
        } else {
            Aim::Elsewhere
        }
    }

    /// When this machine first proposed this try; `None` if it is another's.
    fn mine_since(&self, order: &FenceOrder, attempt: u32) -> Option<Moment> {
        let by_intent = match attempt {
            1 if is_own_cause(&order.cause) => {
                let intent = self.intents.get(&(order.node, order.incarnation));
                intent.map(|intent| intent.proposed())
            }
            _ => None,
        };
        by_intent.or_else(|| self.attempts.get(&(order.id, attempt)).copied())
    }

    /// Hands committed attempts of this machine to the driver; forgets what is over.
    pub(super) fn run(&mut self, view: &View<'_>, outputs: &mut Vec<Output>, wake: &mut Wake) {
        self.forget(view);
        self.foresight.look(view, outputs);
        let mut strays = std::mem::take(&mut self.strays);
        strays.note(view, wake, |order, attempt| {
            self.mine_since(order, attempt).is_some()
        });
        self.strays = strays;
        for order in view.state.orders.values() {
            let OrderPhase::Running {
                attempt,
                executor,
                level,
                deadline,
            } = order.phase
            else {
                continue;
            };
            let mine = self.mine_since(order, attempt);
            let Some(proposed) = mine.filter(|_| executor == view.own) else {
                continue; // A stray.
            };
            let running = self.runs.get(&order.id).map(|run| run.attempt);
            if running == Some(attempt) {
                continue;
            }
            let deadline = proposed + deadline;
            self.runs.insert(order.id, Run { attempt, deadline });
            wake.at(deadline + ANSWER_GRACE);
            let fresh = attempt == 1 && order.attempts == 1;
            // Gone, or of no use any more, if it was edited since the attempt was planned: then nothing is called
            // and nothing proven.
            let level = level_at(view.state, order.node, level)
                .filter(|level| serves(view.state, level, Purpose::of(order)));
            let delay = match (order.action, &level) {
                (FenceAction::Off, Some(level)) => level.delay,
                (FenceAction::Off, None) | (FenceAction::On, _) => Duration::ZERO,
            };
            outputs.push(Output::Fence(FenceRun {
                order: order.id,
                attempt,
                node: order.node,
                incarnation: order.incarnation,
                boot: view
                    .state
                    .nodes
                    .get(&order.node)
                    .map_or_else(BootId::default, |node| node.boot),
                action: order.action,
                devices: level.map_or_else(Vec::new, |level| level.devices),
                delay,
                status: if fresh {
                    StatusFirst::No
                } else {
                    StatusFirst::Yes
                },
                deadline,
            }));
        }
    }

    fn forget(&mut self, view: &View<'_>) {
        let orders = &view.state.orders;
        let open = |id: &OrderId| orders.get(id).is_some_and(|order| order.phase.is_open());
        let coming = |id: &OrderId| id.0 > view.state.applied.0;
        self.attempts.retain(|(id, _), _| open(id) || coming(id));
        self.runs.retain(|id, _| open(id));
        self.answers.retain(|id, _| open(id));
        self.retries.retain(|id, _| open(id));
        self.seen.retain(|id, _| open(id));
        self.intents.retain(|(node, incarnation), _| {
            view.state
                .nodes
                .get(node)
                .is_some_and(|node| match node.session {
                    Session::Never => false,
                    Session::Open {
                        incarnation: newest,
                    }
                    | Session::Closing {
                        incarnation: newest,
                        ..
                    }
                    | Session::Ended {
                        incarnation: newest,
                        ..
                    } => newest == *incarnation,
                })
        });
    }

    /// Proposes verdicts, cancellations, holds, attempts and intents.
    pub(super) fn plan(
        &mut self,
        view: &View<'_>,
        draft: &mut Draft<'_>,
        judge: &Judge,
        wake: &mut Wake,
    ) {
        let live = live_voters(view, judge);
        self.conclude(view, draft, wake);
        let orders: Vec<FenceOrder> = draft
            .state()
            .orders
            .values()
            .filter(|order| order.phase.is_open() && view.knows(order.id.0))
            .cloned()
            .collect();
        for order in &orders {
            self.pursue(view, draft, order, &live, wake);
        }
        intend(view, draft, &live);
    }

    /// Commits what attempts have proved; an executor that says nothing has proved nothing.
    fn conclude(&mut self, view: &View<'_>, draft: &mut Draft<'_>, wake: &mut Wake) {
        let overdue: Vec<(OrderId, u32)> = self
            .runs
            .iter()
            .filter(|(_, run)| view.now >= run.deadline + ANSWER_GRACE)
            .map(|(id, run)| (*id, run.attempt))
            .collect();
        for (id, attempt) in overdue {
            self.answers.entry(id).or_insert_with(|| {
                let detail = "the executor did not answer in time";
                Answer::new(attempt, Verdict::Unknown, detail)
            });
        }
        // Also when this machine may not try itself: else the target would stand at the door for ever.
        for (id, attempt) in self.strays.overdue(view, draft) {
            self.answers.entry(id).or_insert_with(|| {
                let detail = "its executor no longer leads and has not answered";
                Answer::new(attempt, Verdict::Unknown, detail)
            });
        }
        for run in self.runs.values() {
            if view.now < run.deadline + ANSWER_GRACE {
                wake.at(run.deadline + ANSWER_GRACE);
            }
        }
        let state = view.state;
        self.answers
            .retain(|id, answer| is_running(state, *id, answer.attempt));
        for (id, answer) in &self.answers {
            draft.propose(Command::FenceVerdict {
                order: *id,
                attempt: answer.attempt,
                verdict: answer.verdict,
                detail: answer.detail.clone(),
                lie: answer.lie.clone(),
            });
        }
        self.testify(view, draft);
    }

    /// Commits what machines have said that the log holds for proven off. Of others it says nothing: a challenge of
    /// this machine's own try is answered with that try.
    fn testify(&mut self, view: &View<'_>, draft: &mut Draft<'_>) {
        let state = view.state;
        // One that comes while the verdict is on its way to the log waits for it.
        let judged = |node: NodeId, life: Incarnation| {
            let mut orders = state.orders.values();
            orders.any(|order| {
                (order.node, order.incarnation) == (node, life) && order.phase.is_open()
            })
        };
        self.witnesses.retain(|(node, life), _| {
            let over = Session::Ended {
                incarnation: *life,
                ending: Ending::Fenced,
            };
            match state.nodes.get(node) {
                Some(found) if found.session == over => may_testify(state, *node, *life),
                Some(_) => judged(*node, *life),
                None => false,
            }
        });
        for ((node, incarnation), witness) in &self.witnesses {
            draft.propose(Command::Witnessed {
                node: *node,
                incarnation: *incarnation,
                witness: *witness,
            });
        }
    }

    /// One open order, one step further.
    fn pursue(
        &mut self,
        view: &View<'_>,
        draft: &mut Draft<'_>,
        order: &FenceOrder,
        live: &BTreeSet<NodeId>,
        wake: &mut Wake,
    ) {
        let seen = *self.seen.entry(order.id).or_insert(view.now);
        if let Some(reason) = void_reason(view, draft.state(), order, seen)
            && draft.propose(Command::FenceCancelled {
                order: order.id,
                reason: reason.to_owned(),
            }) == Outcome::Done
        {
            return;
        }
        let level = match order.phase {
            OrderPhase::Running {
                attempt,
                executor,
                level,
                ..
            } => {
                if executor == view.own && self.mine_since(order, attempt).is_some() {
                    return;
                }
                same_level(draft.state(), order.node, Purpose::of(order), level)
            }
            OrderPhase::Intended | OrderPhase::Held(_) => {
                first_level(draft.state(), order.node, Purpose::of(order))
            }
            OrderPhase::Waiting { level, .. } => {
                if self.must_pause(view, draft.state(), order, level, wake) {
                    return;
                }
                next_level(draft.state(), order.node, Purpose::of(order), level)
            }
            OrderPhase::Confirmed | OrderPhase::Cancelled(_) => return,
        };
        // A late off would leave it dark for good: nobody is switched on twice.
        if order.action == FenceAction::On
            && let Some(until) = self.strays.off_until(order.node)
            && view.now < until
        {
            wake.at(until);
            return;
        }
        match plan_attempt(view, draft.state(), order.node, order.action, level, live) {
            // An order against the leader's own machine is left to another leader for a while.
            Ok(_) if spares_itself(view, order, seen, wake) => {}
            Ok(plan) => {
                draft.propose(Command::FenceAttempt {
                    order: order.id,
                    attempt: order.attempts + 1,
                    executor: plan.executor,
                    level: plan.level,
                    deadline: plan.deadline,
                });
            }
            Err(reason) if order.phase != OrderPhase::Held(reason) => {
                draft.propose(Command::FenceHeld {
                    order: order.id,
                    reason,
                });
            }
            Err(_) => {}
        }
    }

    /// Whether the pause after the last level has still to pass.
    fn must_pause(
        &mut self,
        view: &View<'_>,
        state: &ClusterState,
        order: &FenceOrder,
        level: u8,
        wake: &mut Wake,
    ) -> bool {
        let next = next_level(state, order.node, Purpose::of(order), level);
        if next.is_some_and(|next| next > level) {
            return false;
        }
        let earlier = self.retries.get(&order.id).copied();
        let retry = match earlier {
            Some(retry) if retry.after_attempt == order.attempts => retry,
            Some(_) | None => {
                let pause = earlier.map_or(RETRY_MIN, |retry| (retry.pause * 2).min(RETRY_MAX));
                Retry {
                    after_attempt: order.attempts,
                    at: view.now + pause,
                    pause,
                }
            }
        };
        self.retries.insert(order.id, retry);
        if view.now < retry.at {
            wake.at(retry.at);
        }
        view.now < retry.at
    }
}

fn is_running(state: &ClusterState, id: OrderId, answered: u32) -> bool {
    state
        .orders
        .get(&id)
        .is_some_and(|order| match order.phase {
            OrderPhase::Running { attempt, .. } => attempt == answered,
            OrderPhase::Intended
            | OrderPhase::Held(_)
            | OrderPhase::Waiting { .. }
            | OrderPhase::Confirmed
            | OrderPhase::Cancelled(_) => false,
        })
}

/// Gives steering the time to hand leadership to another executor first.
fn spares_itself(view: &View<'_>, order: &FenceOrder, seen: Moment, wake: &mut Wake) -> bool {
    let until = seen + view.timing.election_max * 3;
    let spares = order.action == FenceAction::Off && order.node == view.own && view.now < until;
    if spares {
        wake.at(until);
    }
    spares
}

/// Whether the leader itself decides on orders of this cause.
fn is_own_cause(cause: &FenceCause) -> bool {
    match cause {
        FenceCause::Orphans
        | FenceCause::StopFailed { .. }
        | FenceCause::AfterFence
        | FenceCause::Witnessed
        | FenceCause::Unfence => true,
        FenceCause::Administrator { .. } => false,
    }
}

/// Opens an order for each lost life that left orphans, and for each live one that cannot prove that it has
/// stopped (R7), with its first attempt if that may start.
fn intend(view: &View<'_>, draft: &mut Draft<'_>, live: &BTreeSet<NodeId>) {
    let guilty: Vec<(NodeId, Incarnation, FenceAction, FenceCause)> = draft
        .state()
        .nodes
        .values()
        .filter_map(|node| {
            let (action, incarnation, cause) = charge(draft.state(), node)?;
            Some((node.id, incarnation, action, cause))
        })
        .filter(|(node, ..)| {
            !draft
                .state()
                .orders
                .values()
                .any(|order| order.node == *node && order.phase.is_open())
        })
        .collect();
    for (node, incarnation, action, cause) in guilty {
        let level = first_level(draft.state(), node, Purpose::new(action, &cause));
        let first = plan_attempt(view, draft.state(), node, action, level, live).ok();
        draft.propose(Command::FenceIntent {
            node,
            incarnation,
            action,
            cause,
            request: RequestId::default(),
            first: first.filter(|_| node != view.own || action == FenceAction::On),
        });
    }
}

/// Why this life of this node has to be isolated, if it has.
fn charge(state: &ClusterState, node: &Node) -> Option<(FenceAction, Incarnation, FenceCause)> {
    match node.session {
        Session::Ended { incarnation, .. } => {
            if leaves_orphans(state, node.id) {
                return Some((FenceAction::Off, incarnation, FenceCause::Orphans));
            }
            if node.witnessed.is_some() {
                return Some((FenceAction::Off, incarnation, FenceCause::Witnessed));
            }
            // Without a device of power the order could only wait; nothing depends on it.
            let can = first_level(state, node.id, Purpose::PowerOn).is_some();
            (can && wants_power(state, node.id)).then_some((
                FenceAction::On,
                incarnation,
                FenceCause::AfterFence,
            ))
        }
        Session::Open { incarnation } => {
            if let Some(resource) = state.unstoppable(node.id) {
                let resource = resource.id.clone();
                return Some((
                    FenceAction::Off,
                    incarnation,
                    FenceCause::StopFailed { resource },
                ));
            }
            awaits_unfencing(state, node).then_some((
                FenceAction::On,
                incarnation,
                FenceCause::Unfence,
            ))
        }
        // Its end is being judged; what it leaves is dealt with then.
        Session::Never | Session::Closing { .. } => None,
    }
}

/// Who tries, at which level and for how long; or why nobody may.
fn plan_attempt(
    view: &View<'_>,
    state: &ClusterState,
    node: NodeId,
    action: FenceAction,
    level: Option<u8>,
    live: &BTreeSet<NodeId>,
) -> Result<FenceAttemptPlan, HoldReason> {
    let level = level
        .and_then(|number| level_at(state, node, number))
        .ok_or(HoldReason::NoDevice)?;
    match action {
        FenceAction::Off if !survives(state, live, node) => return Err(HoldReason::Quorum),
        FenceAction::Off | FenceAction::On => {}
    }
    Ok(FenceAttemptPlan {
        executor: view.own,
        level: level.number,
        deadline: level.total(&state.devices),
    })
}
