//! haft-agent's driver in the simulator: probe, attach, beat, and carry out what the keeper decides.
//!
//! Kernel operations go out one at a time in the order decided; just before each write the clock is
//! read anew and the keeper is asked whether it may still be sent. What happens between that answer and
//! the kernel (a pause, for instance) is the world's business, and the guard's rules must bear it.

mod words;

use crate::kernel::Reply;
use crate::wire::{Act, Context, Hook, Life, Local, Stream, Wire};
use haft_engine::clock::{Moment, Timing};
use haft_engine::command::{Command, Difficulty, Probe};
use haft_engine::ids::{BootId, Incarnation, NodeId, ResourceId, Token};
use haft_engine::keeper::{Assignment, Carrier, Input, Keeper, Operation, OperationResult, Output};
use haft_engine::session::holder::{Holder, Learned};
use haft_engine::session::retiming::Retiming;
use haft_engine::spec::ResourceSpec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

mod following;
pub(crate) mod gated;
mod kernel;

/// Between repetitions of an unanswered request or an unconfirmed report.
const REPEAT: Duration = Duration::from_millis(100);
/// A stream of which nothing is heard for so long is given up.
const STREAM_PATIENCE: Duration = Duration::from_millis(700);
/// A report is repeated for so long.
const REPORT_PATIENCE: Duration = Duration::from_secs(12);
/// Reports remembered at most.
const REPORTS_MAX: usize = 64;

use gated::Gate;

/// One life of one haft-agent.
pub(crate) struct Agent {
    node: NodeId,
    life: Life,
    boot: BootId,
    /// What its own file says, which counts for nothing.
    file: Timing,
    phase: Phase,
    operations: VecDeque<Operation>,
    in_flight: bool,
    /// Which address each token is about.
    addresses: BTreeMap<(ResourceId, Token), IpAddr>,
    reports: BTreeMap<(ResourceId, Token), Repeated>,
    repeat_at: Moment,
    ending: Ending,
    carrier: Carrier,
    /// Addresses that an administrator has put on the machine.
    foreign: BTreeSet<IpAddr>,
    /// Reports of the machine so far.
    looks: u32,
    /// Coordinators, in the order in which they are tried.
    doors: Vec<NodeId>,
    stream: u64,
    watch: Watch,
    gate: Gate,
}

/// Whether anything may be held as far as the shared disks are concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The disks do not vouch for this life yet.
    Awaited,
    /// They do and the watchdog is armed, or there are no disks.
    Watched,
}

enum Phase {
    Probing,
    Attaching(Attaching),
    Live(Box<Live>),
}

/// At the door of one coordinator after another, one stream at a time.
struct Attaching {
    probe: Probe,
    target: NodeId,
    /// When the present stream was opened or last heard of.
    heard: Moment,
}

struct Live {
    incarnation: Incarnation,
    holder: Holder,
    keeper: Keeper,
    retiming: Retiming,
}

struct Repeated {
    command: Command,
    since: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    Asked,
    Ended,
}

impl Agent {
    /// A process that has just started and looks for leftovers.
    pub(crate) fn start(
        node: NodeId,
        life: Life,
        boot: BootId,
        file: Timing,
        doors: Vec<NodeId>,
        watch: Watch,
        now: Moment,
    ) -> Agent {
        Agent {
            node,
            life,
            boot,
            file,
            phase: Phase::Probing,
            operations: VecDeque::new(),
            in_flight: false,
            addresses: BTreeMap::new(),
            reports: BTreeMap::new(),
            repeat_at: now,
            ending: Ending::No,
            carrier: Carrier::Up,
            foreign: BTreeSet::new(),
            looks: 0,
            doors,
            stream: 0,
            watch,
            gate: Gate::default(),
        }
    }

    /// The stream on which it asks to be admitted, while it does.
    pub(crate) fn asks_on(&self) -> Option<Stream> {
        match self.phase {
            Phase::Attaching(_) => Some(self.stream()),
            Phase::Probing | Phase::Live(_) => None,
        }
    }

    fn stream(&self) -> Stream {
        Stream {
            life: self.life,
            number: self.stream,
        }
    }

