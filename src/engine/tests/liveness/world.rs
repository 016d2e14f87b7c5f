//! A cluster whose log is a list of entries, and a leader whose proposals commit when the test says so.

use haft_engine::apply::{Outcome, apply};
use haft_engine::clock::{Moment, Timing};
use haft_engine::command::{
    Attestation, Command, Entry, FenceAction, FenceAttemptPlan, FenceCause, HeartbeatKey, NodeRole,
    Probe, Registration, StatedAge, Verdict, VoterSets,
};
use haft_engine::ids::{
    BootId, ClusterId, DeviceName, EntryId, Epoch, Incarnation, LogIndex, NodeId, NodeName,
    RequestId, ResourceId, Token,
};
use haft_engine::leader::{Fate, Input, Leader, Output, Proposal, Silence};
use haft_engine::place::Place;
use haft_engine::spec::{
    Domains, Failback, FenceDeviceSpec, HostArgument, Isolation, ObjectSpec, Observes,
    ResourceSpec, Unfenced, VirtualIpSpec,
};
use haft_engine::state::{ClusterState, Holding, Ownership};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const FAST: Timing = Timing::FAST;
pub(crate) const T0: Moment = Moment(1_000_000_000_000);

pub(crate) struct World {
    pub(crate) state: ClusterState,
    pub(crate) index: u64,
    pub(crate) ids: Vec<NodeId>,
    /// How long the leader itself has not heard a node.
    pub(crate) silent: BTreeMap<NodeId, Duration>,
    /// What every coordinator states when it is asked for an age.
    pub(crate) stated: BTreeMap<NodeId, Duration>,
    /// Whether a closing has stood for long enough that no majority has acknowledged anything for a whole lease.
    pub(crate) seals: bool,
    /// Stamp of the next entries.
    pub(crate) stamp: u64,
}

fn registration(place: u8, voters: u8) -> Registration {
    Registration {
        name: NodeName(format!("n{place}")),
        role: if place <= voters {
            NodeRole::Coordinator
        } else {
            NodeRole::AgentOnly
        },
        host: format!("10.0.0.{place}"),
        key_sha256: [place; 32],
    }
}

impl World {
    /// `n` nodes, the first `voters` of them coordinators, all admitted on boot 1.
    pub(crate) fn new(n: u8, voters: u8) -> World {
        let mut world = World {
            state: ClusterState::default(),
            index: 0,
            ids: Vec::new(),
            silent: BTreeMap::new(),
            stated: BTreeMap::new(),
            seals: false,
            stamp: 1,
        };
        for place in 1..=n {
            let node = registration(place, voters);
            if place == 1 {
                world.ok(Command::Bootstrap {
                    cluster: ClusterId([1; 16]),
                    epoch: Epoch(1),
                    first: node,
                    heartbeat_key: HeartbeatKey {
                        generation: 1,
                        secret: [1; 32],
                    },
                    timing: Some(FAST),
                });
                continue;
            }
            world.ok(Command::MintJoinToken {
                sha256: [place; 32],
                node: node.name.clone(),
                expires_unix_ms: u64::MAX,
                request: RequestId::default(),
            });
            world.ok(Command::RegisterNode {
                node,
                token_sha256: [place; 32],
            });
        }
        world.ids = world.state.nodes.keys().copied().collect();
        let sets = VoterSets {
            at: EntryId::new(1, world.index + 1),
            sets: vec![world.ids[..usize::from(voters)].iter().copied().collect()],
        };
        world.ok(Command::Membership(sets));
        for id in world.ids.clone() {
            world.admit(id, 1);
        }
        world
    }

    pub(crate) fn leader(&self) -> Leader {
        Leader::new(self.ids[0], FAST, T0, &self.state)
    }

    pub(crate) fn commit(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.index = self.index.max(self.state.applied.0) + 1;
        let entry = Entry {
            stamp_unix_ms: self.stamp,
            commands,
        };
        apply(&mut self.state, LogIndex(self.index), &entry)
    }

    pub(crate) fn ok(&mut self, command: Command) -> Outcome {
        let outcome = self.commit(vec![command]).pop().expect("one command");
        assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        outcome
    }

