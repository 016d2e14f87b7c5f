//! What administrators do meanwhile: moves, edits, drains, deletions, fences, and one who lies in wait.
//!
//! The last is a rogue leader: it proposes grants that carry the right versions and lack every reason,
//! as a stale or mistaken leader might. `apply` alone must refuse what is not proven (R1, R3).

use crate::bmc::Power;
use crate::clock::MS;
use crate::disks::{StartMode, Watching, Word};
use crate::nemesis::{Undo, unit};
use crate::net::Place;
use crate::park::Tool;
use crate::wire::{Local, Role};
use crate::world::{Event, World};
use haft_engine::command::{Command, FenceAction, FenceCause};
use haft_engine::ids::{Incarnation, NodeId, NodeName, RequestId, ResourceId};
use haft_engine::spec::{
    Failback, Isolation, NodeSpec, ObjectRef, ObjectSpec, ResourceSpec, Scheduling, Unfenced,
    VirtualIpSpec,
};
use haft_engine::state::{Resource, Session};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The `n`-th virtual address.
pub(crate) fn vip(n: usize, isolation: Isolation, preference: Vec<NodeName>) -> VirtualIpSpec {
    let last = u8::try_from(10 + n).expect("a handful of addresses");
    VirtualIpSpec {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        interface: "eth0".to_owned(),
        isolation,
        unfenced: Unfenced::Refused,
        preference,
        failback: Failback::Never,
    }
}

/// Does one errand and arranges for the next.
pub(crate) fn run(world: &mut World) {
    if let Some(command) = choose(world) {
        tell_leader(world, command);
    }
    let unit = unit(world);
    let gap = world.rng.range(unit / 2, 6 * unit);
    world.after(gap, Event::Errand);
}

/// Once faults have stopped: every node may own again, every deleted resource is back, and a device that was caught
/// lying is looked at and applied again, as `why` asks for.
pub(crate) fn settle(world: &mut World) {
    let closed: Vec<(NodeName, NodeSpec)> = world
        .oracle
        .state()
        .nodes
        .values()
        .filter(|node| node.spec.scheduling != Scheduling::Open)
        .map(|node| (node.name.clone(), node.spec.clone()))
        .collect();
    for (name, mut spec) in closed {
        spec.scheduling = Scheduling::Open;
        let object = ObjectSpec::Node(name, spec);
        put(world, object);
    }
    let caught: Vec<ObjectSpec> = world
        .oracle
        .state()
        .devices
        .iter()
        .filter(|(_, device)| device.distrusted.is_some())
        .map(|(name, device)| ObjectSpec::Device(name.clone(), device.spec.clone()))
        .collect();
    for object in caught {
        put(world, object);
    }
    restart_defiant(world);
    world.after(200 * MS, Event::Errand);
}

/// So many tries of one order are waited for before somebody goes to the machine.
const TRIES: u32 = 3;

/// A machine that answers for itself although a pill lies in its slot obeys none: its agent refuses to start because of
/// that pill. Where pills are all that there is no try ever succeeds, until somebody pulls the plug and says so.
fn restart_defiant(world: &mut World) {
    let mut tools = world.park.plan.topology.levels().into_iter().flatten();
    if !tools.all(|tool| tool == Tool::Disks) || world.park.plan.start == StartMode::Always {
        return;
    }
    let orders = world.oracle.state().orders.values();
    let off: Vec<NodeId> = orders
        .filter(|order| order.phase.is_open() && order.action == FenceAction::Off)
        .filter(|order| order.attempts >= TRIES)
        .map(|order| order.node)
        .collect();
    for node in off {
        let Some(place) = world.places.get(&node).copied() else {
            continue;
        };
        // One after the other, where the coordinators need them: else nobody is left to take their word.
        if !defies(world, place) || !quorum_without(world, place) {
            continue;
        }
        world.power_off(place);
        if let Some(word) = newest(world, node).and_then(|life| vouch(world, node, life)) {
            tell_once(world, word);
        }
    }
}

fn defies(world: &World, place: Place) -> bool {
    let machine = &world.machines[place];
    let answers = machine.power == Power::On && machine.coordinator.running.is_some();
    let mut disks = world.park.disks.iter();
    let shot = disks.any(|disk| disk.read(world.now, place, place) == Some(Word::Pill));
    answers && shot && machine.watcher.stage != Watching::Watched
}

/// Whether a quorum of coordinators runs elsewhere than on this machine.
fn quorum_without(world: &World, place: Place) -> bool {
    let others = world.machines.iter().filter(|one| one.place != place);
    let running = others
        .filter(|one| one.alive() && one.coordinator.running.is_some())
        .map(|one| one.node)
        .collect();
    world.oracle.state().membership.majority(&running)
}

/// Asks for this node to be drained, until it is.
pub(crate) fn drain(world: &mut World, node: NodeId) {
    let Some(row) = world.oracle.state().nodes.get(&node) else {
        return;
    };
    if row.spec.scheduling != Scheduling::Standby {
        let mut spec = row.spec.clone();
        spec.scheduling = Scheduling::Standby;
        let object = ObjectSpec::Node(row.name.clone(), spec);
        put(world, object);
    }
    world.after(200 * MS, Event::Errand);
}

