//! Commands: the only things that change the replicated state.
//!
//! Each carries its precondition (expected incarnation, token, generation or entry) and is refused by
//! [`crate::apply`] if that no longer holds, so that a stale leader's decision changes nothing (R1).
//! This file only names them; what they do is in `apply`.

mod health;

pub use health::{PathFault, PathHealth};

use crate::clock::Timing;
use crate::ids::{
    BootId, ClusterId, DeviceName, EntryId, Epoch, Generation, Incarnation, LogIndex, NodeId,
    NodeName, OrderId, RequestId, ResourceId, Token,
};
use crate::machine::{Claim, Obstacle};
use crate::place::Place;
use crate::spec::{ObjectRef, ObjectSpec};
use crate::witness::{Lie, Witness};
use std::collections::BTreeSet;
use std::time::Duration;

/// One log entry of ours: commands applied in order, each accepted or refused by itself, so that for
/// instance `FenceVerdict` and `Grant` travel in one commit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The proposer's wall clock, milliseconds since 1970: for history and join-token expiry only,
    /// never for a decision about ownership.
    pub stamp_unix_ms: u64,
    /// Applied in order.
    pub commands: Vec<Command>,
}

/// What a node's processes do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeRole {
    /// Runs haftd (a Raft voter) and haft-agent.
    Coordinator,
    /// Runs haft-agent only.
    AgentOnly,
}

/// A node that joins, with what proves its identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Its name; unique among registered nodes.
    pub name: NodeName,
    /// What it runs.
    pub role: NodeRole,
    /// Host (IP address) of its API, peer and beat ports.
    pub host: String,
    /// SHA-256 of its certificate's public key (SubjectPublicKeyInfo, DER).
    pub key_sha256: [u8; 32],
}

/// What an agent found of its earlier life before it asked to be admitted (R10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// It looked for everything it could have held, and released it.
    Clean,
    /// It could not look, or could not release all.
    Unclean,
}

/// How one coordinator states the silence of an incarnation that is closing (R2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatedAge {
    /// The coordinator that states it.
    pub by: NodeId,
    /// The membership entry effective at that coordinator when it stated this.
    pub membership: EntryId,
    /// Since the last receipt it acknowledged, its own start, or the moment its membership took
    /// effect, whichever is latest.
    pub age: Duration,
    /// Since the last authentic beat it heard, acknowledged or not (for `Reopened` only).
    pub heard: Duration,
    /// The highest sequence among the beats that it heard of this incarnation; 0 if it heard none.
    pub sequence: u64,
    /// What that beat said of the guards.
    pub guards: Attestation,
}

/// What a node attests about the kernel's dead-man switch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Attestation {
    /// Nothing is known (no beat acknowledged here, or an old form).
    #[default]
    Unknown,
    /// A guard was found missing or altered and is not repaired.
    Broken,
    /// Every guard is in place, but whoever flushes the packet filter, or deletes the gate's filters, while the agent
    /// is dead opens it: only the address's own lifetime proves anything (R3).
    Watched,
    /// Every guard is in place and stays so whatever becomes of the agent.
    Intact,
}

/// Why a fence order exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FenceCause {
    /// A lost incarnation holds resources whose isolation is `stonith`.
    Orphans,
    /// A live owner cannot prove that it has stopped this resource (R7).
    StopFailed {
        /// Which.
        resource: ResourceId,
    },
    /// The node is proven off and its spec wants it on again (power on only).
    AfterFence,
    /// The node has joined, and ports of its storage have to be opened first (power on only).
    Unfence,
    /// It was proven off, and something of it has answered since.
    Witnessed,
    /// An administrator asked.
    Administrator {
        /// Who (certificate name).
        by: String,
        /// Their words.
        reason: String,
    },
}

/// What a fence order asks of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FenceAction {
    /// Off, observed.
    Off,
    /// On, after the verdict; its own intent, proves nothing.
    On,
}

/// What is known after an attempt (R5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Observed isolated.
    Confirmed,
    /// The device answered that it will not or cannot.
    Refused,
    /// Nothing is proven. Opens nothing.
    Unknown,
}

