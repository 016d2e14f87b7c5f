//! Each class of fault, once.

use super::{Fault, Flap, Nemesis, Undo, devices, filters, unit};
use crate::barrier::Barrier;
use crate::bmc::Power;
use crate::clock::{MS, SECOND, TrueTime};
use crate::kernel::There;
use crate::net::{Place, Weather};
use crate::wire::{Call, Local, Role};
use crate::world::{Event, World};
use haft_engine::gate::Found;
use haft_engine::keeper::Carrier;
use haft_engine::spec::ResourceSpec;
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Nemesis {
    /// Inflicts one fault; whether there was anything to inflict it on.
    pub(super) fn inflict(&mut self, world: &mut World, fault: Fault) -> bool {
        let place = victim(world);
        let unit = unit(world);
        let span = world.rng.range(unit / 10, 6 * unit);
        let long = world.rng.range(2 * unit, 16 * unit);
        match fault {
            Fault::CoordinatorCrash => {
                let place = coordinator(world);
                world.crash(place, Role::Coordinator, span)
            }
            Fault::CoordinatorPause => {
                let place = coordinator(world);
                world.stop_process(place, Role::Coordinator, span);
                true
            }
            Fault::AgentKill => world.crash(place, Role::Agent, span),
            Fault::AgentRestart => {
                world.tell(place, Role::Agent, Local::Shutdown);
                world.restart_later(place, Role::Agent, span);
                true
            }
            Fault::AgentPause => {
                world.stop_process(place, Role::Agent, span);
                true
            }
            Fault::StopSticks => {
                world.machines[place].sticks_until = world.now + span;
                true
            }
            Fault::HaftPause => {
                world.stop_process(place, Role::Agent, span);
                world.stop_process(place, Role::Coordinator, span);
                true
            }
            Fault::PowerLoss => lose_power(world, place),
            Fault::Freeze => world.freeze(place, span),
            Fault::Partition
            | Fault::OneWayCut
            | Fault::Isolation
            | Fault::Storm
            | Fault::Flapping => self.inflict_on_net(world, fault, place, span),
            Fault::WallJump => jump_wall(world, place),
            Fault::SwitchLoss => {
                cut_management(world, place, span);
                self.inflict_on_net(world, Fault::Isolation, place, span)
            }
            Fault::StreamCut => {
                world.net.cut_streams(place);
                world.after(long, Event::Undo(Undo::JoinStreams(place)));
                true
            }
            Fault::ManagementCut => cut_management(world, place, long),
            Fault::DiskStall => stall_disk(world, span),
            Fault::KernelStall => {
                world.machines[place].kernel_slow_until = world.now + span;
                true
            }
            Fault::AddressDeleted
            | Fault::GuardFlush
            | Fault::FiltersDeleted
            | Fault::GateLoss
            | Fault::CarrierLoss
            | Fault::ForeignCopy => inflict_on_addresses(world, fault, place, (span, long)),
            Fault::Transfer
            | Fault::TransferDropped
            | Fault::ProposalDropped
            | Fault::ReportDropped => inflict_on_calls(world, fault),
            Fault::VoterChange => change_voters(world),
            Fault::Staged => super::script::begin(self, world),
            other => devices::inflict(world, other, place, (span, long)),
        }
    }

    pub(super) fn inflict_on_net(
        &mut self,
        world: &mut World,
        fault: Fault,
        place: Place,
        span: TrueTime,
    ) -> bool {
        let places = world.machines.len();
        let mut links = Vec::new();
        match fault {
            Fault::Partition => {
                let side: Vec<bool> = (0..places).map(|_| world.rng.chance(500)).collect();
                for from in 0..places {
                    for to in 0..places {
                        if side[from] != side[to] {
                            links.push((from, to));
                        }
                    }
                }
            }
            Fault::OneWayCut => {
                for to in (0..places).filter(|to| *to != place) {
                    if world.rng.chance(500) {
                        let way = if world.rng.chance(500) {
                            (place, to)
                        } else {
                            (to, place)
                        };
                        links.push(way);
                    }
                }
            }
            Fault::Storm => {
                let weather = Weather {
                    loss: world.rng.below(300),
                    repeat: world.rng.below(200),
                    delay_min: MS / 10,
                    delay_max: world.rng.range(MS, unit(world) / 3),
                };
                world.net.set_weather(weather);
                world.after(span, Event::Undo(Undo::Weather));
                return true;
            }
            _ => {
                for other in (0..places).filter(|other| *other != place) {
                    links.push((place, other));
                    links.push((other, place));
                }
            }
        }
        if links.is_empty() {
            return false;
        }
        if fault == Fault::Flapping {
            let times = u32::try_from(world.rng.range(2, 8)).unwrap_or(2);
            world.after(0, Event::Undo(Undo::Flap(links, times, Flap::Cut)));
            return true;
        }
        for (from, to) in &links {
            world.net.cut(*from, *to);
        }
        world.after(span, Event::Undo(Undo::Join(links)));
        true
    }
}

