//! Staged coincidences that dice would take too long to roll: the hours at which rule R2 is needed.
//!
//! Both stages have a leader `b`, another voter `a`, a third `c`, and a node `n`.
//! [`Stage::Seal`]: `n` reaches only `c`, which hears nothing of the closing that `a` and `b` commit. As
//! soon as `a` has stated an age that counts, it is cut from `b`, perhaps restarted, and `n` reaches it.
//! [`Stage::Age`]: `n` does not reach `b`, whose only peer is `a`. As soon as `a` holds the closing it
//! restarts, or stops for a while.

use super::{Nemesis, Undo, unit};
use crate::clock::MS;
use crate::net::Place;
use crate::wire::{Hook, Role};
use crate::world::{Event, World};
use haft_engine::ids::NodeId;

/// Which coincidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Seal,
    Age,
}

/// One on stage.
#[derive(Clone, Debug)]
pub(super) struct Script {
    stage: Stage,
    node: NodeId,
    a: Place,
    /// Links that are cut until the end.
    links: Vec<(Place, Place)>,
    /// Links that are joined when the strike falls.
    until_strike: Vec<(Place, Place)>,
    /// Links that are cut by the strike.
    by_strike: Vec<(Place, Place)>,
    struck: bool,
}

/// Sets the stage, if the cast is there.
pub(super) fn begin(nemesis: &mut Nemesis, world: &mut World) -> bool {
    if nemesis.script.is_some() {
        return false;
    }
    let Some(b) = world.leader() else {
        return false;
    };
    let voters: Vec<Place> = world
        .oracle
        .state()
        .membership
        .all()
        .iter()
        .filter_map(|node| world.places.get(node).copied())
        .filter(|place| *place != b)
        .collect();
    let [first, second] = voters.as_slice() else {
        return false;
    };
    let (a, c) = if world.rng.chance(500) {
        (*first, *second)
    } else {
        (*second, *first)
    };
    let nodes: Vec<Place> = (0..world.machines.len())
        .filter(|place| *place != a && *place != b)
        .collect();
    let Some(n) = world.rng.pick(&nodes).copied() else {
        return false;
    };
    let stage = if world.rng.chance(500) {
        Stage::Seal
    } else {
        Stage::Age
    };
    let mut script = Script {
        stage,
        node: world.machines[n].node,
        a,
        links: vec![(n, b), (c, b), (b, c)],
        until_strike: Vec::new(),
        by_strike: Vec::new(),
        struck: false,
    };
    if stage == Stage::Seal {
        script.links.extend([(c, a), (a, c)]);
        script.until_strike.push((n, a));
        script.by_strike.extend([(a, b), (b, a)]);
        if n == c {
            // The node's own coordinator is the third one; it must reach `a` as a node does.
            script
                .links
                .retain(|link| *link != (c, a) && *link != (a, c));
        }
    }
    for (from, to) in script.links.iter().chain(&script.until_strike) {
        world.net.cut(*from, *to);
    }
    nemesis.script = Some(script);
    let length = 9 * unit(world) + 4 * crate::raft::nanos(world.timing.election_max) / 3;
    world.after(length, Event::Undo(Undo::EndScript));
    true
}

/// Whether the hook was this stage's cue.
pub(super) fn on_hook(nemesis: &mut Nemesis, world: &mut World, place: Place, hook: Hook) -> bool {
    let Some(script) = &mut nemesis.script else {
        return false;
    };
    let cue = match script.stage {
        Stage::Seal => Hook::AgeStated(script.node),
        Stage::Age => Hook::ClosingAppended(script.node),
    };
    if script.struck || place != script.a || hook != cue {
        return false;
    }
    script.struck = true;
    for (from, to) in std::mem::take(&mut script.until_strike) {
        world.net.join(from, to);
    }
    let cut = script.by_strike.clone();
    for (from, to) in &cut {
        world.net.cut(*from, *to);
    }
    script.links.extend(cut);
    match script.stage {
        Stage::Seal => {
            if world.rng.chance(600) {
                world.crash(place, Role::Coordinator, 20 * MS);
            }
        }
        Stage::Age => {
            let after = world.rng.range(2 * MS, 5 * MS);
            world.after(after, Event::Undo(Undo::Strike(place)));
        }
    }
    true
}

/// The second stage's strike.
pub(super) fn strike(world: &mut World, place: Place) {
    if world.rng.chance(500) {
        world.crash(place, Role::Coordinator, 5 * MS);
    } else {
        let span = unit(world) + 50 * MS;
        world.stop_process(place, Role::Coordinator, span);
    }
}

/// Clears the stage.
pub(super) fn end(nemesis: &mut Nemesis, world: &mut World) {
    if let Some(script) = nemesis.script.take() {
        for (from, to) in script.links.into_iter().chain(script.until_strike) {
            world.net.join(from, to);
        }
    }
}
