//! The replicated state: what every coordinator agrees on after applying the log.
//!
//! Plain ordered maps and closed enums; changed by [`crate::apply`] alone. Holds no clock and no
//! derived caches that could disagree between nodes.

mod obstacles;

pub use obstacles::Rival;

use crate::clock::Timing;
use crate::command::{
    Attestation, Difficulty, FenceAction, FenceCause, HeartbeatKey, HoldReason, NodeRole,
    PathHealth, RelinquishCause, StatedAge, Verdict, VoterSets,
};
use crate::ids::{
    BootId, ClusterId, DeviceName, Epoch, Generation, Incarnation, LogIndex, NodeId, NodeName,
    OrderId, RequestId, Reserved, ResourceId, Token, TopologyName,
};
use crate::machine::Obstacle;
use crate::place::Place;
use crate::spec::{FenceDeviceSpec, FenceTopologySpec, Isolation, NodeSpec, ResourceSpec};
use crate::timing::{ClusterTiming, Terms};
use crate::witness::Witness;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Most events kept for `haftctl events`; the oldest go first.
pub const EVENTS_MAX: usize = 2_048;
/// Most remembered mutation results; the oldest go first.
pub const REQUESTS_MAX: usize = 1_024;
/// Most closed fence orders kept for history.
pub const CLOSED_ORDERS_MAX: usize = 64;
/// Most superseded tries kept apart in one order; beyond that the newest two are one, with the longer deadline.
pub const SUPERSEDED_MAX: usize = 8;
/// Fences of one node within [`QUARANTINE_WINDOW_MS`] that put it into quarantine (hazards R28).
pub const QUARANTINE_FENCES: usize = 3;
/// One hour, on entry stamps.
pub const QUARANTINE_WINDOW_MS: u64 = 3_600_000;

/// Everything that is replicated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterState {
    /// Minted by init.
    pub cluster: ClusterId,
    /// Rises with restore and recovery.
    pub epoch: Epoch,
    /// Index of the last applied entry.
    pub applied: LogIndex,
    /// Raft's committed membership.
    pub membership: VoterSets,
    /// Beat keys, newest last; at most two are valid.
    pub heartbeat_keys: Vec<HeartbeatKey>,
    /// The timing in force; none in a state that was written before the log held one.
    pub timing: Option<ClusterTiming>,
    /// Registered nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Resources.
    pub resources: BTreeMap<ResourceId, Resource>,
    /// Fence devices.
    pub devices: BTreeMap<DeviceName, Device>,
    /// Fence topologies; a node is in at most one, and every device that one names exists and targets its nodes.
    pub topologies: BTreeMap<TopologyName, Topology>,
    /// Open orders, and the last [`CLOSED_ORDERS_MAX`] closed ones.
    pub orders: BTreeMap<OrderId, FenceOrder>,
    /// Unspent join tokens by hash.
    pub join_tokens: BTreeMap<[u8; 32], JoinToken>,
    /// Results of recent mutations.
    pub requests: VecDeque<RememberedRequest>,
    /// What happened, for people.
    pub events: VecDeque<Event>,
    /// What stands in the way of each resource, by node.
    pub obstacles: BTreeMap<ResourceId, BTreeMap<NodeId, Obstacle>>,
    /// Who else claims a resource's address on the wire.
    pub rivals: BTreeMap<ResourceId, Rival>,
}

/// A registered node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// What it runs.
    pub role: NodeRole,
    /// Host of its ports.
    pub host: String,
    /// SHA-256 of its public key.
    pub key_sha256: [u8; 32],
    /// The administrator's part.
    pub spec: NodeSpec,
    /// Version of `spec`.
    pub generation: Generation,
    /// Its liveness.
    pub session: Session,
    /// What its newest life counts by; none if that was admitted before the log held a timing.
    pub terms: Option<Terms>,
    /// Boot of the newest incarnation.
    pub boot: BootId,
    /// The epoch under which that boot was recorded: a reboot counts against no older one (R11).
    pub boot_epoch: Epoch,
    /// Where the newest incarnation runs.
    pub place: Place,
    /// What has answered since its newest incarnation was proven off.
    pub witnessed: Option<Witness>,
    /// Stamps of confirmed fences within the quarantine window.
    pub fenced_at_ms: Vec<u64>,
    /// Whether it is kept out after repeated fences.
    pub quarantined: bool,
    /// The life to which the ports of its storage have been opened; 0 for none.
    pub unfenced: Incarnation,
}

