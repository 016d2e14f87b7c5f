//! Staged coincidences that dice would take too long to roll: the hours at which rules R2 and R3 are needed.
//!
//! The first two have a leader `b`, another voter `a`, a third `c`, and a node `n`.
//! [`Stage::Seal`]: `n` reaches only `c`, which hears nothing of the closing that `a` and `b` commit. As
//! soon as `a` has stated an age that counts, it is cut from `b`, perhaps restarted, and `n` reaches it.
//! [`Stage::Age`]: `n` does not reach `b`, whose only peer is `a`. As soon as `a` holds the closing it
//! restarts, or stops for a while.
//! [`Stage::Forgotten`]: `a` hears nothing of an owner any more, whose guard was intact. It is lost, and as soon as the
//! others have acknowledged that, they restart and the owner's agent dies: who heard of the loss has forgotten it.
//! [`Stage::Uncommitted`]: `b`, deaf to `n`, is cut off as it closes `n`'s session, so that only its own log holds
//! that. `c`, deaf to `n` as well, closes it at the same index, and `b` is heard again once `a` holds that. On their
//! way to `b` beats wait in a queue, and its disk hangs between the truncation and the append.
//! [`Stage::Outlived`] has a leader and a node that is switched off: see [`outlived`].

mod outlived;

use super::{Bias, Nemesis, Undo, unit};
use crate::clock::MS;
use crate::net::Place;
use crate::wire::{Hook, Local, Role};
use crate::world::{Event, World};
use haft_engine::command::Attestation;
use haft_engine::ids::NodeId;
use haft_engine::spec::Isolation;
use haft_engine::state::Ownership;

/// Which coincidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Seal,
    Age,
    Forgotten,
    Uncommitted,
    Outlived,
}

/// How far the script has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// The stage is set.
    Set,
    /// Of two strikes the first has fallen.
    Begun,
    /// The strike has fallen.
    Struck,
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
    /// Coordinators that the strike is about: they restart, are cut off, or take over.
    restart: Vec<Place>,
    progress: Progress,
}

