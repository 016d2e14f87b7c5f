//! One seed: form, settle, faults, heal, settle. The same seed gives the same run, event by event.

use crate::clock::{SECOND, TrueTime};
use crate::errands;
use crate::invariants::{Violation, liveness};
use crate::nemesis::{Fault, Nemesis, Struck, tend};
use crate::oracle::Counts;
use crate::rng::Rng;
use crate::setup::{self, Shape};
use crate::trace::Detail;
use crate::wire::Role;
use crate::world::{Event, World};
use haft_engine::ids::NodeId;
use haft_engine::session::responder::Restart;
use std::collections::{BTreeMap, BTreeSet};

/// Events after which a run is called a livelock: a hundred times what the longest runs need.
const EVENTS_MAX: u64 = 20_000_000;

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What the seed meant.
    pub shape: Shape,
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// Faults by class.
    pub struck: BTreeMap<Fault, Struck>,
    /// What the cluster did.
    pub counts: Counts,
    /// True time simulated, nanoseconds.
    pub simulated: TrueTime,
    /// Events handled.
    pub events: u64,
    /// The trace, if one was asked for.
    pub lines: Vec<String>,
}

/// Runs one seed.
pub fn run(seed: u64, detail: Detail) -> Report {
    let mut rng = Rng::new(seed);
    let shape = Shape::deal(&mut rng);
    let world = setup::world(&shape, rng, detail);
    let nemesis = Nemesis::new(shape.bias, shape.weather);
    let mut run = Run {
        world,
        nemesis,
        phase: Phase::Forming,
    };
    run.play(&shape);
    let mut counts = run.world.oracle.counts;
    counts.exempted = run.world.oracle.ledger.exempted;
    Report {
        seed,
        shape,
        violation: run.world.oracle.violation().cloned(),
        struck: run.nemesis.struck,
        counts,
        simulated: run.world.now,
        events: run.world.handled,
        lines: run.world.trace.into_lines(),
    }
}

struct Run {
    world: World,
    nemesis: Nemesis,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Forming,
    Faults,
    Healed,
    /// Healed, but for the streams of one machine.
    Deaf(Deaf),
}

/// A machine that beats and can be told nothing, and what is asked of the others because of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deaf {
    /// It owns something, and is to be drained.
    Drained(NodeId),
    /// It owns nothing, and is the first choice for something new.
    Called(NodeId),
}

impl Deaf {
    fn node(self) -> NodeId {
        match self {
            Deaf::Drained(node) | Deaf::Called(node) => node,
        }
    }
}

/// Runs that end with a machine that can be told nothing and is drained, per mille.
const DRAINED_RUNS: u64 = 300;
/// Runs that end with one that can be told nothing and is called for, per mille.
const CALLED_RUNS: u64 = 200;
const DEAF_RUNS: u64 = DRAINED_RUNS + CALLED_RUNS;

impl Run {
    fn play(&mut self, shape: &Shape) {
        self.start_everything();
        if !self.settle(shape.settle_within) {
            return;
        }
        self.phase = Phase::Faults;
        self.nemesis.begin(&mut self.world);
        self.world.after(0, Event::Errand);
        let until = self.world.now + shape.faults_for;
        if !self.advance(until) {
            return;
        }
        self.world.note(0, || "HEAL".to_owned());
        self.phase = Phase::Healed;
        self.nemesis.heal(&mut self.world);
        self.world.after(0, Event::Errand);
        if self.settle(shape.settle_within) {
            self.go_deaf(shape.settle_within);
        }
    }

    /// One machine beats and can be told nothing any more, and is to be drained or called for: that it can do neither
    /// the others must find out, and do its work.
    fn go_deaf(&mut self, within: TrueTime) {
        let dice = self.world.rng.below(1_000);
        let owners: BTreeSet<NodeId> = self
            .world
            .oracle
            .state()
            .resources
            .values()
            .filter_map(|row| Some(row.ownership.holding()?.node))
            .collect();
        let all = self.world.machines.iter().map(|machine| machine.node);
        let (owners, others): (Vec<NodeId>, Vec<NodeId>) =
            all.partition(|node| owners.contains(node));
        let deaf = match dice {
            0..DRAINED_RUNS => self.world.rng.pick(&owners).copied().map(Deaf::Drained),
            DRAINED_RUNS..DEAF_RUNS => self.world.rng.pick(&others).copied().map(Deaf::Called),
            _ => None,
        };
        let place = deaf.and_then(|deaf| self.world.places.get(&deaf.node()).copied());
        let (Some(deaf), Some(place)) = (deaf, place) else {
            return;
        };
        self.world.note(place, || "DEAF".to_owned());
        self.phase = Phase::Deaf(deaf);
        self.world.net.cut_streams(place);
        self.settle(within);
    }

    fn start_everything(&mut self) {
        for place in 0..self.world.machines.len() {
            if self.world.machines[place].coordinates {
                self.world.start_coordinator(place, Restart::Fresh);
            }
            self.world.start(place, Role::Agent);
        }
    }

    /// Waits until everything that can run does; reports a violation if it takes longer than `within`.
    fn settle(&mut self, within: TrueTime) -> bool {
        let deadline = self.world.now + within;
        // Must still be so a moment later: a state passed through is not settled.
        let mut settled_since = None;
        loop {
            if !self.advance(self.world.now + SECOND / 10) {
                return false;
            }
            let world = &self.world;
            let deaf = match self.phase {
                Phase::Deaf(deaf) => Some(deaf.node()),
                Phase::Forming | Phase::Faults | Phase::Healed => None,
            };
            let missing = liveness::missing(world.now, world.oracle.state(), &world.machines, deaf);
            match (missing, settled_since) {
                (None, None) => settled_since = Some(world.now),
                (None, Some(since)) if world.now >= since + SECOND => return true,
                (None, Some(_)) => {}
                (Some(_), _) if world.now < deadline => settled_since = None,
                (Some(what), _) => {
                    let violation = liveness::violation(world.now, &what);
                    self.world.oracle.report(Some(violation));
                    return false;
                }
            }
        }
    }

    /// Lets time go on; false if something broke.
    fn advance(&mut self, until: TrueTime) -> bool {
        while let Some(event) = self.world.next(until) {
            match event {
                Event::Strike => self.nemesis.strike(&mut self.world),
                Event::Undo(undo) => self.nemesis.undo(&mut self.world, undo),
                Event::Errand => self.errand(),
                other => self.world.handle(other),
            }
            if !self.world.hooks.is_empty() || !self.world.sightings.is_empty() {
                self.nemesis.on_hooks(&mut self.world);
            }
            if self.world.oracle.violation().is_some() {
                let violation = self.world.oracle.violation().cloned();
                self.world.note(0, || format!("VIOLATION {violation:?}"));
                return false;
            }
            assert!(self.world.handled < EVENTS_MAX, "a livelock");
        }
        self.world.now = until;
        true
    }

    fn errand(&mut self) {
        match self.phase {
            Phase::Forming => {}
            Phase::Faults => {
                if self.world.rng.chance(300) {
                    tend(&mut self.world);
                }
                errands::run(&mut self.world);
            }
            Phase::Healed => {
                tend(&mut self.world);
                errands::settle(&mut self.world);
            }
            Phase::Deaf(deaf) => {
                tend(&mut self.world);
                match deaf {
                    Deaf::Drained(node) => errands::drain(&mut self.world, node),
                    Deaf::Called(node) => errands::call(&mut self.world, node),
                }
            }
        }
    }
}
