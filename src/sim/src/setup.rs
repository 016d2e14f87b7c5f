//! What a seed means: how many machines, which timing, which faults; and the cluster as it was formed.
//!
//! Forms the cluster through `apply`, entry by entry, as `init`, `join` and an administrator would.

use crate::barrier::Barrier;
use crate::clock::{MS, TrueTime};
use crate::errands::vip;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::nemesis::Bias;
use crate::net::Weather;
use crate::oracle::Oracle;
use crate::park::{Park, Plan};
use crate::raft::{Disk, Snapshot, nanos};
use crate::rng::Rng;
use crate::trace::{Detail, Trace};
use crate::world::{Event, World};
use haft_engine::apply::{Outcome, apply};
use haft_engine::clock::{Timing, lengthened};
use haft_engine::command::{Command, Entry, HeartbeatKey, NodeRole, Registration, VoterSets};
use haft_engine::ids::{
    ClusterId, EntryId, Epoch, LogIndex, NodeId, NodeName, RequestId, ResourceId, TopologyName,
};
use haft_engine::spec::{AfterFence, Isolation, NodeSpec, ObjectSpec, ResourceSpec};
use haft_engine::state::ClusterState;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// Greatest clock-rate error of one machine against true time, so that two differ by no more than the
/// engine's rho.
const RATE_PPM_MAX: u64 = 500;

/// The shape of one run.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Intervals.
    pub timing: Timing,
    /// First voters.
    pub voters: usize,
    /// Coordinators that do not vote at first.
    pub spares: usize,
    /// Nodes without haftd.
    pub agents: usize,
    /// Addresses.
    pub vips: usize,
    /// What the faults lean towards.
    pub bias: Bias,
    /// How long faults go on, true nanoseconds.
    pub faults_for: TrueTime,
    /// Time within which everything must run: at first, and after the last fault.
    pub settle_within: TrueTime,
    /// Usual weather while faults go on.
    pub(crate) weather: Weather,
    /// Fence devices.
    pub(crate) plan: Plan,
}

impl Shape {
    /// The shape that `rng` deals.
    pub(crate) fn deal(rng: &mut Rng) -> Shape {
        let timing = match rng.below(20) {
            // The only preset with room for a watchdog.
            0..=4 => Timing::RELAXED,
            5 | 6 => Timing::NORMAL,
            _ => Timing::FAST,
        };
        let bias = match rng.below(10) {
            0..=2 => Bias::Mixed,
            3..=5 => Bias::Sessions,
            6 => Bias::Guards,
            7 | 8 => Bias::Fencing,
            _ => Bias::Voters,
        };
        let voters = if rng.chance(200) { 5 } else { 3 };
        let spares = match bias {
            Bias::Voters => 1 + rng.index(2),
            Bias::Mixed => rng.index(2),
            Bias::Sessions | Bias::Guards | Bias::Fencing => 0,
        };
        let ttl = nanos(timing.ttl);
        let weather = Weather {
            loss: rng.below(10),
            repeat: rng.below(10),
            delay_min: MS / 10,
            delay_max: rng.range(MS, ttl / 25),
        };
        Shape {
            timing,
            voters,
            spares,
            agents: rng.index(3),
            vips: 2 + rng.index(3),
            bias,
            faults_for: rng.range(40, 70) * ttl,
            settle_within: 60 * ttl + 10_000 * MS,
            weather,
            plan: Plan::deal(rng, &timing, bias),
        }
    }

    /// What administrators set the timing to, in a third of the runs: that of the beginning, and everything about a
    /// session twice as long. By a number already dealt, so that no seed means anything else for it.
    pub(crate) fn timings(&self) -> Vec<Timing> {
        if !self.faults_for.is_multiple_of(3) {
            return Vec::new();
        }
        vec![doubled(&self.timing), self.timing]
    }

    fn machines(&self) -> usize {
        self.voters + self.spares + self.agents
    }
}

/// Sessions of twice the length; the watchdog, the stop and Raft's timers as they are.
fn doubled(timing: &Timing) -> Timing {
    let ttl = timing.ttl * 2;
    Timing {
        beat: timing.beat * 2,
        ttl,
        guard_life: timing.guard_life * 2,
        guard_renewal: timing.guard_renewal * 2,
        closing_after: timing.closing_after * 2,
        gated_ttl: timing.gated_ttl * 2,
        gated_closing_after: timing.gated_closing_after * 2,
        address_life: Duration::from_secs(ttl.as_secs() + 2),
        ..*timing
    }
}

