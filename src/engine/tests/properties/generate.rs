//! Random commands over a small cluster: three voters and an agent-only node, three addresses, two devices.
//!
//! Ids come from the state about half of the time, so that sequences get deep; the rest is off by one.

use haft_engine::apply::apply;
use haft_engine::clock::Timing;
use haft_engine::command::{
    Attestation, Command, Entry, FenceAction, FenceAttemptPlan, FenceCause, HeartbeatKey,
    HoldReason, NodeRole, Probe, Registration, RelinquishCause, StatedAge, Verdict, VoterSets,
};
use haft_engine::gate::GateKind;
use haft_engine::ids::{
    BootId, ClusterId, DeviceName, EntryId, Epoch, Generation, Incarnation, LogIndex, NodeId,
    NodeName, OrderId, RequestId, ResourceId, Token, TopologyName,
};
use haft_engine::place::{Namespace, Place};
use haft_engine::spec::{
    AfterFence, Domains, Failback, FenceDeviceSpec, FenceLevel, FenceTopologySpec, Isolation,
    NodeSpec, ObjectRef, ObjectSpec, Observes, ResourceSpec, Scheduling, Unfenced, VirtualIpSpec,
};
use haft_engine::state::{ClusterState, Session};
use haft_engine::witness::{Lie, Speaker, Witness};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const TTL: Duration = Duration::from_millis(250);
const NAMES: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// One entry to be made.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    pub(crate) number: u8,
    /// How far the log index moves.
    pub(crate) step: u64,
    pub(crate) fields: [u8; 8],
}

pub(crate) fn draw() -> impl Strategy<Value = Draw> {
    (any::<u8>(), 1_u64..3, any::<[u8; 8]>()).prop_map(|(number, step, fields)| Draw {
        number,
        step,
        fields,
    })
}

/// A cluster in which everybody is admitted and three addresses and two devices exist.
pub(crate) fn seeded() -> (ClusterState, u64) {
    let mut state = ClusterState::default();
    let mut index = 0;
    let mut commit = |state: &mut ClusterState, command: Command| {
        index += 1;
        let entry = Entry {
            stamp_unix_ms: index,
            commands: vec![command],
        };
        apply(state, LogIndex(index), &entry);
        index
    };
    for (place, name) in (1_u8..).zip(NAMES) {
        let node = Registration {
            name: NodeName::from(name),
            role: NodeRole::Coordinator,
            host: format!("192.0.2.{place}"),
            key_sha256: [place; 32],
        };
        if place == 1 {
            let heartbeat_key = HeartbeatKey {
                generation: 1,
                secret: [1; 32],
            };
            let (cluster, epoch, first) = (ClusterId([1; 16]), Epoch(1), node);
            commit(
                &mut state,
                Command::Bootstrap {
                    cluster,
                    epoch,
                    first,
                    heartbeat_key,
                    timing: Some(Timing::FAST),
                },
            );
            continue;
        }
        commit(
            &mut state,
            Command::MintJoinToken {
                sha256: [place; 32],
                node: NodeName::from(name),
                expires_unix_ms: u64::MAX,
                request: RequestId([200 + place; 16]),
            },
        );
        let token_sha256 = [place; 32];
        commit(&mut state, Command::RegisterNode { node, token_sha256 });
    }
    let voters: Vec<NodeId> = state.nodes.keys().copied().take(3).collect();
    let sets = VoterSets {
        at: EntryId::new(1, 20),
        sets: vec![voters.into_iter().collect()],
    };
    commit(&mut state, Command::Membership(sets));
    (state, 30)
}

/// Whether a command carries a request id that is not "none".
pub(crate) fn is_mutation(command: &Command) -> bool {
    match command {
        Command::Put { request, .. }
        | Command::Delete { request, .. }
        | Command::Move { request, .. }
        | Command::ConfirmOff { request, .. }
        | Command::FenceIntent { request, .. }
        | Command::MintJoinToken { request, .. } => *request != RequestId::default(),
        _ => false,
    }
}

struct Maker<'a> {
    state: &'a ClusterState,
    fields: [u8; 8],
}

