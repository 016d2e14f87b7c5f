//! The fifth stage: a try goes on that another has taken the place of, while its target is back in a newer life.
//!
//! `n` is to be switched off, by an administrator or because it is lost. As soon as the try of the leader `a` begins,
//! its questions reach no controller, so that it asks until its deadline; it hands over, and hears of nobody a moment
//! later, if all goes well before it hears of its successor's try. The successor switches `n` off, and an operator
//! switches it on again. What keeps the call of `a` from the newer life is only that it is not let in before.

use super::{Progress, Script, Stage, raise};
use crate::bmc::Power;
use crate::clock::MS;
use crate::nemesis::{Nemesis, Undo, devices, unit};
use crate::net::Place;
use crate::wire::{Hook, Local, Role};
use crate::world::{Event, World};
use haft_engine::ids::NodeId;
use haft_engine::spec::Isolation;
use std::collections::BTreeSet;

/// Sets the stage where a quorum is left without the leader and the node.
pub(super) fn begin(nemesis: &mut Nemesis, world: &mut World) -> bool {
    let Some(a) = world.leader() else {
        return false;
    };
    let nodes: Vec<Place> = (0..world.machines.len())
        .filter(|n| *n != a && quorum_without(world, [a, *n]))
        .collect();
    let Some(n) = world.rng.pick(&nodes).copied() else {
        return false;
    };
    let node = world.machines[n].node;
    let isolation = match needs_power_off(world, node) && world.rng.chance(500) {
        true => (0..world.machines.len())
            .filter(|other| *other != n)
            .flat_map(|other| [(n, other), (other, n)])
            .collect(),
        false => Vec::new(),
    };
    if isolation.is_empty() {
        let Some(order) = crate::errands::drill(world, node) else {
            return false;
        };
        let order = Local::Administrator(Box::new(order));
        world.tell(a, Role::Coordinator, order);
    }
    let voters = world.oracle.state().membership.all();
    let heirs: Vec<Place> = voters
        .iter()
        .filter_map(|voter| world.places.get(voter).copied())
        .filter(|place| *place != a && *place != n)
        .collect();
    let heir = world.rng.pick(&heirs).copied();
    let script = Script {
        stage: Stage::Outlived,
        node,
        a,
        links: Vec::new(),
        until_strike: isolation,
        by_strike: Vec::new(),
        restart: heir.into_iter().collect(),
        progress: Progress::Set,
    };
    raise(nemesis, world, script);
    world.note(a, || format!("STAGE outlived a=m{a} n=m{n}"));
    true
}

fn quorum_without(world: &World, gone: [Place; 2]) -> bool {
    let membership = &world.oracle.state().membership;
    let gone = gone.map(|place| world.machines[place].node);
    let rest: BTreeSet<NodeId> = membership
        .all()
        .into_iter()
        .filter(|voter| !gone.contains(voter))
        .collect();
    membership.majority(&rest)
}

/// Whether it holds something that only proof of its end opens, so that its loss is an order to switch it off.
fn needs_power_off(world: &World, node: NodeId) -> bool {
    let mut rows = world.oracle.state().resources.values();
    rows.any(|row| {
        let held = row.ownership.holding();
        held.is_some_and(|held| held.node == node && held.isolation == Isolation::Stonith)
    })
}

/// Its first strike has the executor hand over, the second sends somebody to the machine.
pub(super) fn on_hook(script: &mut Script, world: &mut World, place: Place, hook: Hook) -> bool {
    let node = script.node;
    // It asks again and again, and is to live through that.
    if place == script.a && hook == Hook::FenceOrdering(node) {
        return script.progress != Progress::Set;
    }
    if hook != Hook::FenceStarted(node) {
        return false;
    }
    match script.progress {
        Progress::Set if place == script.a => {
            for (from, to) in std::mem::take(&mut script.until_strike) {
                world.net.join(from, to);
            }
            script.progress = Progress::Begun;
            world.note(place, || "STAGE hands over".to_owned());
            devices::shut_out(world, place, node);
            hand_over(script, world);
            true
        }
        Progress::Begun if place != script.a => {
            script.progress = Progress::Struck;
            if let Some(n) = world.places.get(&node).copied() {
                come_again(world, n);
            }
            true
        }
        Progress::Set | Progress::Begun | Progress::Struck => false,
    }
}

/// Orders the transfer, again and again: one is refused while its target has not acknowledged the last entry.
fn hand_over(script: &Script, world: &mut World) {
    for heir in &script.restart {
        let to = world.machines[*heir].node;
        world.tell(script.a, Role::Coordinator, Local::Transfer(to));
    }
    let unit = unit(world);
    let after = world.rng.range(MS, unit / 50);
    world.after(after, Event::Undo(Undo::Strike(script.a)));
}

/// The executor hears of nobody any more, once it leads no more; or somebody looks at the machine.
pub(super) fn strike(script: &Script, world: &mut World, place: Place) {
    if place == script.a && world.leader() == Some(place) {
        hand_over(script, world);
    } else if place == script.a {
        devices::deafen(world, place);
    } else if world.machines[place].power == Power::Off && !is_ordered(world, script.node) {
        world.switch_on_by_hand(place);
    } else {
        come_again(world, place);
    }
}

fn come_again(world: &mut World, n: Place) {
    let unit = unit(world);
    let after = world.rng.range(unit / 16, unit / 4);
    world.after(after, Event::Undo(Undo::Strike(n)));
}

/// Nobody switches a machine on that others are about to switch off.
fn is_ordered(world: &World, node: NodeId) -> bool {
    let mut orders = world.oracle.state().orders.values();
    orders.any(|order| order.node == node && order.phase.is_open())
}