    /// Gives up the present stream, if any, and opens one to the next coordinator.
    fn knock(&mut self, probe: Probe, now: Moment) {
        self.stream += 1;
        let turn = usize::try_from(self.stream).unwrap_or(0);
        let target = self.doors[turn % self.doors.len()];
        let heard = now;
        self.phase = Phase::Attaching(Attaching {
            probe,
            target,
            heard,
        });
        self.repeat_at = now;
    }

    /// Its incarnation, while it has one, and the end of its lease.
    pub(crate) fn lease(&self) -> Option<(Incarnation, Option<Moment>)> {
        match &self.phase {
            Phase::Live(live) => Some((live.incarnation, live.holder.end())),
            Phase::Probing | Phase::Attaching(_) => None,
        }
    }

    /// Whether its disks do not vouch for it yet, so that it is handed no assignment.
    pub(crate) fn awaits_disks(&self) -> bool {
        self.watch == Watch::Awaited
    }

    /// Whether it was asked to end and has released everything.
    pub(crate) fn ended(&self) -> bool {
        self.ending == Ending::Ended
    }

    /// When it wants to be woken.
    pub(crate) fn next_wake(&self) -> Moment {
        match &self.phase {
            Phase::Probing => self.repeat_at,
            Phase::Attaching(_) => self.repeat_at,
            Phase::Live(live) => live
                .holder
                .next_wake()
                .min(live.keeper.next_wake())
                .min(self.repeat_at),
        }
    }

    /// Something local happened.
    pub(crate) fn on_local(&mut self, context: &mut Context<'_>, local: Local) {
        match local {
            Local::Wake => self.on_wake(context),
            Local::Probed(probe) => self.knock(probe, context.now),
            Local::KernelDone { operation, reply } => {
                self.in_flight = false;
                self.on_kernel(context, operation, reply);
                self.next_operation(context);
                self.follow_timing(context);
            }
            Local::AddressVanished(address) => {
                let gone: Vec<ResourceId> = self
                    .addresses
                    .iter()
                    .filter(|(_, known)| **known == address)
                    .map(|((resource, _), _)| resource.clone())
                    .collect();
                for resource in gone {
                    self.step(context, Input::AddressVanished(resource));
                }
            }
            Local::GuardRebuilt => self.on_rebuilt(context),
            Local::Gate(found) => self.gate.found = found,
            Local::Carrier(carrier) => {
                self.carrier = carrier;
                self.tell_carrier(context);
            }
            Local::Foreign(foreign) => self.foreign = foreign,
            Local::Watched => self.watch = Watch::Watched,
            Local::Shutdown => {
                self.ending = Ending::Asked;
                match &self.phase {
                    Phase::Live(_) => self.step(context, Input::Shutdown),
                    Phase::Probing | Phase::Attaching(_) => self.ending = Ending::Ended,
                }
            }
            // The kernel's business: nothing that it says or decides goes by it.
            Local::FiltersGone
            | Local::Flushed { .. }
            | Local::AppendLater(..)
            | Local::Propose { .. }
            | Local::DeviceSaid { .. }
            | Local::Witnessed { .. }
            | Local::DeviceProbed(..)
            | Local::Administrator(_)
            | Local::ChangeVoters(_)
            | Local::Drop(_)
            | Local::Transfer(_) => {}
        }
    }

    /// A message arrived.
    pub(crate) fn on_wire(&mut self, context: &mut Context<'_>, wire: Wire) {
        match wire {
            Wire::Answer(answer) => {
                let Phase::Live(live) = &mut self.phase else {
                    return;
                };
                let input = match live.holder.on_answer(context.now, &answer) {
                    Learned::Nothing => return,
                    Learned::Extended(end) => Input::LeaseEnds(end),
                    Learned::Over => Input::SessionOver,
                };
                self.step(context, input);
                self.note_told(context);
            }
            Wire::AttachHeard(stream) => {
                let current = self.stream();
                if let Phase::Attaching(attaching) = &mut self.phase
                    && stream == current
                {
                    attaching.heard = context.now;
                }
            }
            Wire::NotLeader(stream) => {
                if let Phase::Attaching(attaching) = &self.phase
                    && stream == self.stream()
                {
                    let probe = attaching.probe;
                    self.knock(probe, context.now);
                    // All doors in turn, then a breath.
                    let all = self.doors.len() as u64;
                    if self.stream.is_multiple_of(all) {
                        self.repeat_at = context.now + REPEAT;
                    }
                }
            }
            Wire::Admitted {
                stream,
                incarnation,
                membership,
                timing,
            } => {
                if self.asks_on() == Some(stream) {
                    self.adopt(context, incarnation, membership, timing);
                }
            }
            // The leader sends it again with each greeting.
            Wire::Assigned(_) if self.watch == Watch::Awaited => {}
            Wire::Assigned(assignment) => self.on_assigned(context, &assignment),
            Wire::Raft(_)
            | Wire::AskAge { .. }
            | Wire::Age { .. }
            | Wire::Beat(_)
            | Wire::Attach { .. }
            | Wire::Hello { .. }
            | Wire::Machine { .. }
            | Wire::Report(_) => {}
        }
    }

