//! The nemesis: faults of every class, at random and where they hurt, while something is granted.
//!
//! Breaks only what the real world breaks; what it does is undone after a while, and [`heal`] ends
//! everything at once. Counts every class, so that a sweep can show that each was met.

use crate::bmc::{Mood, Power};
use crate::clock::{SECOND, TrueTime};
use crate::disks::{StartMode, Watching, Word};
use crate::kernel::There;
use crate::net::{Place, Weather};
use crate::raft::nanos;
use crate::wire::{Call, Hook, Local, Role};
use crate::world::devices::Sighting;
use crate::world::{Event, World};
use haft_engine::command::{Command, FenceAction};
use haft_engine::keeper::Carrier;
use std::collections::BTreeMap;
use std::net::IpAddr;

mod classes;
mod devices;
mod faults;
mod filters;
mod script;

pub use classes::{Bias, Fault};

use script::Script;

/// How often a class struck.
#[derive(Clone, Copy, Debug, Default)]
pub struct Struck {
    /// At all.
    pub times: u64,
    /// While something was granted.
    pub while_granted: u64,
}

/// What ends a fault.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    /// These links are whole again.
    Join(Vec<(Place, Place)>),
    /// The agent of this machine can have streams again.
    JoinStreams(Place),
    /// Management to this machine is whole again.
    JoinManagement(Place),
    /// A machine reaches the management of another again.
    Reach(Place, Place),
    /// The weather is the run's usual one.
    Weather,
    /// The BMC is honest.
    Honest(Place),
    /// The PDU is honest.
    HonestPdu(usize),
    /// The PDU is reached again.
    JoinPdu(usize),
    /// The PDU's feed is back.
    Feed(usize),
    /// The outlets of a machine move again.
    Loosen(Place),
    /// The slots of a shared disk name whom they should.
    Rename(usize),
    /// What stands before the addresses is whole again.
    GateRegained(Place),
    /// The carrier is back.
    CarrierUp(Place),
    /// An administrator takes a copy of an address away.
    ForeignGone(Place, IpAddr),
    /// The links toggle again, so many times more.
    Flap(Vec<(Place, Place)>, u32, Flap),
    /// An administrator makes a call again.
    CallAgain(Box<Command>),
    /// The staged strike against this coordinator.
    Strike(Place),
    /// The stage is cleared.
    EndScript,
}

/// Which way a flapping link goes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flap {
    /// It is cut.
    Cut,
    /// It is whole.
    Join,
}

/// The nemesis of one run.
#[derive(Debug)]
pub(crate) struct Nemesis {
    bias: Bias,
    active: bool,
    usual: Weather,
    script: Option<Script>,
    /// The classes that this run's machines and devices can suffer.
    weights: Vec<(Fault, u64)>,
    pub(crate) struck: BTreeMap<Fault, Struck>,
}

impl Nemesis {
    /// One that waits.
    pub(crate) fn new(bias: Bias, usual: Weather) -> Nemesis {
        Nemesis {
            bias,
            active: false,
            usual,
            script: None,
            weights: Vec::new(),
            struck: BTreeMap::new(),
        }
    }

    /// Begins.
    pub(crate) fn begin(&mut self, world: &mut World) {
        self.active = true;
        self.weights = Fault::ALL
            .into_iter()
            .filter(|fault| devices::fits(&world.park, *fault))
            .map(|fault| (fault, self.bias.weight(fault)))
            .collect();
        world.net.set_weather(self.usual);
        // With shared disks an agent that cannot remove leftovers has a watchdog to keep, so there are more of them.
        let unclean = if world.park.disks.is_empty() { 40 } else { 120 };
        world.oracle.set_unclean_probes(unclean);
        world.after(0, Event::Strike);
    }