    pub(crate) fn admit(&mut self, node: NodeId, boot: u8) -> Incarnation {
        let previous = self.state.nodes[&node].newest();
        let boot = BootId([boot; 16]);
        let probe = Probe::Clean;
        match self.ok(Command::Admit {
            node,
            boot,
            previous,
            probe,
            place: Place::default(),
        }) {
            Outcome::Admitted(incarnation) => incarnation,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn life(&self, id: NodeId) -> Incarnation {
        self.state.nodes[&id].newest()
    }

    pub(crate) fn vip(&mut self, n: u8, isolation: Isolation) -> ResourceId {
        let id = ResourceId::vip(&format!("v{n}"));
        let spec = ResourceSpec::VirtualIp(VirtualIpSpec {
            address: IpAddr::V4(Ipv4Addr::new(172, 16, 0, n + 1)),
            interface: "eth0".to_owned(),
            isolation,
            unfenced: Unfenced::Refused,
            preference: Vec::new(),
            failback: Failback::Never,
        });
        self.ok(Command::Put {
            object: ObjectSpec::Resource(id.clone(), spec),
            expected: None,
            request: RequestId::default(),
        });
        id
    }

    /// A fence device of power that targets this node.
    pub(crate) fn device(&mut self, name: &str, target: &str) {
        let spec = FenceDeviceSpec {
            host_argument: HostArgument::default(),
            agent: "fence_haft_ipmi".to_owned(),
            observes: Observes::Power,
            delay: Duration::ZERO,
            targets: BTreeMap::from([(NodeName::from(target), String::new())]),
            parameters: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            deadline: Duration::from_secs(5),
            level: 1,
            domains: Domains::default(),
        };
        self.ok(Command::Put {
            object: ObjectSpec::Device(DeviceName::from(name), spec),
            expected: None,
            request: RequestId::default(),
        });
    }

    pub(crate) fn grant(&mut self, id: &ResourceId, node: NodeId) -> Token {
        let row = &self.state.resources[id];
        let (previous, generation) = (row.last_token, row.generation);
        let incarnation = self.life(node);
        match self.ok(Command::Grant {
            resource: id.clone(),
            node,
            incarnation,
            previous,
            generation,
        }) {
            Outcome::Granted(token) => token,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn holding(&self, id: &ResourceId) -> Option<&Holding> {
        self.state.resources[id].ownership.holding()
    }

    pub(crate) fn ownership(&self, id: &ResourceId) -> &Ownership {
        &self.state.resources[id].ownership
    }

    pub(crate) fn activate(&mut self, id: &ResourceId) {
        let holding = self.holding(id).expect("it is held").clone();
        self.ok(Command::Activated {
            resource: id.clone(),
            token: holding.token,
            incarnation: holding.incarnation,
            guard: Attestation::Intact,
            address_life: Duration::from_secs(2),
        });
    }

    /// An order against this life, carried out.
    pub(crate) fn fence(&mut self, node: NodeId) {
        let incarnation = self.life(node);
        let executor = self.ids[0];
        let intent = Command::FenceIntent {
            node,
            incarnation,
            action: FenceAction::Off,
            cause: FenceCause::Administrator {
                by: "alice".to_owned(),
                reason: "test".to_owned(),
            },
            request: RequestId::default(),
            first: Some(FenceAttemptPlan {
                executor,
                level: 1,
                deadline: Duration::from_secs(9),
            }),
        };
        let order = match self.ok(intent) {
            Outcome::Ordered(order) => order,
            other => panic!("{other:?}"),
        };
        self.ok(Command::FenceVerdict {
            order,
            attempt: 1,
            verdict: Verdict::Confirmed,
            detail: "off, off".to_owned(),
            lie: None,
        });
    }

    pub(crate) fn step(&self, leader: &mut Leader, now: Moment, input: Input) -> Vec<Output> {
        let live = self.ids.iter().filter(|id| {
            let newest = self.state.live_incarnation(**id);
            newest.is_some()
        });
        let silences: Vec<Silence> = live
            .map(|node| Silence {
                node: *node,
                silent: self.silent.get(node).copied().unwrap_or_default(),
            })
            .collect();
        leader.step(now, self.stamp, &self.state, &silences, input)
    }

    /// Commits everything that is proposed and answers every question about ages, until nothing follows.
    pub(crate) fn settle(
        &mut self,
        leader: &mut Leader,
        now: Moment,
        outputs: Vec<Output>,
    ) -> Vec<Command> {
        let mut all = Vec::new();
        let mut open = outputs;
        while !open.is_empty() {
            match open.remove(0) {
                Output::Propose(Proposal { number, entry }) => {
                    all.extend(entry.commands.clone());
                    self.commit(entry.commands);
                    let fate = Fate::Committed(LogIndex(self.index));
                    open.extend(self.step(leader, now, Input::Proposed { number, fate }));
                }
                Output::AskAges { node, closing, .. } => {
                    for age in self.ages(node) {
                        open.extend(self.step(leader, now, Input::AgeStated { closing, age }));
                    }
                }
                Output::Foresee(_)
                | Output::Fence(_)
                | Output::Probe { .. }
                | Output::TransferTo(_) => {}
            }
        }
        all
    }

    fn ages(&self, node: NodeId) -> Vec<StatedAge> {
        let heard = self.stated.get(&node).copied().unwrap_or_default();
        let age = if self.seals {
            Duration::from_secs(1)
        } else {
            heard
        };
        let voters = self.state.membership.all();
        let state = |by| StatedAge {
            by,
            membership: self.state.membership.at,
            age,
            heard,
            sequence: 1,
            guards: Attestation::Intact,
        };
        voters.into_iter().map(state).collect()
    }

    /// Lets `span` pass in steps of `every`, everything committed; returns all that was proposed.
    pub(crate) fn run(
        &mut self,
        leader: &mut Leader,
        from: Moment,
        (span, every): (Duration, Duration),
    ) -> Vec<Command> {
        let mut all = Vec::new();
        let mut now = from;
        while now < from + span {
            let outputs = self.step(leader, now, Input::Tick);
            all.extend(self.settle(leader, now, outputs));
            now = now + every;
        }
        all
    }
}

/// What a step proposes, entry by entry.
pub(crate) fn proposals(outputs: &[Output]) -> Vec<Proposal> {
    let proposed = outputs.iter().filter_map(|output| match output {
        Output::Propose(proposal) => Some(proposal.clone()),
        Output::AskAges { .. }
        | Output::Foresee(_)
        | Output::Fence(_)
        | Output::Probe { .. }
        | Output::TransferTo(_) => None,
    });
    proposed.collect()
}

/// What a step proposes.
pub(crate) fn commands(outputs: &[Output]) -> Vec<Command> {
    let entries = proposals(outputs).into_iter();
    entries.flat_map(|one| one.entry.commands).collect()
}