/// Asks for something new that is to run on this node first, until it is there.
pub(crate) fn call(world: &mut World, node: NodeId) {
    let Some(row) = world.oracle.state().nodes.get(&node) else {
        return;
    };
    let id = ResourceId::vip("called");
    if !world.oracle.state().resources.contains_key(&id) {
        let spec = vip(98, Isolation::Lease, vec![row.name.clone()]);
        put(
            world,
            ObjectSpec::Resource(id, ResourceSpec::VirtualIp(spec)),
        );
    }
    world.after(200 * MS, Event::Errand);
}

/// Of a thousand calls so many are abandoned before their answer, and made again.
const ABANDONED: u64 = 150;

fn tell_leader(world: &mut World, command: Command) {
    if world.rng.chance(ABANDONED) {
        let unit = unit(world);
        let after = world.rng.range(0, 2 * unit);
        let again = Box::new(command.clone());
        world.after(after, Event::Undo(Undo::CallAgain(again)));
    }
    tell_once(world, command);
}

/// Tells whoever leads now.
pub(crate) fn tell_once(world: &mut World, command: Command) {
    if let Some(leader) = world.leader() {
        world.tell(
            leader,
            Role::Coordinator,
            Local::Administrator(Box::new(command)),
        );
    }
}

fn put(world: &mut World, object: ObjectSpec) {
    let request = request(world);
    let command = Command::Put {
        object,
        expected: None,
        request,
    };
    tell_leader(world, command);
}

fn request(world: &mut World) -> RequestId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&world.rng.next().to_be_bytes());
    id[8..].copy_from_slice(&world.rng.next().to_be_bytes());
    RequestId(id)
}

fn choose(world: &mut World) -> Option<Command> {
    if !world.timings.is_empty() && world.rng.chance(150) {
        return set_timing(world);
    }
    if world.noted.is_none() {
        world.noted = see_off(world);
    }
    match world.rng.below(23) {
        0..=3 => move_one(world),
        4..=8 => edit(world),
        9 | 10 => schedule(world),
        11 => delete_or_create(world),
        12 => fence(world, FenceAction::Off),
        13 => fence(world, FenceAction::On),
        14 | 15 => see_off(world),
        16 => edit_device(world),
        17 => edit_topology(world),
        _ => rogue_grant(world),
    }
}

fn any_resource(world: &mut World) -> Option<Resource> {
    let all: Vec<Resource> = world.oracle.state().resources.values().cloned().collect();
    world.rng.pick(&all).cloned()
}

fn any_node(world: &mut World) -> Option<NodeName> {
    let all: Vec<NodeName> = world.machines.iter().map(|m| m.name.clone()).collect();
    world.rng.pick(&all).cloned()
}

/// Raised or lowered, under load and faults; twice the same changes nothing.
fn set_timing(world: &mut World) -> Option<Command> {
    let all = world.timings.clone();
    let timing = *world.rng.pick(&all)?;
    Some(Command::SetTiming {
        timing,
        expected: None,
        request: request(world),
    })
}

pub(crate) fn move_one(world: &mut World) -> Option<Command> {
    let resource = any_resource(world)?.id;
    let to = any_node(world)?;
    let request = request(world);
    Some(Command::Move {
        resource,
        to,
        request,
    })
}

fn edit(world: &mut World) -> Option<Command> {
    let resource = any_resource(world)?;
    let ResourceSpec::VirtualIp(mut spec) = resource.spec;
    match world.rng.below(4) {
        0 | 1 => {
            spec.isolation = match spec.isolation {
                Isolation::Stonith if !world.timing.watchdog.is_zero() => Isolation::Watchdog,
                Isolation::Lease => Isolation::Stonith,
                Isolation::Watchdog | Isolation::Stonith => Isolation::Lease,
            }
        }
        2 => spec.preference = any_node(world).into_iter().collect(),
        _ => {
            spec.failback = match spec.failback {
                Failback::Never => Failback::Auto,
                Failback::Auto => Failback::Never,
            }
        }
    }
    let object = ObjectSpec::Resource(resource.id, ResourceSpec::VirtualIp(spec));
    let request = request(world);
    Some(Command::Put {
        object,
        expected: None,
        request,
    })
}

fn schedule(world: &mut World) -> Option<Command> {
    let name = any_node(world)?;
    let node = world.oracle.state().node_named(&name)?;
    let mut spec = node.spec.clone();
    spec.scheduling = match spec.scheduling {
        Scheduling::Open if world.rng.chance(700) => Scheduling::Standby,
        Scheduling::Open => Scheduling::Cordoned,
        Scheduling::Cordoned | Scheduling::Standby => Scheduling::Open,
    };
    let request = request(world);
    Some(Command::Put {
        object: ObjectSpec::Node(name, spec),
        expected: None,
        request,
    })
}