/// A machine, more often than not one that holds something.
fn victim(world: &mut World) -> Place {
    let owners: BTreeSet<Place> = world
        .oracle
        .state()
        .resources
        .values()
        .filter_map(|row| world.places.get(&row.ownership.holding()?.node).copied())
        .collect();
    let owners: Vec<Place> = owners.into_iter().collect();
    if world.rng.chance(650)
        && let Some(place) = world.rng.pick(&owners)
    {
        return *place;
    }
    world.rng.index(world.machines.len())
}

/// A machine with haftd, more often than chance the leader's.
fn coordinator(world: &mut World) -> Place {
    if world.rng.chance(350)
        && let Some(place) = world.leader()
    {
        return place;
    }
    let places: Vec<Place> = world
        .machines
        .iter()
        .filter(|machine| machine.coordinates)
        .map(|machine| machine.place)
        .collect();
    *world.rng.pick(&places).expect("every cluster coordinates")
}

/// Nobody reaches this machine's BMC for a while.
fn cut_management(world: &mut World, place: Place, long: TrueTime) -> bool {
    for from in 0..world.machines.len() {
        world.net.cut_management(from, place);
    }
    world.after(long, Event::Undo(Undo::JoinManagement(place)));
    true
}

fn lose_power(world: &mut World, place: Place) -> bool {
    world.power_off(place);
    let after = world.rng.range(100 * MS, 3 * SECOND);
    world.after(after, Event::Boot { to: place });
    true
}

fn jump_wall(world: &mut World, place: Place) -> bool {
    let by = i64::try_from(world.rng.below(20_000_000_000)).unwrap_or(0);
    world.machines[place].clock.jump_wall(by - 10_000_000_000);
    true
}

fn delete_address(world: &mut World, place: Place) -> bool {
    let machine = &mut world.machines[place];
    if machine.power == Power::Off {
        return false;
    }
    let now = machine.clock.local(world.now);
    let Some(address) = machine.kernel.delete_one(now) else {
        return false;
    };
    world.tell(place, Role::Agent, Local::AddressVanished(address));
    true
}

fn lose_carrier(world: &mut World, place: Place, span: TrueTime) -> bool {
    world.tell(place, Role::Agent, Local::Carrier(Carrier::Down));
    world.after(span, Event::Undo(Undo::CarrierUp(place)));
    true
}

fn put_foreign(world: &mut World, place: Place, span: TrueTime) -> bool {
    let addresses: Vec<IpAddr> = world
        .oracle
        .state()
        .resources
        .values()
        .map(|resource| {
            let ResourceSpec::VirtualIp(vip) = &resource.spec;
            vip.address
        })
        .collect();
    let Some(address) = world.rng.pick(&addresses).copied() else {
        return false;
    };
    if world.machines[place].power == Power::Off {
        return false;
    }
    set_foreign(world, place, address, There::Put);
    world.after(span, Event::Undo(Undo::ForeignGone(place, address)));
    true
}

/// An administrator puts a copy on a machine or takes it away; the agent sees its kernel.
pub(super) fn set_foreign(world: &mut World, place: Place, address: IpAddr, there: There) {
    let kernel = &mut world.machines[place].kernel;
    kernel.set_foreign(address, there);
    let foreign = kernel.foreign();
    world.tell(place, Role::Agent, Local::Foreign(foreign));
}

/// Its agent finds that what stands before the addresses is worth less, before its next beat.
pub(super) fn lose_gate(world: &mut World, place: Place, span: TrueTime) -> bool {
    let machine = &world.machines[place];
    let kernel = &machine.kernel;
    let whole = kernel.found() == kernel.barrier().found();
    if !machine.alive() || machine.agent.running.is_none() || !whole {
        return false;
    }
    // What is watched anyway can only be worth nothing.
    let broken = kernel.barrier().found() == Found::Watched || world.rng.chance(400);
    weaken_gate(
        world,
        place,
        match broken {
            true => Found::Broken,
            false => Found::Watched,
        },
    );
    world.after(span, Event::Undo(Undo::GateRegained(place)));
    true
}

fn weaken_gate(world: &mut World, place: Place, found: Found) {
    world.machines[place].kernel.weaken(Some(found));
    world.tell(place, Role::Agent, Local::Gate(found));
}

/// The link is gone, the second holder is back, the tables can be read: what stands before the addresses is whole.
pub(super) fn regain_gate(world: &mut World, place: Place) {
    let kernel = &mut world.machines[place].kernel;
    kernel.weaken(None);
    let found = kernel.found();
    world.tell(place, Role::Agent, Local::Gate(found));
}

