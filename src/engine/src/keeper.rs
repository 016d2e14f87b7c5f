//! What a node does with its assignments, and when it stops by itself (R6): the node's self-guard.
//!
//! Level-triggered: the leader sends the whole assignment, the keeper compares it with what it holds and
//! says which kernel operations to do. Every permission to act is computed here from the lease's end;
//! the driver only executes and reports back. A release is final.
//!
//! The life of one holding ([`held`] has the table of its phases):
//!
//! ```text
//! Waiting -> Arming -> Installing -> Adding -> Acting -> Stopping -> (released)
//!    ^__________|__________|___________|_________|  lapsed or failed: by the install path again
//! ```
//!
//! What the driver owes: it carries out operations one at a time in the order given, answers each with
//! `Input::Done`, and just before each kernel write reads the clock anew and asks [`Keeper::may_still`];
//! if the answer is no it drops the write and answers [`OperationResult::Lapsed`].
//!
//! Choices where the design is silent. A link that loses its carrier, and an address that cannot be
//! installed, are handed back after some patience (one ttl, doubled each time up to 64 times, reset by
//! success): an owner that cannot serve is worth less than a move, and the patience keeps a cluster whose
//! every node fails from granting in a tight loop. A holding whose removal fails keeps its guard lapsed;
//! for `lease` isolation with an intact guard that lapse is the proof (R7) and the release is said, for
//! anything stronger it is not said until the removal has succeeded. A removal that has not succeeded within
//! the stop deadline is reported as a failed stop, once.
//!
//! Under isolation `watchdog` ([`watchdog`] has the rules) nothing of the above begins before the watchdog is armed
//! and the log holds its period, and it is stopped early enough that the watchdog, petted no more, would still
//! fire before the lease ends.
//! Under `stonith` ([`begin`]) nothing begins before the log says so either, so that what never began is told apart from
//! what may have.
//! Does not decide what to own, and does not know how the kernel does it.

use crate::clock::{Moment, Timing};
use crate::command::{Attestation, Difficulty};
use crate::gate::GateKind;
use crate::ids::{Incarnation, LogIndex, ResourceId, Token};
use crate::keeper::held::{Held, Phase};
use crate::keeper::history::{History, Link};
use crate::keeper::watchdog::Watchdog;
use crate::spec::ResourceSpec;
use crate::state::Progress;
use crate::timing::ClusterTiming;
use std::collections::BTreeMap;
use std::time::Duration;

mod begin;
mod gated;
mod held;
mod history;
mod reconcile;
mod retime;
mod watchdog;

/// Everything that the log says this node should do, as of one revision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assignment {
    /// Applied index at the leader that sent it; older ones are ignored.
    pub revision: LogIndex,
    /// The life it is for; others are ignored.
    pub incarnation: Incarnation,
    /// Each resource granted to this incarnation.
    pub items: Vec<AssignedItem>,
    /// The cluster's timing, while the log does not hold that this life counts by it (R2a).
    pub timing: Option<ClusterTiming>,
}

/// One granted resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssignedItem {
    /// What.
    pub resource: ResourceId,
    /// Under which token.
    pub token: Token,
    /// As granted.
    pub spec: ResourceSpec,
    /// Hold it, or stop and release it.
    pub want: Want,
    /// The watchdog period that the log holds for this token; under isolation `watchdog` nothing is done before
    /// it does (R3).
    pub watchdog: Option<Duration>,
    /// Whether the log says that it begins; under isolation `stonith` nothing is done before it does (R14).
    pub progress: Progress,
}

/// What the log wants of an owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Act.
    Hold,
    /// Stop and release.
    Release,
}

/// What happens to the keeper.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Time passes.
    Tick,
    /// A new assignment arrived.
    Assigned(Assignment),
    /// The lease now ends at this moment.
    LeaseEnds(Moment),
    /// The lease's end was capped: a shorter timing is in force (R2a).
    LeaseCapped(Moment),
    /// What is written from now on goes by this timing. Given only while no operation is in flight.
    Retime(Timing),
    /// The incarnation is over: stop everything, release, join anew.
    SessionOver,
    /// A kernel operation finished.
    Done {
        /// The operation.
        operation: Operation,
        /// How.
        result: OperationResult,
    },
    /// The kernel's guard state changed outside our hands. `Broken` puts every holding through the
    /// install path again; a driver that has repaired the tables says `Broken` and then `Intact`.
    GuardsAttested(Attestation),
    /// Something else removed the address.
    AddressVanished(ResourceId),
    /// The link that carries it lost or regained its carrier.
    Carrier(ResourceId, Carrier),
    /// The process is asked to end: release everything.
    Shutdown,
}