/// One or two commands of one entry.
pub(crate) fn commands(state: &ClusterState, number: u8, fields: [u8; 8]) -> Vec<Command> {
    let maker = Maker { state, fields };
    let mut made = vec![maker.command(number % 22)];
    if number > 200 {
        let mut turned = fields;
        turned.rotate_left(3);
        let maker = Maker {
            state,
            fields: turned,
        };
        made.push(maker.command(number % 19));
    }
    made
}

impl Maker<'_> {
    fn field(&self, place: usize) -> u8 {
        self.fields[place % 8]
    }
    fn node(&self) -> NodeId {
        let ids: Vec<NodeId> = self.state.nodes.keys().copied().collect();
        ids[usize::from(self.field(0)) % ids.len()]
    }
    /// The newest life, or now and then a wrong one.
    fn life(&self, node: NodeId) -> Incarnation {
        let newest = match self.state.nodes[&node].session {
            Session::Never => Incarnation::default(),
            Session::Open { incarnation }
            | Session::Closing { incarnation, .. }
            | Session::Ended { incarnation, .. } => incarnation,
        };
        Incarnation(newest.0 + u64::from(self.field(1).is_multiple_of(16)))
    }
    fn closing(&self, node: NodeId) -> LogIndex {
        match self.state.nodes[&node].session {
            Session::Closing { closing, .. } => closing,
            _ => LogIndex(u64::from(self.field(2))),
        }
    }
    fn resource(&self) -> ResourceId {
        ResourceId::vip(["a", "b", "c"][usize::from(self.field(3)) % 3])
    }
    fn last_token(&self) -> Token {
        let last = self.state.resources.get(&self.resource());
        let token = last.map_or(Token::default(), |resource| resource.last_token);
        Token {
            index: LogIndex(token.index.0 + u64::from(self.field(4).is_multiple_of(16))),
            ..token
        }
    }
    fn holder(&self) -> (NodeId, Incarnation) {
        let holding = self
            .state
            .resources
            .get(&self.resource())
            .and_then(|resource| resource.ownership.holding());
        match holding {
            Some(holding) => (holding.node, holding.incarnation),
            None => (self.node(), self.life(self.node())),
        }
    }
    fn order(&self) -> OrderId {
        let ids: Vec<OrderId> = self.state.orders.keys().copied().collect();
        let newest = ids.len().saturating_sub(1 + usize::from(self.field(5) % 3));
        ids.get(newest).copied().unwrap_or(OrderId(3))
    }
    fn attempts(&self) -> u32 {
        let order = self.state.orders.get(&self.order());
        order.map_or(0, |order| order.attempts)
    }
    fn request(&self) -> RequestId {
        let [one, two, three, four, ..] = self.fields;
        let mut id = [0; 16];
        id[..4].copy_from_slice(&[one, two, three, four]);
        RequestId(id)
    }
    fn guard(&self) -> Attestation {
        match self.field(6) % 6 {
            0 => Attestation::Unknown,
            1 => Attestation::Broken,
            2 => Attestation::Watched,
            _ => Attestation::Intact,
        }
    }
    fn ages(&self) -> Vec<StatedAge> {
        let voters: Vec<NodeId> = self.state.membership.all().into_iter().collect();
        let few = usize::from(self.field(4) % 4);
        voters
            .iter()
            .copied()
            .cycle()
            .take(few)
            .zip(0_u8..)
            .map(|(by, place)| {
                let short = self.field(usize::from(place)).is_multiple_of(8);
                StatedAge {
                    by,
                    membership: EntryId::new(
                        1,
                        self.state.membership.at.index.0
                            + u64::from(self.field(7).is_multiple_of(16)),
                    ),
                    age: if short { TTL } else { TTL * 2 },
                    heard: TTL,
                    sequence: u64::from(self.field(usize::from(place) + 3) % 3),
                    guards: self.guard(),
                }
            })
            .collect()
    }

    fn command(&self, number: u8) -> Command {
        match number {
            0..=6 => self.of_session(number),
            7..=12 => self.of_ownership(number),
            13..=18 => self.of_fencing(number),
            _ => self.of_objects(number),
        }
    }

    fn of_session(&self, number: u8) -> Command {
        let node = self.node();
        let incarnation = self.life(node);
        match number {
            0 | 1 => {
                let boot = self.state.nodes[&node].boot.0[0];
                Command::Admit {
                    node,
                    boot: BootId([boot.wrapping_add(self.field(5) % 2); 16]),
                    previous: incarnation,
                    probe: match self.field(6) % 4 {
                        0 => Probe::Unclean,
                        _ => Probe::Clean,
                    },
                    place: Place {
                        network: Some(Namespace {
                            device: 4,
                            inode: u64::from(self.field(4) % 2),
                        }),
                        gate: match self.field(7) % 2 {
                            0 => GateKind::Timed,
                            _ => GateKind::Kernel,
                        },
                        ..Place::default()
                    },
                }
            }
            2 | 3 => Command::Closing { node, incarnation },
            4 => Command::Reopened {
                node,
                incarnation,
                closing: self.closing(node),
            },
            _ => Command::Expired {
                node,
                incarnation,
                closing: self.closing(node),
                ages: self.ages(),
            },
        }
    }

    fn of_ownership(&self, number: u8) -> Command {
        let resource = self.resource();
        let (holder, life) = self.holder();
        match number {
            7 | 8 => Command::Grant {
                node: self.node(),
                incarnation: self.life(self.node()),
                previous: self.last_token(),
                generation: self
                    .state
                    .resources
                    .get(&resource)
                    .map_or(Generation(1), |resource| resource.generation),
                resource,
            },
            9 if self.field(1).is_multiple_of(3) => Command::Begun {
                resource,
                token: self.last_token(),
                incarnation: life,
            },
            9 if self.field(1) % 3 == 1 => Command::Withdraw {
                resource,
                token: self.last_token(),
            },
            9 => Command::Activated {
                resource,
                token: self.last_token(),
                incarnation: life,
                guard: self.guard(),
                address_life: Duration::from_secs(u64::from(self.field(2) % 12)),
            },
            10 => Command::Relinquish {
                resource,
                token: self.last_token(),
                cause: RelinquishCause::Drained,
            },
            11 => Command::Released {
                resource,
                token: self.last_token(),
                incarnation: life,
            },
            _ if self.field(1).is_multiple_of(2) => Command::LifetimeLapsed {
                resource,
                token: self.last_token(),
                waited: Duration::from_millis(u64::from(self.field(2)) * 60),
            },
            _ => Command::Move {
                resource,
                to: self.state.nodes[&holder].name.clone(),
                request: self.request(),
            },
        }
    }

    fn of_fencing(&self, number: u8) -> Command {
        let node = self.node();
        let incarnation = self.life(node);
        let plan = FenceAttemptPlan {
            executor: node,
            level: 1,
            deadline: Duration::from_secs(u64::from(self.field(2))),
        };
        let by = "alice".to_owned();
        let reason = "because".to_owned();
        match number {
            13 => Command::FenceIntent {
                node,
                incarnation,
                action: match self.field(5) % 4 {
                    0 => FenceAction::On,
                    _ => FenceAction::Off,
                },
                cause: match self.field(6) % 4 {
                    0 => FenceCause::Orphans,
                    1 => FenceCause::AfterFence,
                    2 => FenceCause::Unfence,
                    _ => FenceCause::Administrator { by, reason },
                },
                request: self.request(),
                first: (self.field(7).is_multiple_of(2)).then_some(plan),
            },
            14 => Command::FenceAttempt {
                order: self.order(),
                attempt: self.attempts() + 1,
                executor: plan.executor,
                level: plan.level,
                deadline: plan.deadline,
            },
            15 => Command::FenceVerdict {
                order: self.order(),
                attempt: self.attempts(),
                verdict: [Verdict::Confirmed, Verdict::Refused, Verdict::Unknown]
                    [usize::from(self.field(6)) % 3],
                detail: "words".to_owned(),
                lie: self.lie(),
            },
            16 => Command::FenceHeld {
                order: self.order(),
                reason: HoldReason::Quorum,
            },
            17 if self.field(7).is_multiple_of(2) => Command::FenceTryOver {
                order: self.order(),
                attempt: self.attempts().saturating_sub(1),
                waited: Duration::from_secs(u64::from(self.field(6))),
            },
            17 => Command::FenceCancelled {
                order: self.order(),
                reason,
            },
            _ => Command::ConfirmOff {
                node,
                incarnation,
                boot: (self.field(6).is_multiple_of(2)).then(|| self.state.nodes[&node].boot),
                by,
                reason,
                witnesses: Vec::new(),
                overruled: Vec::new(),
                request: self.request(),
            },
        }
    }

    /// Now and then the target has answered, from this boot or another.
    fn lie(&self) -> Option<Lie> {
        let target = self.state.orders.get(&self.order())?.node;
        let boot = self.state.nodes.get(&target)?.boot.0[0];
        let witness = Witness {
            by: self.node(),
            speaker: Speaker::Agent,
            boot: BootId([boot.wrapping_add(self.field(3) % 2); 16]),
        };
        self.field(5).is_multiple_of(3).then(|| Lie {
            witness,
            devices: self.state.devices.keys().take(1).cloned().collect(),
        })
    }

    fn of_objects(&self, number: u8) -> Command {
        let object = match (number, self.field(6) % 6) {
            (_, 0) => self.device(),
            (_, 1) => ObjectSpec::Node(
                self.state.nodes[&self.node()].name.clone(),
                NodeSpec {
                    scheduling: Scheduling::Standby,
                    after_fence: [AfterFence::StayOff, AfterFence::PowerOn]
                        [usize::from(self.field(1)) % 2],
                    labels: BTreeMap::new(),
                    domains: Domains::default(),
                },
            ),
            (_, 2) => self.topology(),
            _ => self.vip(),
        };
        if number == 21 && self.field(7).is_multiple_of(2) {
            let object = match object {
                ObjectSpec::Node(name, _) => ObjectRef::Node(name),
                ObjectSpec::Resource(id, _) => ObjectRef::Resource(id),
                ObjectSpec::Device(name, _) => ObjectRef::Device(name),
                ObjectSpec::Topology(name, _) => ObjectRef::Topology(name),
            };
            return Command::Delete {
                object,
                expected: None,
                request: self.request(),
            };
        }
        Command::Put {
            object,
            expected: None,
            request: self.request(),
        }
    }

    fn vip(&self) -> ObjectSpec {
        let spec = VirtualIpSpec {
            address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1 + self.field(1) % 4)),
            interface: "eth0".to_owned(),
            isolation: [Isolation::Lease, Isolation::Stonith][usize::from(self.field(2)) % 2],
            unfenced: [Unfenced::Refused, Unfenced::Allowed][usize::from(self.field(4)) % 2],
            preference: Vec::new(),
            failback: Failback::Never,
        };
        ObjectSpec::Resource(self.resource(), ResourceSpec::VirtualIp(spec))
    }

    fn device(&self) -> ObjectSpec {
        let name = match self.field(6) % 4 {
            0 => "port",
            _ => "bmc",
        };
        let targets = NAMES
            .iter()
            .take(1 + usize::from(self.field(1)) % 4)
            .map(|name| (NodeName::from(*name), String::new()))
            .collect();
        let spec = FenceDeviceSpec {
            host_argument: haft_engine::spec::HostArgument::default(),
            agent: "fence_haft_ipmi".to_owned(),
            observes: match name {
                "port" => Observes::Storage,
                _ => Observes::Power,
            },
            delay: Duration::ZERO,
            targets,
            parameters: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            deadline: Duration::from_secs(u64::from(self.field(2))),
            level: 1,
            domains: Domains::default(),
        };
        ObjectSpec::Device(DeviceName::from(name), spec)
    }

    fn topology(&self) -> ObjectSpec {
        let name = ["racks", "others"][usize::from(self.field(1)) % 2];
        let first = usize::from(self.field(2)) % 4;
        let count = 1 + usize::from(self.field(3)) % 2;
        let level = FenceLevel {
            devices: match self.field(6) % 8 {
                0 => vec![DeviceName::from("port")],
                1 => vec![DeviceName::from("bmc"), DeviceName::from("port")],
                _ => vec![DeviceName::from("bmc")],
            },
            timeout: None,
            delay: Duration::from_secs(u64::from(self.field(4))),
        };
        let spec = FenceTopologySpec {
            nodes: NAMES
                .iter()
                .skip(first)
                .take(count)
                .map(|name| NodeName::from(*name))
                .collect(),
            levels: vec![level; usize::from(self.field(5)) % 4],
        };
        ObjectSpec::Topology(TopologyName::from(name), spec)
    }
}
