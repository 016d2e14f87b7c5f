//! Somebody deletes the qdisc that a gate's filters stand on.
//!
//! While the agent runs it puts them back within a beat; while it is frozen nobody does, and once it is dead nobody
//! does until the next one starts. Until then the address answers for as long as it lives, whatever end the gate was
//! told. All of that is what `watched` says of a gate on filters (`docs/isolation.md`).

use crate::barrier::Barrier;
use crate::clock::TrueTime;
use crate::kernel::Also;
use crate::net::Place;
use crate::raft::nanos;
use crate::wire::{Local, Role};
use crate::world::{Event, World};

/// What becomes of the agent when the filters go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Agent {
    /// It stays as it is: it runs and puts them back, is frozen, or is dead already.
    Stays,
    /// It ends with them, as when a package is upgraded, and restarts after so long.
    Ends(TrueTime),
}

/// Deletes them, with or without the agent; whether there were any.
pub(super) fn strike(world: &mut World, place: Place, span: TrueTime) -> bool {
    let agent = match world.rng.chance(500) {
        true => Agent::Ends(span),
        false => Agent::Stays,
    };
    delete(world, place, agent)
}

/// Deletes them; whether the machine is on and its gate stands on filters. The tables are flushed, too, only where the
/// agent is dead: one that lives rebuilds them with the filters, and the ends are where they were.
pub(super) fn delete(world: &mut World, place: Place, agent: Agent) -> bool {
    let machine = &world.machines[place];
    if !machine.alive() || machine.kernel.barrier() != Barrier::Filters {
        return false;
    }
    if let Agent::Ends(span) = agent {
        world.crash(place, Role::Agent, span);
    }
    let lives = world.machines[place].agent.running.is_some();
    let also = match !lives && world.rng.chance(500) {
        true => Also::Tables,
        false => Also::Nothing,
    };
    world.note(place, || {
        format!("the gate's filters are deleted, {also:?}")
    });
    world.machines[place].kernel.delete_filters(also);
    if lives {
        let after = world.rng.range(0, nanos(world.timing.beat));
        let noticed = Event::Local {
            to: place,
            role: Role::Agent,
            life: world.machines[place].agent.life,
            local: Local::FiltersGone,
        };
        world.after(after, noticed);
    }
    world.oracle.machine_woke(world.now, &world.machines, place);
    true
}