/// A node's session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Session {
    /// Never admitted.
    #[default]
    Never,
    /// Live.
    Open {
        /// This life.
        incarnation: Incarnation,
    },
    /// Silent; coordinators that hold the entry acknowledge no more.
    Closing {
        /// This life.
        incarnation: Incarnation,
        /// Index of the entry.
        closing: LogIndex,
    },
    /// Over.
    Ended {
        /// The life that ended.
        incarnation: Incarnation,
        /// How.
        ending: Ending,
    },
}

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// By a majority's ages.
    Expired,
    /// Its node was then proven isolated.
    Fenced,
}

/// A resource and who owns it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    /// Its name.
    pub id: ResourceId,
    /// What the user wants.
    pub spec: ResourceSpec,
    /// Version of `spec`.
    pub generation: Generation,
    /// Who owns it.
    pub ownership: Ownership,
    /// The highest token ever granted; zero if none.
    pub last_token: Token,
    /// What opened the current or next grant, for people.
    pub evidence: Option<Evidence>,
    /// Where an administrator wants it next.
    pub move_to: Option<NodeId>,
    /// Whether it disappears once there is evidence.
    pub deleting: bool,
    /// The newest difficulty of the present or last owner.
    pub trouble: Option<Trouble>,
}

/// Ownership of one resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ownership {
    /// Nobody can be acting.
    Unowned,
    /// Granted; the owner has not said that it acts.
    Granted(Holding),
    /// The owner acts.
    Active(Holding),
    /// The owner was asked to stop.
    Releasing(Holding, RelinquishCause),
    /// The owner's session has ended and nothing proves that it stopped.
    Orphaned(Holding),
}

impl Node {
    /// Its newest life, over or not; 0 if it was never admitted.
    pub fn newest(&self) -> Incarnation {
        match self.session {
            Session::Never => Incarnation::default(),
            Session::Open { incarnation }
            | Session::Closing { incarnation, .. }
            | Session::Ended { incarnation, .. } => incarnation,
        }
    }

    /// What its newest life is judged by: by the longest that any configuration may choose, if nothing is known.
    pub fn judged(&self) -> Timing {
        self.terms.map_or(Timing::LONGEST, |terms| terms.judged)
    }
}

impl Ownership {
    /// The holding, whatever its phase.
    pub fn holding(&self) -> Option<&Holding> {
        match self {
            Ownership::Unowned => None,
            Ownership::Granted(holding)
            | Ownership::Active(holding)
            | Ownership::Releasing(holding, _)
            | Ownership::Orphaned(holding) => Some(holding),
        }
    }

    /// The same, to change what is recorded of it.
    pub fn holding_mut(&mut self) -> Option<&mut Holding> {
        match self {
            Ownership::Unowned => None,
            Ownership::Granted(holding)
            | Ownership::Active(holding)
            | Ownership::Releasing(holding, _)
            | Ownership::Orphaned(holding) => Some(holding),
        }
    }
}

/// A grant in force: everything in it is as it was when granted, whatever the spec says now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// The owner.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The fencing token.
    pub token: Token,
    /// Isolation stored in the grant (R3).
    pub isolation: Isolation,
    /// The spec that the owner acts under.
    pub spec: ResourceSpec,
    /// What the owner attested when it became active.
    pub guard: Attestation,
    /// `valid_lft` that the owner puts on the address.
    pub address_life: Duration,
    /// Stamp of the grant, for people.
    pub since_unix_ms: u64,
    /// Period of the owner's armed watchdog, once attested in the log; under isolation `watchdog` the owner
    /// acts only after that.
    pub watchdog: Option<Duration>,
    /// Under isolation `stonith`: whether the owner may act.
    pub progress: Progress,
}

/// Whether the log says that the owner begins (R14). Of a holding from before that rule nothing is known, so it counts as
/// begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Progress {
    /// It does not, and until it does the owner does nothing that would have to be undone.
    NotBegun,
    /// It does.
    #[default]
    Begun,
}

impl Holding {
    /// Whether its owner may have acted, as far as the log is concerned: what never began needs no proof of its end.
    /// Under `lease` the lease's end is that proof, whatever was done.
    pub fn may_have_acted(&self) -> bool {
        match self.isolation {
            Isolation::Lease => true,
            Isolation::Watchdog => self.watchdog.is_some(),
            Isolation::Stonith => self.progress == Progress::Begun,
        }
    }
}

