//! Faults of fence devices: BMCs, PDUs and their feeds, shared disks and watchers, and executors that are lost.
//!
//! What a device may not do here is what no rule can bear: report off for good while the machine is on, with nobody of
//! its level to prove it wrong and nobody who hears the machine answer a challenge; call an outlet off for one read before it opens, so that the next, within the supply's
//! hold-up, is the second (seen, before it was ruled out here; three reads would bear it); hide a pill
//! on every disk that a machine reads; feed another machine than the administrator wrote. The checks for that are here, so that a sweep without violations shows what holds within
//! these limits and no more.

use super::{Fault, Undo, unit};
use crate::bmc::Mood;
use crate::clock::{MS, TrueTime};
use crate::disks::Watching;
use crate::net::Place;
use crate::park::{Park, Tool};
use crate::pdu::PENDING_MAX;
use crate::raft::nanos;
use crate::wire::{Local, Role};
use crate::world::{Event, World};
use haft_engine::ids::NodeId;

/// Whether a run with these devices can suffer this class by the dice.
pub(super) fn fits(park: &Park, fault: Fault) -> bool {
    match fault {
        Fault::Freeze => !park.rests_on_pills(),
        Fault::PduLies => !park.pdus.is_empty() && park.has_witness(Tool::Pdu(0)),
        Fault::PduCut
        | Fault::PduRefuses
        | Fault::PduIgnorant
        | Fault::PduOffLate
        | Fault::PduActsLate
        | Fault::PduNeverAcknowledges
        | Fault::PduOutletStuck
        | Fault::PduPendingAsOff
        | Fault::PduFlaps
        | Fault::PduSlow
        | Fault::PduOnForEver
        | Fault::FeedLoss => !park.pdus.is_empty(),
        Fault::SharedDiskStale => park.disks.len() == 3,
        Fault::SharedDiskHangsForOne
        | Fault::SharedDiskHangsForAll
        | Fault::SharedDiskGone
        | Fault::SharedDiskLosesWrites
        | Fault::WrongSlot
        | Fault::WatcherDeath => !park.disks.is_empty(),
        _ => true,
    }
}

/// Puts a BMC into a mood for `long`; what it delays, it delays by `late`.
fn lie(world: &mut World, place: Place, fault: Fault, late: TrueTime, long: TrueTime) -> bool {
    let mood = match fault {
        Fault::BmcRefuses => Mood::Refuses,
        Fault::BmcSilent => Mood::Silent,
        Fault::BmcIgnorant => Mood::Ignorant,
        Fault::BmcOffLate => Mood::ReportsOffLate(late),
        Fault::BmcActsLate => Mood::ActsLate(late),
        Fault::BmcOnForEver => Mood::ReportsOnForEver,
        Fault::BmcNeverAcknowledges => Mood::NeverAcknowledges,
        Fault::BmcStuck => Mood::Stuck,
        Fault::BmcFlaps => Mood::Flaps,
        Fault::BmcSlow => Mood::Slow(beyond_any_deadline(world)),
        Fault::BmcLies if !pdu_lies(world) => Mood::LiesOff,
        _ => return false,
    };
    world.machines[place].bmc.mood = mood;
    world.after(long, Event::Undo(Undo::Honest(place)));
    // What it says matters once its machine is ordered off, and who would contradict it still runs.
    if mood == Mood::LiesOff && world.rng.chance(500) {
        world.crash(place, Role::Agent, long);
    }
    true
}

fn pdu_lies(world: &World) -> bool {
    world.park.pdus.iter().any(|pdu| pdu.mood == Mood::LiesOff)
}

fn bmc_lies(world: &World) -> bool {
    let mut machines = world.machines.iter();
    machines.any(|machine| machine.bmc.mood == Mood::LiesOff)
}

fn beyond_any_deadline(world: &World) -> TrueTime {
    4 * unit(world) + 2_000 * MS
}