/// The last address comes and goes, under one of two names.
fn delete_or_create(world: &mut World) -> Option<Command> {
    let names = ["spare-a", "spare-b"].map(ResourceId::vip);
    let present = names
        .iter()
        .find(|id| world.oracle.state().resources.contains_key(id))
        .cloned();
    let request = request(world);
    Some(match present {
        Some(id) if world.rng.chance(700) => Command::Delete {
            object: ObjectRef::Resource(id),
            expected: None,
            request,
        },
        Some(_) | None => {
            let id = world.rng.pick(&names).cloned()?;
            let isolation = if world.rng.chance(500) {
                Isolation::Lease
            } else {
                Isolation::Stonith
            };
            let spec = ResourceSpec::VirtualIp(vip(99, isolation, Vec::new()));
            Command::Put {
                object: ObjectSpec::Resource(id, spec),
                expected: None,
                request,
            }
        }
    })
}

/// Off for a node that lives; on for any, which is refused while its off is open.
fn fence(world: &mut World, action: FenceAction) -> Option<Command> {
    let orders = world.oracle.state().orders.values();
    let waiting: Vec<NodeId> = orders
        .filter(|order| order.phase.is_open())
        .map(|order| order.node)
        .collect();
    let node = match (action, world.rng.pick(&waiting)) {
        // Impatience.
        (FenceAction::On, Some(node)) => *node,
        (FenceAction::On | FenceAction::Off, _) => {
            let name = any_node(world)?;
            world.oracle.state().node_named(&name)?.id
        }
    };
    match action {
        FenceAction::Off => drill(world, node),
        FenceAction::On => {
            let incarnation = newest(world, node)?;
            Some(order(world, (node, incarnation), action))
        }
    }
}

/// Off for this node, if it lives.
pub(crate) fn drill(world: &mut World, node: NodeId) -> Option<Command> {
    let incarnation = world.oracle.state().live_incarnation(node)?;
    Some(order(world, (node, incarnation), FenceAction::Off))
}

fn order(
    world: &mut World,
    (node, incarnation): (NodeId, Incarnation),
    action: FenceAction,
) -> Command {
    let request = request(world);
    Command::FenceIntent {
        node,
        incarnation,
        action,
        cause: FenceCause::Administrator {
            by: "operator".to_owned(),
            reason: "drill".to_owned(),
        },
        request,
        first: None,
    }
}

/// A device waits longer before it is used, or no more; also in the middle of an order.
fn edit_device(world: &mut World) -> Option<Command> {
    let devices: Vec<_> = world.oracle.state().devices.keys().cloned().collect();
    let name = world.rng.pick(&devices).cloned()?;
    let mut spec = world.oracle.state().devices.get(&name)?.spec.clone();
    spec.delay = match spec.delay.is_zero() {
        true => world.timing.ttl / 4,
        false => Duration::ZERO,
    };
    let request = request(world);
    Some(Command::Put {
        object: ObjectSpec::Device(name, spec),
        expected: None,
        request,
    })
}

/// The last level comes first; also in the middle of an order.
fn edit_topology(world: &mut World) -> Option<Command> {
    let (name, topology) = world.oracle.state().topologies.iter().next()?;
    let (name, mut spec) = (name.clone(), topology.spec.clone());
    spec.levels.rotate_right(1);
    let request = request(world);
    Some(Command::Put {
        object: ObjectSpec::Topology(name, spec),
        expected: None,
        request,
    })
}

/// The word of somebody who saw this machine off and went away first, as it is ordered off again. They name the life
/// that they saw; another may stand by now, and be lost in its turn.
pub(crate) fn say_late(world: &mut World, about: NodeId) {
    let Some(Command::ConfirmOff { node, .. }) = &world.noted else {
        return;
    };
    if *node == about
        && world.rng.chance(500)
        && let Some(word) = world.noted.take()
    {
        tell_once(world, word);
    }
}

/// An honest operator vouches only for a machine that they have seen off, at once or later.
fn see_off(world: &mut World) -> Option<Command> {
    let off = world
        .machines
        .iter()
        .find(|machine| machine.power == Power::Off)?
        .node;
    let incarnation = newest(world, off)?;
    vouch(world, off, incarnation)
}

fn vouch(world: &mut World, node: NodeId, incarnation: Incarnation) -> Option<Command> {
    let boot = Some(world.oracle.state().nodes.get(&node)?.boot);
    let request = request(world);
    Some(Command::ConfirmOff {
        node,
        incarnation,
        boot,
        by: "operator".to_owned(),
        reason: "pulled the plug".to_owned(),
        witnesses: Vec::new(),
        overruled: Vec::new(),
        request,
    })
}

fn newest(world: &World, node: NodeId) -> Option<Incarnation> {
    match world.oracle.state().nodes.get(&node)?.session {
        Session::Never => None,
        Session::Open { incarnation }
        | Session::Closing { incarnation, .. }
        | Session::Ended { incarnation, .. } => Some(incarnation),
    }
}

fn rogue_grant(world: &mut World) -> Option<Command> {
    let resource = any_resource(world)?;
    let name = any_node(world)?;
    let state = world.oracle.state();
    let node = state.node_named(&name)?.id;
    let incarnation = state.live_incarnation(node)?;
    Some(Command::Grant {
        resource: resource.id,
        node,
        incarnation,
        previous: resource.last_token,
        generation: resource.generation,
    })
}