/// What an owner said, or was found, to be unable to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// The token in force then.
    pub token: Token,
    /// The owner.
    pub node: NodeId,
    /// What it cannot do.
    pub difficulty: Difficulty,
    /// Why, for people.
    pub why: String,
}

/// What proves that a holder has stopped (R3). Bound to its token and incarnation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The holder's token.
    pub token: Token,
    /// The holder's node.
    pub node: NodeId,
    /// The holder's life.
    pub incarnation: Incarnation,
    /// Index of the entry that proves it.
    pub entry: LogIndex,
    /// What kind of proof.
    pub proof: Proof,
}

/// Kinds of proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The owner said so, finally.
    Released,
    /// A restarted agent on the same boot probed and removed everything.
    ProbedClean,
    /// A fence device observed it isolated.
    Fenced {
        /// The order.
        order: OrderId,
        /// The devices' words.
        detail: String,
    },
    /// The same machine came back with a new boot, and its session had ended.
    Rebooted {
        /// The new boot.
        boot: BootId,
    },
    /// Its session expired and its grant's isolation is `lease` with the guard attested intact.
    LeaseExpired {
        /// What the majority stated.
        ages: Vec<StatedAge>,
    },
    /// Its session expired and the address's own lifetime was waited out.
    LifetimeLapsed {
        /// How long.
        waited: Duration,
    },
    /// Its session expired, and by then its attested watchdog has reset it; or it never armed one, and so
    /// never acted.
    WatchdogLapsed {
        /// The attested period; `None` if none was armed under this token.
        period: Option<Duration>,
        /// How long the leader waited beyond the session's end.
        waited: Duration,
    },
    /// Its owner had not begun, and can begin no more (R14).
    NeverBegun,
    /// A human vouched for it.
    ConfirmedByHuman {
        /// Who.
        by: String,
        /// Their words.
        reason: String,
    },
}

/// A configured fence device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its spec.
    pub spec: FenceDeviceSpec,
    /// Version.
    pub generation: Generation,
    /// What the last recorded probe of this version found; none yet if absent.
    pub probed: Option<Probed>,
    /// The order in which it said that a machine was off which then answered. It is never again the only one of a
    /// level that confirms, until it is applied anew.
    pub distrusted: Option<OrderId>,
}

impl Device {
    /// Whether its word alone is enough that a machine has stopped.
    pub fn proves_a_stop(&self) -> bool {
        self.spec.observes.stops_the_machine() && self.distrusted.is_none()
    }

    /// Why its last recorded probe failed, if it did.
    pub fn failing(&self) -> Option<&str> {
        match &self.probed.as_ref()?.health {
            PathHealth::Healthy => None,
            PathHealth::Failing { why, .. } => Some(why),
        }
    }
}

/// A configured fence topology.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    /// Its spec.
    pub spec: FenceTopologySpec,
    /// Version.
    pub generation: Generation,
    /// Stamp of the entry that created it.
    pub since_unix_ms: u64,
}

/// The recorded finding of a probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probed {
    /// What was found.
    pub health: PathHealth,
    /// Stamp of the entry since which the path is healthy, or failing.
    pub since_unix_ms: u64,
}

/// An order to isolate (or power on) a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FenceOrder {
    /// Its id.
    pub id: OrderId,
    /// The target.
    pub node: NodeId,
    /// The life that is to end.
    pub incarnation: Incarnation,
    /// Off or on.
    pub action: FenceAction,
    /// Why.
    pub cause: FenceCause,
    /// Where it stands.
    pub phase: OrderPhase,
    /// Tries so far.
    pub attempts: u32,
    /// What the last try said, for people.
    pub detail: String,
    /// Stamp of the intent.
    pub since_unix_ms: u64,
    /// The level of the newest try; 0 before the first.
    pub level: u8,
    /// Tries that others have taken the place of, oldest first; at most [`SUPERSEDED_MAX`].
    pub superseded: Vec<Superseded>,
}

/// A try that another has taken the place of. Its executor does not know: it may act until its deadline, and no
/// new life of the target is admitted before a leader has waited that out (R5, R15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superseded {
    /// Which try.
    pub attempt: u32,
    /// Who runs it.
    pub executor: NodeId,
    /// Its total time, from when it was proposed, on its executor's clock.
    pub deadline: Duration,
}