/// Who makes the first try of an order, and by when it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FenceAttemptPlan {
    /// The coordinator that runs the agents.
    pub executor: NodeId,
    /// Level of devices tried.
    pub level: u8,
    /// Total time for it on the executor's clock.
    pub deadline: Duration,
}

/// The closed list of changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// First entry: the cluster and its first coordinator (always node 1).
    Bootstrap {
        /// Minted by `init`.
        cluster: ClusterId,
        /// 1 for a new cluster.
        epoch: Epoch,
        /// The first coordinator.
        first: Registration,
        /// Key from which beat keys are derived; secret.
        heartbeat_key: HeartbeatKey,
        /// What the configuration of `init` says; from here on the log holds it. `None` in entries that were
        /// written before it did.
        timing: Option<Timing>,
    },
    /// A one-time join token, known by its hash.
    MintJoinToken {
        /// SHA-256 of the secret part.
        sha256: [u8; 32],
        /// The only node name it admits.
        node: NodeName,
        /// After this stamp it is void.
        expires_unix_ms: u64,
        /// Retry identity.
        request: RequestId,
    },
    /// A node joins, spending a token. Its id is this entry's index.
    RegisterNode {
        /// Who.
        node: Registration,
        /// SHA-256 of the token's secret part.
        token_sha256: [u8; 32],
    },
    /// Raft's membership as committed; mirrors openraft's own entry at this index.
    Membership(VoterSets),

    /// A new life of a node's agent. Its incarnation is this entry's index.
    Admit {
        /// Which node.
        node: NodeId,
        /// The boot it runs in.
        boot: BootId,
        /// The incarnation that this one replaces; 0 if none.
        previous: Incarnation,
        /// What it found of its earlier life.
        probe: Probe,
        /// Where it runs.
        place: Place,
    },
    /// Asks every coordinator that holds this entry to acknowledge the incarnation no more.
    Closing {
        /// Which node.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
    },
    /// A majority was fresh: the session goes on.
    Reopened {
        /// Which node.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
        /// Index of the `Closing` that this answers.
        closing: LogIndex,
    },
    /// A majority stated ages of at least ttl·(1+ρ): the session has ended.
    Expired {
        /// Which node.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
        /// Index of the `Closing` that this answers.
        closing: LogIndex,
        /// The statements; `apply` checks that they are a majority, with ages by the session's own ttl.
        ages: Vec<StatedAge>,
    },
    /// Changes the cluster's timing (R2a). Sessions that are open are judged by the longer of both from this
    /// entry on; their agents are told, and say so when they count by it.
    SetTiming {
        /// Every interval; `apply` asks the sums.
        timing: Timing,
        /// The version that it replaces, as the proposer saw it; `Some(0)`: none. `None`: whatever is there.
        expected: Option<Generation>,
        /// Retry identity.
        request: RequestId,
    },
    /// An agent counts by the timing in force and by none that is longer: its lease's end is capped, and its
    /// guard, lifetimes and watchdog are timed anew.
    Retimed {
        /// Which node.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
        /// The version that it counts by.
        generation: Generation,
    },
    /// The leader waited out `valid_lft` + 1 s (lengthened) after `Expired` for an orphan whose guard was
    /// not attested intact.
    LifetimeLapsed {
        /// Which orphan.
        resource: ResourceId,
        /// Its holder's token.
        token: Token,
        /// How long the leader waited on its own clock since it applied `Expired`.
        waited: Duration,
    },

    /// The leader waited out what a reset may take beyond `Expired` for an orphan whose holder's watchdog was
    /// attested, or saw that the holder never armed one and so never acted.
    WatchdogLapsed {
        /// Which orphan.
        resource: ResourceId,
        /// Its holder's token.
        token: Token,
        /// How long the leader waited on its own clock since it applied `Expired`.
        waited: Duration,
    },

    /// Makes a node the owner. The token is this entry's index under the epoch.
    Grant {
        /// What.
        resource: ResourceId,
        /// The new owner.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// The last token of this resource, as the proposer saw it.
        previous: Token,
        /// The spec's version, as the proposer saw it.
        generation: Generation,
    },
    /// The owner's hardware watchdog is armed; committed before it acts (R3).
    WatchdogArmed {
        /// What it is armed for.
        resource: ResourceId,
        /// Under which token.
        token: Token,
        /// Who.
        incarnation: Incarnation,
        /// The period that the driver returned, whatever was asked for.
        period: Duration,
    },
    /// The owner is about to act under isolation `stonith`; committed before it does anything whose undoing would need
    /// a proof (R14). Under `watchdog` its armed period says the same.
    Begun {
        /// What.
        resource: ResourceId,
        /// Under which token.
        token: Token,
        /// Who.
        incarnation: Incarnation,
    },
    /// Takes back a grant under which the owner has not begun: it is refused to begin from here on, and nobody has to
    /// prove anything (R14).
    Withdraw {
        /// What.
        resource: ResourceId,
        /// The token in force.
        token: Token,
    },
    /// The owner acts, and attests how its end is enforced.
    Activated {
        /// What.
        resource: ResourceId,
        /// Under which token.
        token: Token,
        /// Who.
        incarnation: Incarnation,
        /// The kernel guard, in place before the address was.
        guard: Attestation,
        /// `valid_lft` behind it.
        address_life: Duration,
    },
    /// Asks the owner to stop and release.
    Relinquish {
        /// What.
        resource: ResourceId,
        /// The token in force.
        token: Token,
        /// Why.
        cause: RelinquishCause,
    },
    /// The owner cannot start, or cannot prove that it has stopped (R7). Said by the owner, or by the leader
    /// after it heard no word for too long.
    Troubled {
        /// What.
        resource: ResourceId,
        /// The token in force.
        token: Token,
        /// Who.
        incarnation: Incarnation,
        /// What it cannot do.
        difficulty: Difficulty,
        /// Why, for people.
        why: String,
    },
    /// The owner's final word that it has stopped (R6).
    Released {
        /// What.
        resource: ResourceId,
        /// The token that it gives up.
        token: Token,
        /// Who.
        incarnation: Incarnation,
    },
    /// An administrator moves a resource.
    Move {
        /// What.
        resource: ResourceId,
        /// Where to.
        to: NodeName,
        /// Retry identity.
        request: RequestId,
    },

    /// Committed before any device is touched (R5). The order's id is this entry's index.
    FenceIntent {
        /// The target.
        node: NodeId,
        /// The life that is to end.
        incarnation: Incarnation,
        /// Off or on.
        action: FenceAction,
        /// Why.
        cause: FenceCause,
        /// Retry identity.
        request: RequestId,
        /// The first try, in the same entry so that one commit precedes the device.
        first: Option<FenceAttemptPlan>,
    },
    /// One try: who executes it and by when it is over.
    FenceAttempt {
        /// The order.
        order: OrderId,
        /// 1, 2, ...
        attempt: u32,
        /// The coordinator that runs the agent.
        executor: NodeId,
        /// Level of devices tried.
        level: u8,
        /// Total time for it on the executor's clock.
        deadline: Duration,
    },
    /// What a try proved.
    FenceVerdict {
        /// The order.
        order: OrderId,
        /// Which try.
        attempt: u32,
        /// What is known.
        verdict: Verdict,
        /// The devices and their words, for people.
        detail: String,
        /// What contradicts it: a `Confirmed` is then `Unknown` (R3a).
        lie: Option<Lie>,
    },
    /// Something of a machine that is proven off has answered a challenge. Changes no ownership.
    Witnessed {
        /// Which node.
        node: NodeId,
        /// The life that was proven off.
        incarnation: Incarnation,
        /// Who answered.
        witness: Witness,
    },
    /// An order that would leave fewer live voters than quorum, or has no device, waits here.
    FenceHeld {
        /// The order.
        order: OrderId,
        /// Why it waits.
        reason: HoldReason,
    },
    /// An order ends without a verdict: its target rejoined, was released, or the order expired.
    FenceCancelled {
        /// The order.
        order: OrderId,
        /// Why.
        reason: String,
    },
    /// A superseded try can no longer act.
    FenceTryOver {
        /// The order.
        order: OrderId,
        /// Which try.
        attempt: u32,
        /// How long the leader has waited since it learned of it, on its own clock.
        waited: Duration,
    },
    /// A human vouches that the machine is off.
    ConfirmOff {
        /// Which node.
        node: NodeId,
        /// The life that the human saw.
        incarnation: Incarnation,
        /// The boot that the human saw; `None` only in entries of builds that did not ask.
        boot: Option<BootId>,
        /// Who says so (certificate name).
        by: String,
        /// Their words.
        reason: String,
        /// What of the machine answered after they had said it.
        witnesses: Vec<Witness>,
        /// Coordinators whose testimony they overrule.
        overruled: Vec<NodeId>,
        /// Retry identity.
        request: RequestId,
    },

    /// What stands in the way of resources on a node has changed, by its agent's report of its kernel (R13).
    Obstructed {
        /// On which node.
        node: NodeId,
        /// What changed, for each resource; `None`: nothing stands in the way any more.
        changes: Vec<(ResourceId, Option<Obstacle>)>,
    },
    /// A node hears another machine claim a resource's address, or no longer does.
    RivalHeard {
        /// Whose address.
        resource: ResourceId,
        /// Who hears it.
        node: NodeId,
        /// The claimant; `None`: not heard for long enough.
        rival: Option<Claim>,
    },
    /// A probe of a fence device found something else than the one before (hazards R20).
    DeviceProbed {
        /// Which device.
        device: DeviceName,
        /// The spec's version that was probed.
        generation: Generation,
        /// What was found.
        health: PathHealth,
    },

    /// Creates or replaces an object.
    Put {
        /// The object.
        object: ObjectSpec,
        /// `Some(0)`: must not exist. `Some(n)`: must be at n. `None`: whatever is there.
        expected: Option<Generation>,
        /// Retry identity.
        request: RequestId,
    },
    /// Deletes an object; a held one keeps its identity until there is evidence (R3).
    Delete {
        /// Which.
        object: ObjectRef,
        /// As in `Put`.
        expected: Option<Generation>,
        /// Retry identity.
        request: RequestId,
    },
}