/// A cluster formed and about to start.
pub(crate) fn world(shape: &Shape, mut rng: Rng, detail: Detail) -> World {
    let places = shape.machines();
    let park = Park::build(shape.plan, &shape.timing, places, &mut rng);
    let (state, voters) = form(shape, &park, &mut rng);
    let snapshot = Rc::new(Snapshot {
        index: state.applied.0,
        term: 1,
        membership: voters,
        state: state.clone(),
    });
    let mut machines: Vec<Machine<Event>> = Vec::new();
    for (place, node) in state.nodes.values().enumerate() {
        let rate = rng.range(0, 2 * RATE_PPM_MAX + 1);
        let ppm = i64::try_from(rate).unwrap_or(0) - 500;
        let mut machine = Machine::new(place, node.id, node.name.clone(), ppm);
        machine.kernel = Kernel::behind(Barrier::of(rate));
        if node.role == NodeRole::Coordinator {
            machine.coordinates = true;
            machine.disk = Some(Disk::formed(Rc::clone(&snapshot)));
        }
        machines.push(machine);
    }
    let longest = shape.timings().iter().map(|timing| timing.ttl).max();
    let lease_span = nanos(lengthened(longest.unwrap_or(shape.timing.ttl))) + MS;
    let oracle = Oracle::new(state, lease_span);
    let mut world = World::new(
        rng,
        shape.timing,
        machines,
        park,
        oracle,
        Trace::new(detail),
    );
    world.timings = shape.timings();
    world
}

/// Applies the entries of a cluster's first day.
fn form(shape: &Shape, park: &Park, rng: &mut Rng) -> (ClusterState, VoterSets) {
    let mut day = FirstDay::default();
    let role = |place| {
        if place < shape.voters + shape.spares {
            NodeRole::Coordinator
        } else {
            NodeRole::AgentOnly
        }
    };
    day.begin(shape.timing);
    let mut voters = BTreeSet::from([NodeId(1)]);
    for place in 1..shape.machines() {
        let node = registration(place, role(place));
        let mut sha256 = [0; 32];
        sha256[0] = u8::try_from(place).expect("a handful of machines");
        day.apply(Command::MintJoinToken {
            sha256,
            node: node.name.clone(),
            expires_unix_ms: 10,
            request: RequestId::default(),
        });
        let outcome = day.apply(Command::RegisterNode {
            node,
            token_sha256: sha256,
        });
        if let Outcome::Registered(id) = outcome
            && place < shape.voters
        {
            voters.insert(id);
        }
    }
    let sets = VoterSets {
        at: EntryId::new(1, day.state.applied.0 + 1),
        sets: vec![voters],
    };
    day.apply(Command::Membership(sets.clone()));
    let names: Vec<NodeName> = (0..shape.machines()).map(name).collect();
    for (device, spec) in park.specs(&names) {
        day.put(ObjectSpec::Device(device, spec));
    }
    if let Some(spec) = park.topology(&names) {
        day.put(ObjectSpec::Topology(TopologyName::from("all"), spec));
    }
    for node in names {
        let spec = NodeSpec {
            after_fence: match rng.chance(shape.plan.power_on) {
                true => AfterFence::PowerOn,
                false => AfterFence::StayOff,
            },
            domains: park.node_domains(),
            ..NodeSpec::default()
        };
        day.put(ObjectSpec::Node(node, spec));
    }
    for n in 0..shape.vips {
        let isolation = deal_isolation(shape, n + rng.index(2));
        let preference = vec![name(rng.index(shape.machines()))];
        let spec = ResourceSpec::VirtualIp(vip(n, isolation, preference));
        let id = ResourceId::vip(&format!("vip{n}"));
        day.put(ObjectSpec::Resource(id, spec));
    }
    (day.state, sets)
}

/// In turn, and `watchdog` where the timing has room for one.
fn deal_isolation(shape: &Shape, turn: usize) -> Isolation {
    let watchdogs = usize::from(!shape.timing.watchdog.is_zero());
    match turn % (2 + watchdogs) {
        0 => Isolation::Lease,
        1 => Isolation::Stonith,
        _ => Isolation::Watchdog,
    }
}

#[derive(Default)]
struct FirstDay {
    state: ClusterState,
}

impl FirstDay {
    /// The first node, and the timing that its file seeds.
    fn begin(&mut self, timing: Timing) {
        self.apply(Command::Bootstrap {
            cluster: ClusterId([7; 16]),
            epoch: Epoch(1),
            first: registration(0, NodeRole::Coordinator),
            heartbeat_key: HeartbeatKey {
                generation: 1,
                secret: [0; 32],
            },
            timing: Some(timing),
        });
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let index = LogIndex(self.state.applied.0 + 1);
        let entry = Entry {
            stamp_unix_ms: 1,
            commands: vec![command],
        };
        let outcomes = apply(&mut self.state, index, &entry);
        let outcome = outcomes.into_iter().next().expect("one for each command");
        assert!(
            !matches!(outcome, Outcome::Refused(_)),
            "{entry:?}: {outcome:?}"
        );
        outcome
    }

    fn put(&mut self, object: ObjectSpec) {
        self.apply(Command::Put {
            object,
            expected: None,
            request: RequestId::default(),
        });
    }
}

fn name(place: usize) -> NodeName {
    NodeName(format!("n{place}"))
}

fn registration(place: usize, role: NodeRole) -> Registration {
    let mut key_sha256 = [9; 32];
    key_sha256[0] = u8::try_from(place).expect("a handful of machines");
    Registration {
        name: name(place),
        role,
        host: format!("10.0.0.{}", place + 1),
        key_sha256,
    }
}