/// Inflicts a fault on BMCs, outlets, feeds, shared disks or watchers.
pub(super) fn inflict(
    world: &mut World,
    fault: Fault,
    place: Place,
    (span, long): (TrueTime, TrueTime),
) -> bool {
    match fault {
        Fault::BmcRefuses
        | Fault::BmcSilent
        | Fault::BmcIgnorant
        | Fault::BmcOffLate
        | Fault::BmcActsLate
        | Fault::BmcOnForEver
        | Fault::BmcNeverAcknowledges
        | Fault::BmcStuck
        | Fault::BmcFlaps
        | Fault::BmcSlow
        | Fault::BmcLies => lie(world, place, fault, span, long),
        Fault::PduRefuses
        | Fault::PduIgnorant
        | Fault::PduOffLate
        | Fault::PduActsLate
        | Fault::PduNeverAcknowledges
        | Fault::PduPendingAsOff
        | Fault::PduFlaps
        | Fault::PduSlow
        | Fault::PduOnForEver
        | Fault::PduLies => upset_pdu(world, fault, span, long),
        Fault::PduCut => {
            let pdu = world.rng.index(world.park.pdus.len());
            world.park.pdus[pdu].cuts += 1;
            world.after(long, Event::Undo(Undo::JoinPdu(pdu)));
            true
        }
        Fault::PduOutletStuck => {
            let pdu = world.rng.index(world.park.pdus.len());
            let outlets = world.park.pdus[pdu].of(place);
            let outlet = world.rng.index(outlets.len());
            outlets[outlet].stuck = true;
            world.after(long, Event::Undo(Undo::Loosen(place)));
            true
        }
        Fault::FeedLoss => {
            let pdu = world.rng.index(world.park.pdus.len());
            if !world.park.pdus[pdu].supplied {
                return false;
            }
            world.park.pdus[pdu].supplied = false;
            for place in 0..world.machines.len() {
                world.look_at_supply(place);
            }
            world.after(span, Event::Undo(Undo::Feed(pdu)));
            true
        }
        Fault::WatcherDeath => {
            let watcher = &mut world.machines[place].watcher;
            let lives = watcher.stage == Watching::Watched;
            if lives {
                watcher.stage = Watching::Dead;
            }
            lives
        }
        _ => upset_disk(world, fault, place, (span, long)),
    }
}

fn upset_pdu(world: &mut World, fault: Fault, span: TrueTime, long: TrueTime) -> bool {
    let mood = match fault {
        Fault::PduRefuses => Mood::Refuses,
        Fault::PduIgnorant => Mood::Ignorant,
        Fault::PduOffLate => Mood::ReportsOffLate(span),
        Fault::PduActsLate => Mood::ActsLate(span),
        Fault::PduNeverAcknowledges => Mood::NeverAcknowledges,
        Fault::PduPendingAsOff => Mood::PendingAsOff(world.rng.range(MS, PENDING_MAX)),
        Fault::PduFlaps => Mood::Wavers,
        Fault::PduSlow => Mood::Slow(beyond_any_deadline(world)),
        Fault::PduOnForEver => Mood::ReportsOnForEver,
        Fault::PduLies if !bmc_lies(world) => Mood::LiesOff,
        _ => return false,
    };
    let pdu = world.rng.index(world.park.pdus.len());
    world.park.pdus[pdu].mood = mood;
    world.after(long, Event::Undo(Undo::HonestPdu(pdu)));
    true
}

/// The feed of a PDU is back, and with it what was running on it.
pub(super) fn supply(world: &mut World, pdu: usize) {
    world.park.pdus[pdu].supplied = true;
    for place in 0..world.machines.len() {
        world.look_at_supply(place);
    }
}

