//! The cluster's timing in the log, and each session's copy of it (R2a).
//!
//! Raising counts for every live session in the entry that raises; lowering when an agent has said that it counts
//! by the shorter one. No session ends for either. Knows no clock and derives nothing: the sums are
//! [`crate::timing`]'s, asked by the configuration as well.

use super::{At, Outcome, Refusal, event};
use crate::clock::Timing;
use crate::command::Command;
use crate::ids::{Generation, Incarnation, NodeId};
use crate::spec::Isolation;
use crate::state::{ClusterState, Holding, Resource};
use crate::timing::{ClusterTiming, Interval, refuted};
use std::time::Duration;

/// Applies a command of this area.
pub(super) fn apply(
    state: &mut ClusterState,
    at: At,
    command: &Command,
) -> Result<Outcome, Refusal> {
    match command {
        Command::SetTiming {
            timing, expected, ..
        } => set(state, at, timing, *expected),
        Command::Retimed {
            node,
            incarnation,
            generation,
        } => retimed(state, at, (*node, *incarnation), *generation),
        other => Err(Refusal::invalid("NotATimingCommand", format!("{other:?}"))),
    }
}

/// Refuses a set that cannot keep the promise.
pub(super) fn check(timing: &Timing) -> Result<(), Refusal> {
    match refuted(timing) {
        None => Ok(()),
        Some(check) => Err(Refusal::invalid(
            "BadTiming",
            format!("{} does not hold: {}", check.rule, check.sum),
        )
        .fix(check.fix)),
    }
}

fn set(
    state: &mut ClusterState,
    at: At,
    timing: &Timing,
    expected: Option<Generation>,
) -> Result<Outcome, Refusal> {
    let present = state.timing.map_or(Generation(0), |now| now.generation);
    if expected.is_some_and(|expected| expected != present) {
        return Err(Refusal::stale(
            "GenerationChanged",
            format!("the timing stands at generation {present}"),
        )
        .fix("haftctl cluster timing"));
    }
    check(timing)?;
    check_watchdogs(state, timing)?;
    if state.timing.is_some_and(|now| now.timing == *timing) {
        return Ok(Outcome::Written(present));
    }
    let generation = Generation(at.index.0);
    if present >= generation {
        return Err(Refusal::stale(
            "OneTimingPerEntry",
            "this entry has changed the timing already",
        ));
    }
    state.timing = Some(ClusterTiming {
        generation,
        timing: *timing,
    });
    let live: Vec<NodeId> = state.nodes.keys().copied().collect();
    for id in live {
        offer(state, id, timing);
    }
    let message = format!(
        "sessions live {} ms, beats come every {} ms",
        timing.ttl.as_millis(),
        timing.beat.as_millis()
    );
    event::note(state, at, "TimingChanged", "cluster", message);
    Ok(Outcome::Written(generation))
}

/// From this entry on this node's agent may be told of `timing`, if it lives.
fn offer(state: &mut ClusterState, id: NodeId, timing: &Timing) {
    let Some(incarnation) = state.live_incarnation(id) else {
        return;
    };
    if let Some(node) = state.nodes.get_mut(&id)
        && let Some(terms) = &mut node.terms
    {
        terms.offer(&timing.behind(node.place.gate));
    }
    for holding in held_under(state, id, incarnation) {
        holding.address_life = holding.address_life.max(timing.address_life);
    }
}

fn retimed(
    state: &mut ClusterState,
    at: At,
    (id, incarnation): (NodeId, Incarnation),
    generation: Generation,
) -> Result<Outcome, Refusal> {
    if state.live_incarnation(id) != Some(incarnation) {
        return Err(Refusal::stale(
            "SessionNotOpen",
            format!("incarnation {incarnation} of node {id} does not live"),
        ));
    }
    let in_force = state.timing.filter(|now| now.generation == generation);
    let (Some(in_force), Some(node)) = (in_force, state.nodes.get_mut(&id)) else {
        return Err(Refusal::stale(
            "OtherTiming",
            format!("the timing of generation {generation} is not in force"),
        ));
    };
    let name = node.name.clone();
    let gate = node.place.gate;
    match &mut node.terms {
        Some(terms) if terms.generation == generation => return Ok(Outcome::Done),
        Some(terms) => terms.accept(&in_force, gate),
        none => *none = Some(crate::timing::Terms::admitted(&in_force, gate)),
    }
    // It has refreshed every address it holds.
    for holding in held_under(state, id, incarnation) {
        holding.address_life = holding.address_life.min(in_force.timing.address_life);
    }
    let message = format!("{name} counts by the timing of generation {generation}");
    event::note(state, at, "NodeRetimed", format!("node/{name}"), message);
    Ok(Outcome::Done)
}

fn held_under(
    state: &mut ClusterState,
    node: NodeId,
    incarnation: Incarnation,
) -> impl Iterator<Item = &mut Holding> {
    state.resources.values_mut().filter_map(move |resource| {
        let holding = resource.ownership.holding_mut()?;
        (holding.node == node && holding.incarnation == incarnation).then_some(holding)
    })
}

/// Isolation `watchdog` needs a ttl into which its watchdogs fit: those armed now, and any at all.
fn check_watchdogs(state: &ClusterState, timing: &Timing) -> Result<(), Refusal> {
    for resource in state.resources.values() {
        let holding = resource.ownership.holding();
        let wanted = resource.spec.isolation() == Isolation::Watchdog
            || holding.is_some_and(|holding| holding.isolation == Isolation::Watchdog);
        let armed = holding.and_then(|holding| holding.watchdog);
        let owner = holding.and_then(|holding| state.nodes.get(&holding.node));
        let row = owner.map_or(*timing, |node| timing.behind(node.place.gate));
        let fits = armed.is_none_or(|period| row.admits_watchdog(period));
        if wanted && (timing.watchdog.is_zero() || !fits) {
            return Err(no_room(resource, armed.unwrap_or(timing.watchdog)));
        }
    }
    Ok(())
}

fn no_room(resource: &Resource, period: Duration) -> Refusal {
    Refusal::dangerous(
        "WatchdogNeedsRoom",
        format!(
            "{} is isolated by its owner's watchdog, and a period of {} ms does not fit {}",
            resource.id,
            period.as_millis(),
            Interval::Ttl.key()
        ),
    )
    .fix("choose a longer ttl, or another isolation for it, and move it once")
}