/// Where an order stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OrderPhase {
    /// Committed; no device touched by this order yet.
    Intended,
    /// Waits for a condition.
    Held(HoldReason),
    /// A try is under way.
    Running {
        /// Which try.
        attempt: u32,
        /// Who runs it.
        executor: NodeId,
        /// Level of devices.
        level: u8,
        /// Its total time.
        deadline: Duration,
    },
    /// The last try proved nothing or was refused; the next comes after a pause.
    Waiting {
        /// The last verdict: `Refused` or `Unknown`.
        last: Verdict,
        /// The level that was tried.
        level: u8,
    },
    /// Over, proven.
    Confirmed,
    /// Over, without proof.
    Cancelled(String),
}

impl OrderPhase {
    /// Whether the order is still to be worked on.
    pub fn is_open(&self) -> bool {
        match self {
            OrderPhase::Intended
            | OrderPhase::Held(_)
            | OrderPhase::Running { .. }
            | OrderPhase::Waiting { .. } => true,
            OrderPhase::Confirmed | OrderPhase::Cancelled(_) => false,
        }
    }
}

/// A one-time token for joining.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinToken {
    /// The only name it admits.
    pub node: NodeName,
    /// Void after this stamp.
    pub expires_unix_ms: u64,
}

/// The remembered result of a mutation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RememberedRequest {
    /// The client's name for it.
    pub id: RequestId,
    /// The command as first seen; the same id with another command is refused.
    pub command: crate::command::Command,
    /// What it did.
    pub outcome: crate::apply::Outcome,
}

/// Something that happened, for people; ordered by entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The entry.
    pub index: LogIndex,
    /// The entry's stamp.
    pub stamp_unix_ms: u64,
    /// How grave.
    pub severity: Severity,
    /// Stable machine reason in CamelCase, for instance `SessionExpired`.
    pub reason: String,
    /// What it concerns, for instance `node/n1` or `vip/web`.
    pub subject: String,
    /// One sentence.
    pub message: String,
}

/// How grave an event is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// As expected.
    Normal,
    /// Someone should look.
    Warning,
}

impl ClusterState {
    /// The node of this name.
    pub fn node_named(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.values().find(|node| node.name == *name)
    }

    /// The newest incarnation of a live session: open or closing.
    pub fn live_incarnation(&self, node: NodeId) -> Option<Incarnation> {
        match self.nodes.get(&node)?.session {
            Session::Open { incarnation } | Session::Closing { incarnation, .. } => {
                Some(incarnation)
            }
            Session::Never | Session::Ended { .. } => None,
        }
    }

    /// Nodes that a try under way may switch off at any moment.
    pub fn being_switched_off(&self) -> BTreeSet<NodeId> {
        let tries = self.orders.values().filter(|order| match order.phase {
            OrderPhase::Running { .. } => order.action == FenceAction::Off,
            OrderPhase::Intended
            | OrderPhase::Held(_)
            | OrderPhase::Waiting { .. }
            | OrderPhase::Confirmed
            | OrderPhase::Cancelled(_) => false,
        });
        tries.map(|order| order.node).collect()
    }

    /// Identities in use: by specs, and by holdings whose spec has changed since (R3).
    pub fn reserved(&self) -> BTreeMap<Reserved, ResourceId> {
        let mut taken = BTreeMap::new();
        for resource in self.resources.values() {
            taken.insert(reserved_by(&resource.spec), resource.id.clone());
            if let Some(holding) = resource.ownership.holding() {
                taken.insert(reserved_by(&holding.spec), resource.id.clone());
            }
        }
        taken
    }

    /// The resource that this node holds and cannot prove stopped, if any (R7). Under `lease` the guard's lapse
    /// is the proof and under `watchdog` the node resets itself, so only `stonith` holdings count.
    pub fn unstoppable(&self, node: NodeId) -> Option<&Resource> {
        self.resources.values().find(|resource| {
            let Some(holding) = resource.ownership.holding() else {
                return false;
            };
            let stuck = resource.trouble.as_ref().is_some_and(|trouble| {
                trouble.token == holding.token && trouble.difficulty == Difficulty::Stop
            });
            holding.node == node && stuck && holding.isolation == Isolation::Stonith
        })
    }

    /// The open order against this life of this node, if any.
    pub fn open_order(&self, node: NodeId, incarnation: Incarnation) -> Option<&FenceOrder> {
        self.orders.values().find(|order| {
            order.phase.is_open() && order.node == node && order.incarnation == incarnation
        })
    }
}

/// What a spec occupies in the world.
pub fn reserved_by(spec: &ResourceSpec) -> Reserved {
    match spec {
        ResourceSpec::VirtualIp(vip) => Reserved::Address(vip.address),
    }
}