    /// Every address is on the same link.
    fn tell_carrier(&mut self, context: &mut Context<'_>) {
        let resources: BTreeSet<ResourceId> = self
            .addresses
            .keys()
            .map(|(resource, _)| resource.clone())
            .collect();
        for resource in resources {
            self.step(context, Input::Carrier(resource, self.carrier));
        }
    }

    fn learn_addresses(&mut self, assignment: &Assignment) {
        for item in &assignment.items {
            let ResourceSpec::VirtualIp(vip) = &item.spec;
            let key = (item.resource.clone(), item.token);
            self.addresses.insert(key, vip.address);
        }
    }

    fn on_wake(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        if now >= self.repeat_at {
            self.repeat(context);
        }
        let guards = self.attest(context);
        let Phase::Live(live) = &mut self.phase else {
            return;
        };
        if now >= live.holder.next_wake()
            && let Some(beat) = live.holder.on_tick(now, guards)
        {
            for coordinator in live.holder.recipients() {
                let beat = Wire::Beat(beat);
                context.acts.push(Act::ToCoordinator(coordinator, beat));
            }
        }
        if now >= live.keeper.next_wake() {
            self.step(context, Input::Tick);
        }
        self.follow_timing(context);
    }

    fn repeat(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        self.repeat_at = now + REPEAT;
        self.looks += 1;
        let (node, life) = (self.node, self.life);
        match &self.phase {
            Phase::Probing => {}
            Phase::Attaching(attaching) => {
                if now.since(attaching.heard) > STREAM_PATIENCE {
                    let probe = attaching.probe;
                    self.knock(probe, now);
                    self.repeat(context);
                    return;
                }
                let attach = Wire::Attach {
                    node,
                    stream: self.stream(),
                    boot: self.boot,
                    probe: attaching.probe,
                    gate: self.gate.kind(),
                };
                context
                    .acts
                    .push(Act::ToCoordinator(attaching.target, attach));
            }
            Phase::Live(live) => {
                let hello = Wire::Hello {
                    node,
                    life,
                    incarnation: live.incarnation,
                };
                context.acts.push(Act::ToCoordinators(hello));
                if let Some(machine) = self.machine() {
                    let machine = Rc::new(machine);
                    let seen = Wire::Machine { node, machine };
                    context.acts.push(Act::ToCoordinators(seen));
                }
                let incarnation = live.incarnation;
                for output in live.keeper.standing_reports() {
                    self.report(context, incarnation, output);
                }
            }
        }
        self.reports
            .retain(|_, report| now.since(report.since) < REPORT_PATIENCE);
        for report in self.reports.values() {
            let report = Wire::Report(report.command.clone());
            context.acts.push(Act::ToCoordinators(report));
        }
    }

    /// One step of the keeper, and whatever it wants.
    fn step(&mut self, context: &mut Context<'_>, input: Input) {
        let Phase::Live(live) = &mut self.phase else {
            return;
        };
        let incarnation = live.incarnation;
        let outputs = live.keeper.step(context.now, input);
        let mut idle = false;
        for output in outputs {
            match output {
                Output::Do(operation) => self.operations.push_back(operation),
                Output::ReportActive { .. }
                | Output::ReportReleased { .. }
                | Output::ReportArmed { .. }
                | Output::ReportBegun { .. }
                | Output::ReportFailed {
                    difficulty: Difficulty::Stop,
                    ..
                } => {
                    self.report(context, incarnation, output);
                }
                Output::ReportFailed {
                    difficulty: Difficulty::Start,
                    ..
                } => {}
                Output::Idle => idle = true,
            }
        }
        self.next_operation(context);
        if idle {
            self.on_idle(context.now);
        }
    }