    /// Ends every fault at once: machines on, processes up, network whole, BMCs honest.
    pub(crate) fn heal(&mut self, world: &mut World) {
        self.active = false;
        self.script = None;
        world.oracle.set_unclean_probes(0);
        world.net.heal();
        world.park.heal();
        for place in 0..world.machines.len() {
            let machine = &mut world.machines[place];
            machine.bmc.mood = Mood::Honest;
            machine.disk_hangs_until = 0;
            machine.kernel_slow_until = 0;
            machine.sticks_until = 0;
            world.release(place);
            world.look_at_supply(place);
            world.tell(place, Role::Agent, Local::Carrier(Carrier::Up));
            faults::regain_gate(world, place);
            for address in world.machines[place].kernel.foreign() {
                faults::set_foreign(world, place, address, There::Gone);
            }
        }
        tend(world);
    }

    /// The next fault, by the dice.
    pub(crate) fn strike(&mut self, world: &mut World) {
        if !self.active {
            return;
        }
        let mut dice = world
            .rng
            .below(self.weights.iter().map(|(_, weight)| weight).sum());
        for (fault, weight) in self.weights.clone() {
            if dice < weight {
                if self.inflict(world, fault) && !counts_itself(fault) {
                    self.count(world, fault);
                }
                break;
            }
            dice -= weight;
        }
        let unit = unit(world);
        let gap = world.rng.range(unit / 4, 5 * unit);
        world.after(gap, Event::Strike);
    }

    fn count(&mut self, world: &mut World, fault: Fault) {
        let granted = world.oracle.anything_granted();
        let struck = self.struck.entry(fault).or_default();
        struck.times += 1;
        struck.while_granted += u64::from(granted);
        world.note(0, || format!("FAULT {fault:?}"));
    }

    /// Looks at what has just happened and sometimes strikes there.
    pub(crate) fn on_hooks(&mut self, world: &mut World) {
        let hooks = std::mem::take(&mut world.hooks);
        for _ in std::mem::take(&mut world.dog_bites) {
            self.count(world, Fault::WatchdogReset);
        }
        for sighting in std::mem::take(&mut world.sightings) {
            let class = match sighting {
                Sighting::AlreadyOff => Fault::AlreadyOff,
                Sighting::PillObeyed => Fault::PillObeyed,
                Sighting::StarvedByDisks => Fault::StarvedByDisks,
                Sighting::RanDry => Fault::RanDry,
                Sighting::PathDegraded => Fault::PathDegraded,
            };
            self.count(world, class);
        }
        if !self.active {
            return;
        }
        for (place, hook) in hooks {
            if let Hook::Dropped(call) = hook {
                self.count(world, class_of(call));
                continue;
            }
            if script::on_hook(self, world, place, hook) {
                continue;
            }
            if let Hook::FenceStarted(node) = hook {
                crate::errands::say_late(world, node);
            }
            let per_mille = match (hook, self.bias) {
                (Hook::Dropped(_) | Hook::ClosingProposed(_), _) => 0,
                (Hook::GuardDecided, Bias::Guards) => 6,
                (Hook::GuardDecided, _) => 1,
                (Hook::DogDecided, _) => 150,
                // Where it hurts: while the machine is cut off and lives on what its lease has left.
                (Hook::PetDecided, _) if world.net.is_cut_off(place) => 60,
                (Hook::PetDecided, _) => 1,
                (Hook::Joint, _) => 300,
                (Hook::PillWritten(_), _) => 600,
                (Hook::BetweenDevices(_), _) => 300,
                (Hook::LeftoversStay, _) => 400,
                // That is what was told: without the agent a flush opens it, or a deletion.
                (Hook::LossTold, _) => 300,
                (Hook::FenceStarted(_) | Hook::FenceOrdering(_), Bias::Fencing) => 150,
                (Hook::AgeStated(_) | Hook::ClosingAppended(_), Bias::Sessions) => 60,
                (
                    Hook::FenceStarted(_)
                    | Hook::FenceOrdering(_)
                    | Hook::AgeStated(_)
                    | Hook::ClosingAppended(_),
                    _,
                ) => 20,
            };
            if world.rng.chance(per_mille) {
                self.strike_at(world, place, hook);
            }
        }
    }