/// Link state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// Usable.
    Up,
    /// Not.
    Down,
}

/// How a kernel operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OperationResult {
    /// As asked.
    Done,
    /// The guard element had lapsed, so the transaction failed as it must; or [`Keeper::may_still`]
    /// said no and nothing was sent.
    Lapsed,
    /// The kernel refused.
    Failed(String),
    /// `ArmWatchdog` succeeded, and this is the period that the driver returned.
    Armed(Duration),
}

/// Kernel operations, each carrying the token under which it was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Put the address under management (blocked) if it is not, then set its short-lived `armed` element.
    Arm(ResourceId, Token),
    /// Move the armed element to `held` in one transaction; decided after re-reading the clock.
    Install(ResourceId, Token),
    /// Add the address (behind the guard) and announce it.
    AddAddress(ResourceId, Token),
    /// Renew `held` elements by delete and add in one transaction.
    Renew(Vec<(ResourceId, Token)>),
    /// Refresh the address's own lifetime.
    RefreshAddress(ResourceId, Token),
    /// Delete the `held` element, then the address; success is proof that it stopped.
    Remove(ResourceId, Token),
    /// Announce again.
    Announce(ResourceId, Token),
    /// Open the hardware watchdog, ask for this period and say which one it is.
    ArmWatchdog(Duration),
    /// Pet it once.
    PetWatchdog,
    /// Disarm and close it (magic close): nothing here needs it any more.
    DisarmWatchdog,
}

/// What the keeper wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Do this and answer with `Input::Done`.
    Do(Operation),
    /// Tell the leader: acting under this token.
    ReportActive {
        /// What.
        resource: ResourceId,
        /// Under which token.
        token: Token,
        /// The guard.
        guard: Attestation,
        /// `valid_lft` behind it.
        address_life: Duration,
    },
    /// Tell the leader, now and until the assignment no longer names the token: stopped, finally.
    ReportReleased {
        /// What.
        resource: ResourceId,
        /// The token given up.
        token: Token,
    },
    /// Tell the leader why it does not act, or cannot prove that it has stopped.
    ReportFailed {
        /// What.
        resource: ResourceId,
        /// Under which token.
        token: Token,
        /// What it cannot do.
        difficulty: Difficulty,
        /// Why.
        why: String,
    },
    /// Tell the leader, until the assignment says it: the watchdog is armed with this period.
    ReportArmed {
        /// What it is armed for.
        resource: ResourceId,
        /// Under which token.
        token: Token,
        /// As the driver returned it.
        period: Duration,
    },
    /// Tell the leader, until the assignment says it: everything is ready to begin under isolation `stonith`.
    ReportBegun {
        /// What.
        resource: ResourceId,
        /// Under which token.
        token: Token,
    },
    /// Everything is released: the driver may join anew (or end).
    Idle,
}

/// The keeper's machine.
#[derive(Clone, Debug)]
pub struct Keeper {
    incarnation: Incarnation,
    timing: Timing,
    gate: GateKind,
    /// Longest life of a guard element that may be in the kernel; W, but for a while after W was shortened.
    older_guard: Duration,
    lease_end: Option<Moment>,
    mode: Mode,
    revision: LogIndex,
    /// The latest assignment, level-triggered.
    assigned: BTreeMap<ResourceId, AssignedItem>,
    held: BTreeMap<ResourceId, Held>,
    history: BTreeMap<ResourceId, History>,
    attested: Attestation,
    renewal: Renewal,
    lapses: u64,
    watchdog: Watchdog,
    wake: Moment,
}

/// Whether this keeper still acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Keeping,
    /// Shut down or over: releases everything, acts on nothing.
    Ending,
    /// As `Ending`, and `Idle` has been said.
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Renewal {
    Due(Moment),
    /// Sent; the next one is due then, but not before the answer.
    InFlight(Moment),
}