    fn on_idle(&mut self, now: Moment) {
        if self.ending == Ending::Asked {
            self.ending = Ending::Ended;
        }
        self.knock(Probe::Clean, now);
    }

    /// Says what the keeper reports, and goes on saying it for a while.
    fn report(&mut self, context: &mut Context<'_>, incarnation: Incarnation, output: Output) {
        if let Output::ReportReleased { resource, token } = &output {
            context.acts.push(Act::Released(resource.clone(), *token));
        }
        let Some((key, command)) = words::command_of(output, incarnation) else {
            return;
        };
        let since = context.now;
        if let Some(known) = self.reports.get_mut(&key)
            && known.command == command
        {
            known.since = since;
            return;
        }
        let report = Wire::Report(command.clone());
        context.acts.push(Act::ToCoordinators(report));
        self.reports.insert(key, Repeated { command, since });
        while self.reports.len() > REPORTS_MAX {
            self.reports.pop_first();
        }
    }

    /// Hands the next operation to the kernel, unless one is on its way.
    fn next_operation(&mut self, context: &mut Context<'_>) {
        while !self.in_flight {
            let Some(operation) = self.operations.pop_front() else {
                return;
            };
            let Phase::Live(live) = &self.phase else {
                self.operations.clear();
                return;
            };
            if !live.keeper.may_still(context.now, &operation) {
                let result = OperationResult::Lapsed;
                self.step_done(context, operation, result);
                continue;
            }
            let timing = *live.keeper.timing();
            if matches!(operation, Operation::Arm(..)) && self.carrier == Carrier::Down {
                let result = OperationResult::Failed("eth0 has no carrier".to_owned());
                self.step_done(context, operation, result);
                continue;
            }
            let gated = self.gate_request(&operation);
            let Some(request) = gated.or_else(|| self.request(&operation)) else {
                let result = OperationResult::Failed("unknown address".to_owned());
                self.step_done(context, operation, result);
                continue;
            };
            self.in_flight = true;
            match operation {
                Operation::Remove(..) => {}
                Operation::PetWatchdog => context.acts.push(Act::Hook(Hook::PetDecided)),
                Operation::ArmWatchdog(_) => context.acts.push(Act::Hook(Hook::DogDecided)),
                _ => context.acts.push(Act::Hook(Hook::GuardDecided)),
            }
            context.acts.push(Act::Kernel {
                operation,
                request,
                timing,
            });
        }
    }

    fn step_done(
        &mut self,
        context: &mut Context<'_>,
        operation: Operation,
        result: OperationResult,
    ) {
        self.step(context, Input::Done { operation, result });
    }

    /// Splits a renewal of which some elements had lapsed: the rest is sent again at once.
    fn on_kernel(&mut self, context: &mut Context<'_>, operation: Operation, reply: Reply) {
        let lapsed = match reply {
            Reply::Done => {
                self.step_done(context, operation, OperationResult::Done);
                return;
            }
            Reply::Armed(period) => {
                self.step_done(context, operation, OperationResult::Armed(period));
                return;
            }
            Reply::Busy => {
                let why = "device or resource busy".to_owned();
                self.step_done(context, operation, OperationResult::Failed(why));
                return;
            }
            Reply::Taken => {
                let why = "somebody else has put it there".to_owned();
                self.step_done(context, operation, OperationResult::Failed(why));
                return;
            }
            Reply::Lapsed(lapsed) => lapsed,
        };
        let Operation::Renew(items) = operation else {
            self.step_done(context, operation, OperationResult::Lapsed);
            return;
        };
        let (gone, rest): (Vec<_>, Vec<_>) = items.into_iter().partition(|key| {
            self.addresses
                .get(key)
                .is_none_or(|address| lapsed.contains(address))
        });
        if !rest.is_empty() {
            self.operations.push_front(Operation::Renew(rest));
        }
        self.step_done(context, Operation::Renew(gone), OperationResult::Lapsed);
    }
}