/// Why an owner is asked to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelinquishCause {
    /// An administrator's move.
    Moved,
    /// The node is in standby.
    Drained,
    /// The spec changed in a way that a running owner cannot follow.
    SpecChanged,
    /// A better-preferred node is back and `failback: auto`.
    Failback,
    /// The object is being deleted.
    Deleted,
    /// The owner has said nothing of its start for too long.
    Overdue,
}

/// What an owner cannot do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Difficulty {
    /// Act; it keeps trying for a while, then hands the resource back.
    Start,
    /// Prove that it has stopped. Treated as running (R7).
    Stop,
}

/// Why a fence order waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldReason {
    /// Fewer live voters than quorum would be left.
    Quorum,
    /// No configured device covers the target.
    NoDevice,
}

/// A key generation for beats. Debug shows no bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct HeartbeatKey {
    /// Carried in each datagram.
    pub generation: u8,
    /// 32 secret bytes.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for HeartbeatKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeartbeatKey({}, ..)", self.generation)
    }
}

/// Raft's voters: one set, or two while membership is joint; a majority of *each* is needed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VoterSets {
    /// The membership entry.
    pub at: EntryId,
    /// One or two sets.
    pub sets: Vec<BTreeSet<NodeId>>,
}

impl VoterSets {
    /// Whether `nodes` hold a majority of every set. Of no sets: never.
    pub fn majority(&self, nodes: &BTreeSet<NodeId>) -> bool {
        !self.sets.is_empty()
            && self
                .sets
                .iter()
                .all(|set| set.intersection(nodes).count() * 2 > set.len())
    }

    /// Whether `node` votes in any set.
    pub fn contains(&self, node: NodeId) -> bool {
        self.sets.iter().any(|set| set.contains(&node))
    }

    /// Every voter of every set.
    pub fn all(&self) -> BTreeSet<NodeId> {
        self.sets.iter().flatten().copied().collect()
    }
}