/// Whether nothing keeps the addresses closed once the agent is dead and the tables are flushed, and the coordinators
/// could know: it was never otherwise, or a majority has acknowledged that it is so now. A gate that is lost between
/// the last beat and the agent's death is the limit of what can be attested (`docs/isolation.md`).
fn opens_by_a_flush(world: &World, place: Place) -> bool {
    let machine = &world.machines[place];
    let told = |agent: &crate::agent::Agent| agent.has_told_of_loss();
    machine.kernel.barrier() == Barrier::Watched
        || (machine.agent.stopped == 0 && machine.agent.running.as_ref().is_some_and(told))
}

/// Where nobody would look after the tables without the agent, what flushes them ends the agent, too, as the upgrade
/// of a package does (S3). Elsewhere only while somebody watches: the agent runs and is not stopped.
pub(super) fn flush_guard(world: &mut World, place: Place, span: TrueTime) -> bool {
    if world.machines[place].alive() && opens_by_a_flush(world, place) {
        world.crash(place, Role::Agent, span);
        world.machines[place].kernel.flush_guard();
        world.oracle.machine_woke(world.now, &world.machines, place);
        return true;
    }
    let machine = &mut world.machines[place];
    let watched = machine.agent.running.is_some() && machine.agent.stopped == 0;
    if !watched || !machine.alive() || machine.kernel.found() == Found::Broken {
        return false;
    }
    machine.kernel.rebuild_guard();
    world.tell(place, Role::Agent, Local::GuardRebuilt);
    true
}

fn stall_disk(world: &mut World, span: TrueTime) -> bool {
    let place = coordinator(world);
    world.machines[place].disk_hangs_until = world.now + span;
    true
}

fn inflict_on_addresses(
    world: &mut World,
    fault: Fault,
    place: Place,
    (span, long): (TrueTime, TrueTime),
) -> bool {
    match fault {
        Fault::GuardFlush => flush_guard(world, place, span),
        Fault::FiltersDeleted => filters::strike(world, place, span),
        Fault::GateLoss => lose_gate(world, place, long),
        Fault::CarrierLoss => lose_carrier(world, place, span),
        Fault::ForeignCopy => put_foreign(world, place, long),
        _ => delete_address(world, place),
    }
}

/// Leadership is handed over, or a call of the leader's is dropped midway.
fn inflict_on_calls(world: &mut World, fault: Fault) -> bool {
    match fault {
        Fault::TransferDropped => drop_next(world, Call::Transfer) && transfer(world),
        Fault::ProposalDropped => drop_next(world, Call::Proposal),
        Fault::ReportDropped => drop_next(world, Call::Report),
        _ => transfer(world),
    }
}

/// The leader's next call of this kind is dropped midway.
fn drop_next(world: &mut World, call: Call) -> bool {
    let Some(leader) = world.leader() else {
        return false;
    };
    world.tell(leader, Role::Coordinator, Local::Drop(call));
    true
}

fn transfer(world: &mut World) -> bool {
    let Some(leader) = world.leader() else {
        return false;
    };
    let voters: Vec<_> = world.oracle.state().membership.all().into_iter().collect();
    let Some(to) = world.rng.pick(&voters).copied() else {
        return false;
    };
    world.tell(leader, Role::Coordinator, Local::Transfer(to));
    true
}

/// Replaces one voter by a coordinator that does not vote, or adds or drops two.
fn change_voters(world: &mut World) -> bool {
    let Some(leader) = world.leader() else {
        return false;
    };
    let sets = &world.oracle.state().membership.sets;
    let [present] = sets.as_slice() else {
        return false;
    };
    let mut voters = present.clone();
    let spare: Vec<_> = world
        .coordinators()
        .into_iter()
        .filter(|node| !voters.contains(node))
        .collect();
    let old: Vec<_> = voters.iter().copied().collect();
    let Some(out) = world.rng.pick(&old).copied() else {
        return false;
    };
    match world.rng.pick(&spare).copied() {
        Some(one) => {
            voters.remove(&out);
            voters.insert(one);
            if spare.len() >= 2 && voters.len() == 3 && world.rng.chance(400) {
                voters.insert(out);
                voters.extend(spare);
            }
        }
        None if voters.len() >= 5 => {
            let keep = world.rng.index(old.len());
            voters.remove(&old[keep]);
            voters.remove(&old[(keep + 1) % old.len()]);
        }
        None => return false,
    }
    while voters.len().is_multiple_of(2) {
        voters.pop_first();
    }
    if world.rng.chance(400) {
        cut_off(world, leader);
    }
    world.tell(leader, Role::Coordinator, Local::ChangeVoters(voters));
    true
}

/// What it appends from here on nobody hears of, until others have elected one of them and it is truncated.
fn cut_off(world: &mut World, place: Place) {
    let others = (0..world.machines.len()).filter(|other| *other != place);
    let links: Vec<(Place, Place)> = others
        .flat_map(|other| [(place, other), (other, place)])
        .collect();
    for (from, to) in &links {
        world.net.cut(*from, *to);
    }
    let span = unit(world) + 3 * crate::raft::nanos(world.timing.election_max);
    world.after(span, Event::Undo(Undo::Join(links)));
}