impl Keeper {
    /// A keeper that holds nothing, behind timed elements.
    pub fn new(incarnation: Incarnation, timing: Timing) -> Keeper {
        Keeper {
            incarnation,
            timing,
            gate: GateKind::Timed,
            older_guard: timing.guard_life,
            lease_end: None,
            mode: Mode::Keeping,
            revision: LogIndex(0),
            assigned: BTreeMap::new(),
            held: BTreeMap::new(),
            history: BTreeMap::new(),
            attested: Attestation::Unknown,
            renewal: Renewal::Due(Moment(0)),
            lapses: 0,
            watchdog: Watchdog::default(),
            wake: Moment(u64::MAX),
        }
    }

    /// One step.
    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            Input::Tick => {}
            Input::Assigned(assignment) => self.on_assigned(assignment),
            Input::LeaseEnds(end) => self.on_lease_end(now, end),
            Input::LeaseCapped(end) => self.on_lease_capped(now, end),
            Input::Retime(timing) => self.on_retime(now, timing),
            Input::SessionOver => {
                self.lease_end = None;
                self.end_keeping();
            }
            Input::Done { operation, result } => {
                self.on_done(now, operation, result, &mut outputs);
            }
            Input::GuardsAttested(attestation) => self.on_attested(now, attestation),
            Input::AddressVanished(resource) => self.on_vanished(now, &resource, &mut outputs),
            Input::Carrier(resource, carrier) => {
                self.on_carrier(now, resource, carrier, &mut outputs);
            }
            Input::Shutdown => self.end_keeping(),
        }
        self.reconcile(now, &mut outputs);
        outputs
    }

    /// Just before the driver sends a decided kernel write: is it still allowed at `now`?
    pub fn may_still(&self, now: Moment, operation: &Operation) -> bool {
        match operation {
            Operation::Remove(..) => true,
            Operation::ArmWatchdog(_) | Operation::PetWatchdog | Operation::DisarmWatchdog => {
                self.may_still_watch(now, operation)
            }
            Operation::Arm(resource, token)
            | Operation::Install(resource, token)
            | Operation::AddAddress(resource, token)
            | Operation::RefreshAddress(resource, token)
            | Operation::Announce(resource, token) => {
                self.permitted(now) && self.keeps(resource, *token)
            }
            Operation::Renew(list) => {
                self.may_renew(now)
                    && list
                        .iter()
                        .all(|(resource, token)| self.keeps(resource, *token))
            }
        }
    }

    /// When to step with `Tick` at the latest.
    pub fn next_wake(&self) -> Moment {
        self.wake
    }

    /// How often a guard element lapsed, or a write came too late, while the lease was live. Counted,
    /// not a release.
    pub fn lapses(&self) -> u64 {
        self.lapses
    }

    /// Everything that the leader must know and may have missed, for a stream that was attached anew:
    /// what is acted on, and every release that the assignment does not reflect yet.
    pub fn standing_reports(&self) -> Vec<Output> {
        let active =
            self.held
                .iter()
                .filter(|(_, held)| held.is_active())
                .map(|(resource, held)| Output::ReportActive {
                    resource: resource.clone(),
                    token: held.token,
                    guard: self.attested,
                    address_life: self.timing.address_life,
                });
        let released = self.history.iter().filter_map(|(resource, history)| {
            let named = self.assigned.get(resource)?.token;
            history.has_released(named).then(|| Output::ReportReleased {
                resource: resource.clone(),
                token: named,
            })
        });
        active
            .chain(released)
            .chain(self.armed_reports())
            .chain(self.begun_reports())
            .collect()
    }

    /// Resources and tokens whose addresses may be installed now, for status displays.
    pub fn holdings(&self) -> Vec<(ResourceId, Token)> {
        self.held
            .iter()
            .filter(|(_, held)| held.is_touched())
            .map(|(resource, held)| (resource.clone(), held.token))
            .collect()
    }

    /// One more ttl after the end of the lease: nobody will extend it under these tokens.
    fn expired(&self, now: Moment) -> bool {
        self.lease_end
            .is_some_and(|end| now >= end + self.timing.ttl)
    }

    /// Whether it holds this under this token and means to go on. What it has decided to stop since a renewal was
    /// decided is left out of that renewal, which the others need.
    pub fn keeps(&self, resource: &ResourceId, token: Token) -> bool {
        self.held
            .get(resource)
            .is_some_and(|held| held.token == token && !held.is_stopping())
    }

    fn end_keeping(&mut self) {
        match self.mode {
            Mode::Keeping => self.mode = Mode::Ending,
            Mode::Ending | Mode::Ended => {}
        }
    }

    fn on_assigned(&mut self, assignment: Assignment) {
        if assignment.incarnation != self.incarnation || assignment.revision < self.revision {
            return;
        }
        self.revision = assignment.revision;
        self.assigned = assignment
            .items
            .into_iter()
            .map(|item| (item.resource.clone(), item))
            .collect();
    }

    fn on_attested(&mut self, now: Moment, attestation: Attestation) {
        self.attested = attestation;
        match attestation {
            Attestation::Broken => {
                for held in self.held.values_mut() {
                    held.reinstall(now);
                }
            }
            Attestation::Intact | Attestation::Watched | Attestation::Unknown => {}
        }
    }

    fn on_vanished(&mut self, now: Moment, resource: &ResourceId, outputs: &mut Vec<Output>) {
        let permitted = self.permitted(now);
        let Some(held) = self.held.get_mut(resource) else {
            return;
        };
        held.lose_address();
        if permitted && held.phase == Phase::Acting {
            held.phase = Phase::Adding;
            outputs.push(Output::Do(Operation::AddAddress(
                resource.clone(),
                held.token,
            )));
        }
    }

    fn on_carrier(
        &mut self,
        now: Moment,
        resource: ResourceId,
        carrier: Carrier,
        outputs: &mut Vec<Output>,
    ) {
        let history = self.history.entry(resource.clone()).or_default();
        let held = self.held.get_mut(&resource);
        match carrier {
            Carrier::Up => {
                if let (Link::Down(_), Some(held)) = (history.link, held) {
                    held.hurry(now);
                }
                history.link = Link::Up;
                history.patience = 0;
            }
            Carrier::Down => {
                // Said already where its installation was refused for that.
                if let (Link::Up, Some(held)) = (history.link, held)
                    && held.complaint.is_none()
                {
                    let ResourceSpec::VirtualIp(vip) = &held.spec;
                    outputs.push(Output::ReportFailed {
                        resource,
                        token: held.token,
                        difficulty: Difficulty::Start,
                        why: format!("{} has no carrier", vip.interface),
                    });
                }
                history.link = history.link.down(now);
            }
        }
    }

    fn on_done(
        &mut self,
        now: Moment,
        operation: Operation,
        result: OperationResult,
        outputs: &mut Vec<Output>,
    ) {
        match operation {
            Operation::Renew(list) => self.on_renewed(now, &list, &result, outputs),
            Operation::Arm(resource, token) => {
                self.on_armed(now, &resource, token, result, outputs);
            }
            Operation::Install(resource, token) => {
                self.on_installed(now, &resource, token, result, outputs);
            }
            Operation::AddAddress(resource, token) => {
                self.on_added(now, &resource, token, result, outputs);
            }
            Operation::RefreshAddress(resource, token) => match result {
                OperationResult::Done => {
                    let timing = self.timing;
                    if let Some(held) = self.held.get_mut(&resource) {
                        held.put(now, &timing);
                    }
                }
                OperationResult::Lapsed | OperationResult::Armed(_) => {}
                OperationResult::Failed(why) => {
                    if let Some(held) = self.held.get_mut(&resource) {
                        held.lose_address();
                    }
                    self.on_failed(now, &resource, token, why, outputs);
                }
            },
            Operation::Remove(resource, token) => {
                self.on_removed(now, &resource, token, result, outputs);
            }
            Operation::ArmWatchdog(_) => self.on_dog_armed(now, result, outputs),
            Operation::PetWatchdog => self.on_petted(now, &result),
            Operation::DisarmWatchdog => self.on_disarmed(now, &result),
            // Announcing is a courtesy to neighbours; the next one comes by its own schedule.
            Operation::Announce(..) => {}
        }
    }
}

#[cfg(test)]
mod tests;
