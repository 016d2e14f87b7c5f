//! What the user wants: specs of nodes, virtual addresses, fence devices and topologies.
//!
//! Checks the shape of a value only where the type can; admission (`apply::object`) checks the rest.

use crate::ids::{DeviceName, NodeName, TopologyName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// How a silent owner is known to have stopped (R4). Ordered by strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isolation {
    /// Its lease, enforced by its own kernel, has run out. VirtualIP and Lock only.
    Lease,
    /// Its attested hardware watchdog has reset it.
    Watchdog,
    /// A fence device has confirmed it isolated.
    Stonith,
}

/// Whether a resource may be `stonith` without a working fence device for every node it may run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unfenced {
    /// Refused at apply time.
    #[default]
    Refused,
    /// The user wrote the explicit override; shown loudly everywhere.
    Allowed,
}

/// When a resource goes back to a node that it prefers and that has returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Failback {
    /// Only by an administrator's move (stickiness is infinite).
    #[default]
    Never,
    /// As soon as a better-preferred node is online.
    Auto,
}

/// A virtual address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualIpSpec {
    /// The address; installed as /32 or /128.
    pub address: IpAddr,
    /// Name of the network interface that carries it, the same on every node.
    pub interface: String,
    /// How a silent owner is known to have stopped.
    pub isolation: Isolation,
    /// The override for `stonith` without devices.
    pub unfenced: Unfenced,
    /// Nodes in order of preference; unnamed nodes come after them.
    pub preference: Vec<NodeName>,
    /// Whether it returns by itself.
    pub failback: Failback,
}

/// A resource's spec, by kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResourceSpec {
    /// A virtual address.
    VirtualIp(VirtualIpSpec),
}

impl ResourceSpec {
    /// How a silent owner is known to have stopped.
    pub fn isolation(&self) -> Isolation {
        match self {
            ResourceSpec::VirtualIp(vip) => vip.isolation,
        }
    }
    /// Nodes in order of preference.
    pub fn preference(&self) -> &[NodeName] {
        match self {
            ResourceSpec::VirtualIp(vip) => &vip.preference,
        }
    }
    /// Whether it returns by itself.
    pub fn failback(&self) -> Failback {
        match self {
            ResourceSpec::VirtualIp(vip) => vip.failback,
        }
    }
}

/// Administrator's flags on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scheduling {
    /// May be granted resources.
    #[default]
    Open,
    /// Granted nothing new; keeps what it has (cordon).
    Cordoned,
    /// Granted nothing, and what it holds moves away (standby, drain).
    Standby,
}

/// What a machine or a device needs to live, as the administrator names it: what one failure takes away at once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Domains {
    /// Where its power comes from, for instance `feed-a`; `None` if not declared.
    pub power: Option<String>,
    /// The network that reaches it, for instance `switch-1`; `None` if not declared.
    pub network: Option<String>,
}

/// What becomes of a node's power after a fence device has confirmed it off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AfterFence {
    /// Somebody looks at it first.
    #[default]
    StayOff,
    /// The leader orders it on again, unless it is quarantined.
    PowerOn,
}

/// A node, as the administrator describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeSpec {
    /// Whether it may own resources now.
    pub scheduling: Scheduling,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// What follows a confirmed off.
    pub after_fence: AfterFence,
    /// What it depends on.
    pub domains: Domains,
}

/// What a fence device observes, which decides what its success proves (R5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observes {
    /// Power: two off reads after off.
    Power,
    /// A poison pill on a shared disk: a verified write, then the full msgwait, which the agent itself waits.
    /// It reads no power state, so a later executor has to write and wait anew.
    Poison,
    /// A port to storage or a network: two reads that it is closed. The machine behind it runs on, so it isolates
    /// nobody by itself; beside a device of power or poison its level needs it, and a node that has joined is
    /// granted nothing before `on` has opened the port again (unfencing).
    Storage,
}

impl Observes {
    /// Whether success proves that the machine has stopped.
    pub fn stops_the_machine(self) -> bool {
        match self {
            Observes::Power | Observes::Poison => true,
            Observes::Storage => false,
        }
    }
}

/// The parameter by which an agent learns which machine is meant (`pcmk_host_argument` of the field).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum HostArgument {
    /// Not decided: haftd asks the agent's metadata when the device is applied; `plug` until then.
    #[default]
    Unsaid,
    /// This one: `plug`, or the older `port`.
    Named(String),
    /// None: the device has one machine.
    Without,
}

/// A configured instance of a fence agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FenceDeviceSpec {
    /// Executable: an absolute path, or a name looked up in the agents' directories.
    pub agent: String,
    /// What its success proves.
    pub observes: Observes,
    /// The nodes it can isolate, and what the device calls each (`plug`); empty plug: the node's name.
    pub targets: BTreeMap<NodeName, String>,
    /// The parameter that carries it.
    pub host_argument: HostArgument,
    /// Parameters handed to the agent on stdin. Never secrets.
    pub parameters: BTreeMap<String, String>,
    /// Parameters whose values are read from root-only files on the executor at each call.
    pub secret_files: BTreeMap<String, String>,
    /// Total time for one order on this device, after which the agent is killed.
    pub deadline: Duration,
    /// Wait before the agent is called for an off; zero for at once. Counts against nothing.
    pub delay: Duration,
    /// Order in which levels are tried; devices of the same level must all succeed. 1 is first. Without effect for
    /// a node that has a topology.
    pub level: u8,
    /// What it depends on.
    pub domains: Domains,
}

/// Which devices isolate some nodes, and in which order. A node with a topology is isolated by that alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FenceTopologySpec {
    /// The nodes it speaks for; every device of every level must target each of them.
    pub nodes: BTreeSet<NodeName>,
    /// Tried in order, 1 to 9 of them; the first is level 1.
    pub levels: Vec<FenceLevel>,
}

/// Devices that isolate a node together: all of them must succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FenceLevel {
    /// Used in this order.
    pub devices: Vec<DeviceName>,
    /// Total time for one try of this level, waits included; `None`: the sum of what its devices may take.
    pub timeout: Option<Duration>,
    /// Wait before the first device is called for an off, beside the devices' own delays; zero for at once.
    pub delay: Duration,
}

/// Any object an administrator can apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectSpec {
    /// A node's spec; the node itself exists by joining.
    Node(NodeName, NodeSpec),
    /// A resource.
    Resource(crate::ids::ResourceId, ResourceSpec),
    /// A fence device.
    Device(DeviceName, FenceDeviceSpec),
    /// A fence topology.
    Topology(TopologyName, FenceTopologySpec),
}

/// Names any object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ObjectRef {
    /// A node.
    Node(NodeName),
    /// A resource.
    Resource(crate::ids::ResourceId),
    /// A fence device.
    Device(DeviceName),
    /// A fence topology.
    Topology(TopologyName),
}

/// Whether the user wrote the override that lets a `stonith` resource exist without fence devices.
pub fn is_unfenced(spec: &ResourceSpec) -> bool {
    match spec {
        ResourceSpec::VirtualIp(vip) => {
            vip.isolation == Isolation::Stonith && vip.unfenced == Unfenced::Allowed
        }
    }
}