    fn strike_at(&mut self, world: &mut World, place: Place, hook: Hook) {
        let unit = unit(world);
        match hook {
            Hook::PetDecided => {
                // Killed with a fed watchdog: from here on only the hardware ends what works there.
                let span = world.rng.range(2 * unit, 8 * unit);
                if world.crash(place, Role::Agent, span) {
                    self.count(world, Fault::AgentKill);
                }
            }
            Hook::GuardDecided => {
                let span = world.rng.range(unit / 8, 5 * unit);
                world.stop_process(place, Role::Agent, span);
                self.count(world, Fault::WritePause);
            }
            Hook::DogDecided => {
                let span = world.rng.range(unit, 4 * unit);
                if self.isolate(world, place, span) {
                    self.count(world, Fault::Isolation);
                }
            }
            Hook::LossTold => {
                let span = world.rng.range(unit, 8 * unit);
                if filters::delete(world, place, filters::Agent::Ends(span)) {
                    self.count(world, Fault::FiltersDeleted);
                } else if faults::flush_guard(world, place, span) {
                    self.count(world, Fault::GuardFlush);
                }
            }
            Hook::LeftoversStay => {
                // Asked to end while it waits at the door, which puts a watchdog down that has still work to do.
                world.tell(place, Role::Agent, Local::Shutdown);
                let span = world.rng.range(unit, 8 * unit);
                world.restart_later(place, Role::Agent, span);
                self.count(world, Fault::AgentRestart);
            }
            Hook::PillWritten(_) => {
                devices::lose_executor(world, place);
                self.count(world, Fault::ExecutorLostInMsgwait);
            }
            Hook::BetweenDevices(_) => {
                devices::lose_executor(world, place);
                self.count(world, Fault::ExecutorLostBetweenDevices);
            }
            Hook::Dropped(_) | Hook::ClosingProposed(_) => {}
            Hook::FenceStarted(node)
                if world.rng.chance(400) && devices::strand(world, place, node) =>
            {
                self.count(world, Fault::ExecutorStranded);
            }
            Hook::AgeStated(_)
            | Hook::ClosingAppended(_)
            | Hook::FenceStarted(_)
            | Hook::FenceOrdering(_)
            | Hook::Joint => {
                if world.rng.chance(500) {
                    let span = world.rng.range(unit / 8, 5 * unit);
                    world.stop_process(place, Role::Coordinator, span);
                    self.count(world, Fault::CoordinatorPause);
                } else {
                    let after = world.rng.range(unit / 20, 4 * unit);
                    world.crash(place, Role::Coordinator, after);
                    self.count(world, Fault::CoordinatorCrash);
                }
            }
        }
    }

    /// Cuts a machine from all others for a while.
    fn isolate(&mut self, world: &mut World, place: Place, span: TrueTime) -> bool {
        self.inflict_on_net(world, Fault::Isolation, place, span)
    }