fn upset_disk(
    world: &mut World,
    fault: Fault,
    place: Place,
    (span, long): (TrueTime, TrueTime),
) -> bool {
    let now = world.now;
    let disk = world.rng.index(world.park.disks.len());
    // A machine that reads the past from one disk sees the pill on another, unless that one fails it, too: beyond
    // that limit nothing is promised, so only one disk is disturbed then.
    let others_sound = (0..world.park.disks.len())
        .filter(|other| *other != disk)
        .all(|other| world.park.disks[other].is_sound(now));
    let stale_elsewhere = (0..world.park.disks.len())
        .any(|other| other != disk && world.park.disks[other].is_stale(now));
    if stale_elsewhere || (fault == Fault::SharedDiskStale && !others_sound) {
        return false;
    }
    let places = world.machines.len();
    let disk_at = disk;
    let disk = &mut world.park.disks[disk_at];
    match fault {
        Fault::SharedDiskHangsForOne => disk.sight(place).hung_until = now + long,
        Fault::SharedDiskHangsForAll => {
            for host in 0..places {
                disk.sight(host).hung_until = now + span;
            }
        }
        Fault::SharedDiskGone => disk.gone_until = now + span,
        Fault::SharedDiskLosesWrites => disk.loses_until = now + long,
        Fault::SharedDiskStale => disk.sight(place).stale_until = now + long,
        Fault::WrongSlot => {
            if disk.misnamed.is_some() {
                return false;
            }
            disk.misnamed = Some(place);
            world.after(long, Event::Undo(Undo::Rename(disk_at)));
        }
        _ => return false,
    }
    true
}

/// Whoever executes at `place` is replaced: by a transfer of leadership, which is quick, by a crash, or by a pause.
pub(super) fn lose_executor(world: &mut World, place: Place) {
    let unit = unit(world);
    let voters: Vec<_> = world.oracle.state().membership.all().into_iter().collect();
    match world.rng.below(5) {
        0 => {
            let after = world.rng.range(unit / 20, 4 * unit);
            world.crash(place, Role::Coordinator, after);
        }
        1 => {
            let span = world.rng.range(unit, 8 * unit);
            world.stop_process(place, Role::Coordinator, span);
        }
        _ => {
            if let Some(to) = world.rng.pick(&voters).copied() {
                world.tell(place, Role::Coordinator, Local::Transfer(to));
            }
        }
    }
}

/// It hands leadership over and hears of nobody any more: its try goes on, by what it knew then, and asks a controller
/// that it does not reach, until its deadline.
pub(super) fn strand(world: &mut World, executor: Place, target: NodeId) -> bool {
    if !shut_out(world, executor, target) {
        return false;
    }
    let own = world.machines[executor].node;
    let voters = world.oracle.state().membership.all();
    let others: Vec<NodeId> = voters.into_iter().filter(|node| *node != own).collect();
    if let Some(to) = world.rng.pick(&others).copied() {
        world.tell(executor, Role::Coordinator, Local::Transfer(to));
    }
    deafen(world, executor);
    true
}

/// How long a stranded executor is.
fn stranded_for(world: &World) -> TrueTime {
    4 * unit(world) + 3 * nanos(world.timing.election_max)
}

/// It reaches the target's controller no more; false if that is its own.
pub(super) fn shut_out(world: &mut World, executor: Place, target: NodeId) -> bool {
    let target = world.places.get(&target).copied();
    let Some(target) = target.filter(|target| *target != executor) else {
        return false;
    };
    world.net.cut_management(executor, target);
    let span = stranded_for(world);
    world.after(span, Event::Undo(Undo::Reach(executor, target)));
    true
}

/// It hears of nobody.
pub(super) fn deafen(world: &mut World, executor: Place) {
    let from = (0..world.machines.len()).filter(|other| *other != executor);
    let links: Vec<(Place, Place)> = from.map(|other| (other, executor)).collect();
    for (from, to) in &links {
        world.net.cut(*from, *to);
    }
    let span = stranded_for(world);
    world.after(span, Event::Undo(Undo::Join(links)));
}