/// Sets the stage, if the cast is there.
pub(super) fn begin(nemesis: &mut Nemesis, world: &mut World) -> bool {
    if nemesis.script.is_some() {
        return false;
    }
    let outlived = match nemesis.bias {
        Bias::Fencing => 700,
        Bias::Mixed | Bias::Sessions | Bias::Guards | Bias::Voters => 70,
    };
    if world.rng.chance(outlived) {
        return outlived::begin(nemesis, world);
    }
    if world.rng.chance(250) {
        return begin_forgotten(nemesis, world);
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
    // The last needs the most luck.
    let stage = match world.rng.below(4) {
        0 => Stage::Seal,
        1 => Stage::Age,
        _ => Stage::Uncommitted,
    };
    let nodes: Vec<Place> = (0..world.machines.len())
        .filter(|place| *place != a && *place != b)
        .filter(|place| *place != c || stage != Stage::Uncommitted)
        .collect();
    let Some(n) = world.rng.pick(&nodes).copied() else {
        return false;
    };
    if stage == Stage::Uncommitted {
        return begin_uncommitted(nemesis, world, (a, b, c), n);
    }
    let mut script = Script {
        stage,
        node: world.machines[n].node,
        a,
        links: vec![(n, b), (c, b), (b, c)],
        until_strike: Vec::new(),
        by_strike: Vec::new(),
        restart: Vec::new(),
        progress: Progress::Set,
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
    raise(nemesis, world, script);
    true
}

fn raise(nemesis: &mut Nemesis, world: &mut World, script: Script) {
    for (from, to) in script.links.iter().chain(&script.until_strike) {
        world.net.cut(*from, *to);
    }
    nemesis.script = Some(script);
    let length = 9 * unit(world) + 4 * crate::raft::nanos(world.timing.election_max) / 3;
    world.after(length, Event::Undo(Undo::EndScript));
}

/// The third stage: its owner holds something under `lease` behind a guard that the log calls intact.
fn begin_forgotten(nemesis: &mut Nemesis, world: &mut World) -> bool {
    let state = world.oracle.state();
    let voters = state.membership.all();
    let mut voters: Vec<Place> = voters
        .iter()
        .filter_map(|node| world.places.get(node).copied())
        .collect();
    let owners = state
        .resources
        .values()
        .filter_map(|row| match &row.ownership {
            Ownership::Active(held) if held.isolation == Isolation::Lease => {
                (held.guard == Attestation::Intact).then_some(*world.places.get(&held.node)?)
            }
            Ownership::Unowned
            | Ownership::Granted(_)
            | Ownership::Active(_)
            | Ownership::Releasing(..)
            | Ownership::Orphaned(_) => None,
        });
    let owners: Vec<Place> = owners.collect();
    let Some(n) = world.rng.pick(&owners).copied() else {
        return false;
    };
    voters.sort_by_key(|place| *place == n);
    let others = voters
        .len()
        .saturating_sub(usize::from(voters.contains(&n)));
    if others == 0 || !super::faults::lose_gate(world, n, 4 * unit(world)) {
        return false;
    }
    let a = voters.remove(world.rng.index(others));
    let script = Script {
        stage: Stage::Forgotten,
        node: world.machines[n].node,
        a,
        links: vec![(n, a)],
        until_strike: Vec::new(),
        by_strike: Vec::new(),
        restart: voters,
        progress: Progress::Set,
    };
    raise(nemesis, world, script);
    true
}

/// The fourth stage: `n` reaches only `a`.
fn begin_uncommitted(
    nemesis: &mut Nemesis,
    world: &mut World,
    (a, b, c): (Place, Place, Place),
    n: Place,
) -> bool {
    let script = Script {
        stage: Stage::Uncommitted,
        node: world.machines[n].node,
        a,
        links: vec![(n, c)],
        until_strike: vec![(n, b)],
        by_strike: vec![(b, a), (a, b), (b, c), (c, b)],
        restart: vec![b],
        progress: Progress::Set,
    };
    raise(nemesis, world, script);
    world.note(b, || {
        format!("STAGE uncommitted a=m{a} b=m{b} c=m{c} n=m{n}")
    });
    true
}

/// Its first strike cuts `b` off before its closing leaves it, the second lets it be heard by `c`.
fn on_uncommitted(script: &mut Script, world: &mut World, place: Place, hook: Hook) -> bool {
    let Some(b) = script.restart.first().copied() else {
        return false;
    };
    match script.progress {
        Progress::Set if place == b && hook == Hook::ClosingProposed(script.node) => {
            for (from, to) in std::mem::take(&mut script.until_strike) {
                world.net.join(from, to);
                world.net.queue(Some((from, to, unit(world) / 5)));
            }
            for (from, to) in std::mem::take(&mut script.by_strike) {
                world.net.cut(from, to);
                script.links.push((from, to));
            }
            // One index more, as the first record of the next term takes one.
            if let Some(command) = crate::errands::move_one(world) {
                world.tell(
                    b,
                    Role::Coordinator,
                    Local::Administrator(Box::new(command)),
                );
            }
            script.progress = Progress::Begun;
            world.note(b, || "STAGE cut off".to_owned());
            true
        }
        Progress::Begun if place == script.a && hook == Hook::ClosingAppended(script.node) => {
            let a = script.a;
            let between =
                |(from, to): &(Place, Place)| (*from == b || *to == b) && *from != a && *to != a;
            let (joined, kept): (Vec<_>, Vec<_>) = script.links.drain(..).partition(between);
            script.links = kept;
            for (from, to) in joined {
                world.net.join(from, to);
            }
            world.machines[b].disk_hangs_until = world.now + unit(world) / 2;
            world.note(b, || "STAGE heard again".to_owned());
            script.progress = Progress::Struck;
            true
        }
        Progress::Set | Progress::Begun | Progress::Struck => false,
    }
}

/// Whether the hook was this stage's cue.
pub(super) fn on_hook(nemesis: &mut Nemesis, world: &mut World, place: Place, hook: Hook) -> bool {
    let Some(script) = &mut nemesis.script else {
        return false;
    };
    match script.stage {
        Stage::Uncommitted => return on_uncommitted(script, world, place, hook),
        Stage::Outlived => return outlived::on_hook(script, world, place, hook),
        Stage::Seal | Stage::Age | Stage::Forgotten => {}
    }
    let node = world.machines[place].node;
    let cue = match script.stage {
        Stage::Seal => place == script.a && hook == Hook::AgeStated(script.node),
        Stage::Age => place == script.a && hook == Hook::ClosingAppended(script.node),
        Stage::Forgotten => node == script.node && hook == Hook::LossTold,
        Stage::Uncommitted | Stage::Outlived => false,
    };
    if script.progress != Progress::Set || !cue {
        return false;
    }
    script.progress = Progress::Struck;
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
        Stage::Forgotten => {
            for one in std::mem::take(&mut script.restart) {
                world.crash(one, Role::Coordinator, 5 * MS);
            }
            let span = 8 * unit(world);
            super::faults::flush_guard(world, place, span);
        }
        Stage::Uncommitted | Stage::Outlived => {}
    }
    true
}

/// The strike that a stage has put off.
pub(super) fn strike(nemesis: &Nemesis, world: &mut World, place: Place) {
    let Some(script) = &nemesis.script else {
        return;
    };
    match script.stage {
        Stage::Outlived => outlived::strike(script, world, place),
        Stage::Age => strike_age(world, place),
        Stage::Seal | Stage::Forgotten | Stage::Uncommitted => {}
    }
}

fn strike_age(world: &mut World, place: Place) {
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
        world.net.queue(None);
        for (from, to) in script.links.into_iter().chain(script.until_strike) {
            world.net.join(from, to);
        }
    }
}