    /// Ends one fault.
    pub(crate) fn undo(&mut self, world: &mut World, undo: Undo) {
        match undo {
            Undo::Join(links) => {
                for (from, to) in links {
                    world.net.join(from, to);
                }
            }
            // Healed, all are whole, but for one that is meant to stay deaf.
            Undo::JoinStreams(place) => {
                if self.active {
                    world.net.join_streams(place);
                }
            }
            Undo::JoinManagement(to) => {
                for from in 0..world.machines.len() {
                    world.net.join_management(from, to);
                }
            }
            Undo::Reach(from, to) => world.net.join_management(from, to),
            Undo::Weather => {
                if self.active {
                    world.net.set_weather(self.usual);
                }
            }
            Undo::Honest(place) => world.machines[place].bmc.mood = Mood::Honest,
            Undo::HonestPdu(pdu) => world.park.pdus[pdu].mood = Mood::Honest,
            Undo::JoinPdu(pdu) => {
                let cuts = &mut world.park.pdus[pdu].cuts;
                *cuts = cuts.saturating_sub(1);
            }
            Undo::Feed(pdu) => devices::supply(world, pdu),
            Undo::Loosen(place) => {
                for pdu in &mut world.park.pdus {
                    for outlet in pdu.of(place) {
                        outlet.stuck = false;
                    }
                }
            }
            Undo::Rename(disk) => world.park.disks[disk].misnamed = None,
            Undo::ForeignGone(place, address) => {
                faults::set_foreign(world, place, address, There::Gone);
            }
            Undo::GateRegained(place) => faults::regain_gate(world, place),
            Undo::CarrierUp(place) => {
                world.tell(place, Role::Agent, Local::Carrier(Carrier::Up));
            }
            Undo::Flap(links, left, next) => self.flap(world, links, left, next),
            Undo::CallAgain(command) => {
                self.count(world, Fault::CallRepeated);
                crate::errands::tell_once(world, *command);
            }
            Undo::Strike(place) => {
                if self.active {
                    script::strike(self, world, place);
                }
            }
            Undo::EndScript => script::end(self, world),
        }
    }

    fn flap(&mut self, world: &mut World, links: Vec<(Place, Place)>, left: u32, next: Flap) {
        if !self.active || (left == 0 && next == Flap::Cut) {
            return;
        }
        for (from, to) in &links {
            match next {
                Flap::Cut => world.net.cut(*from, *to),
                Flap::Join => world.net.join(*from, *to),
            }
        }
        let (left, next) = match next {
            Flap::Cut => (left - 1, Flap::Join),
            Flap::Join => (left, Flap::Cut),
        };
        let unit = unit(world);
        let span = world.rng.range(unit / 8, unit);
        world.after(span, Event::Undo(Undo::Flap(links, left, next)));
    }
}

/// Whether a class is counted when it hits, and not when it is ordered.
fn counts_itself(fault: Fault) -> bool {
    [Call::Proposal, Call::Report, Call::Transfer]
        .map(class_of)
        .contains(&fault)
}

/// The class of a call that was dropped.
fn class_of(call: Call) -> Fault {
    match call {
        Call::Proposal => Fault::ProposalDropped,
        Call::Report => Fault::ReportDropped,
        Call::Transfer => Fault::TransferDropped,
    }
}

/// The run's measure of time: one ttl.
pub(crate) fn unit(world: &World) -> TrueTime {
    nanos(world.timing.ttl)
}

/// What systemd and an operator do: start what does not run, switch on what is off.
pub(crate) fn tend(world: &mut World) {
    for place in 0..world.machines.len() {
        let machine = &world.machines[place];
        let off_long = machine
            .bmc
            .off_since
            .is_some_and(|since| world.now > since + SECOND / 2);
        if machine.power == Power::Off {
            if off_long {
                world.switch_on_by_hand(place);
            }
            continue;
        }
        let boots = machine.boots;
        let missing = [
            (
                Role::Coordinator,
                machine.coordinator.running.is_none() && machine.disk.is_some(),
            ),
            (Role::Agent, machine.agent.running.is_none()),
        ];
        empty_mailboxes(world, place);
        for (role, missing) in missing {
            if missing {
                let to = place;
                world.after(SECOND / 100, Event::Start { to, role, boots });
            }
        }
    }
}

/// Where nodes start `clean`, somebody looks why one was shot, and empties its mailboxes once no order waits for
/// what lies there: a pill that is taken out before makes the order fail, and the next try shoots again.
fn empty_mailboxes(world: &mut World, place: Place) {
    let machine = &world.machines[place];
    let waits = world.oracle.state().orders.values().any(|order| {
        order.node == machine.node && order.phase.is_open() && order.action == FenceAction::Off
    });
    let starts = machine.watcher.stage != Watching::Watched;
    if waits || !starts || world.park.plan.start == StartMode::Always {
        return;
    }
    for disk in &mut world.park.disks {
        disk.write(world.now, place, place, Word::Clear);
    }
}
