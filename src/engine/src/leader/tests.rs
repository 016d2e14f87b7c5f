//! The leader's machine, stepped by hand: timing and retries that stories do not show.

use super::{Fate, FenceRun, Input, Leader, Output, Proposal, Report, Silence, StatusFirst};
use crate::apply::{Outcome, apply};
use crate::clock::{Moment, Timing, lengthened};
use crate::command::{
    Attestation, Command, Entry, FenceAction, FenceCause, HeartbeatKey, NodeRole, PathHealth,
    Probe, Registration, StatedAge, Verdict, VoterSets,
};
use crate::ids::{
    BootId, ClusterId, DeviceName, EntryId, Epoch, Incarnation, LogIndex, NodeId, NodeName,
    RequestId, ResourceId,
};
use crate::place::Place;
use crate::spec::{
    Domains, Failback, FenceDeviceSpec, Isolation, ObjectSpec, Observes, ResourceSpec, Unfenced,
    VirtualIpSpec,
};
use crate::state::{ClusterState, OrderPhase, Ownership};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

mod foresight;
mod machines;
mod superseded;

const MS: Duration = Duration::from_millis(1);
const TIMING: Timing = Timing::FAST;

/// Three admitted nodes, the first of them leading; nothing commits unless the test says so.
struct Stage {
    state: ClusterState,
    index: u64,
    now: Moment,
    leader: Leader,
    silent: BTreeMap<NodeId, Duration>,
    ids: Vec<NodeId>,
}

impl Stage {
    fn new() -> Stage {
        let mut state = ClusterState::default();
        let mut index = 0;
        let mut commit = |state: &mut ClusterState, command| {
            index += 1;
            let entry = Entry {
                stamp_unix_ms: 0,
                commands: vec![command],
            };
            apply(state, LogIndex(index), &entry);
        };
        for place in 1..=3_u8 {
            let node = Registration {
                name: NodeName(format!("n{place}")),
                role: NodeRole::Coordinator,
                host: format!("192.0.2.{place}"),
                key_sha256: [place; 32],
            };
            let token_sha256 = [place; 32];
            if place == 1 {
                let bootstrap = Command::Bootstrap {
                    cluster: ClusterId([1; 16]),
                    epoch: Epoch(1),
                    first: node,
                    heartbeat_key: HeartbeatKey {
                        generation: 1,
                        secret: [1; 32],
                    },
                    timing: Some(TIMING),
                };
                commit(&mut state, bootstrap);
                continue;
            }
            let mint = Command::MintJoinToken {
                sha256: token_sha256,
                node: node.name.clone(),
                expires_unix_ms: u64::MAX,
                request: RequestId::default(),
            };
            commit(&mut state, mint);
            commit(&mut state, Command::RegisterNode { node, token_sha256 });
        }
        let ids: Vec<NodeId> = state.nodes.keys().copied().collect();
        let sets = VoterSets {
            at: EntryId::new(1, 6),
            sets: vec![ids.iter().copied().collect()],
        };
        commit(&mut state, Command::Membership(sets));
        for node in &ids {
            let admit = Command::Admit {
                node: *node,
                boot: BootId([1; 16]),
                previous: Incarnation(0),
                probe: Probe::Clean,
                place: Place::default(),
            };
            commit(&mut state, admit);
        }
        let now = Moment(1_000_000_000_000);
        let leader = Leader::new(ids[0], TIMING, now, &state);
        Stage {
            state,
            index,
            now,
            leader,
            silent: BTreeMap::new(),
            ids,
        }
    }

    fn commit(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.index += 1;
        let entry = Entry {
            stamp_unix_ms: 0,
            commands,
        };
        apply(&mut self.state, LogIndex(self.index), &entry)
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let silences: Vec<Silence> = self
            .ids
            .iter()
            .map(|node| Silence {
                node: *node,
                silent: self.silent.get(node).copied().unwrap_or_default(),
            })
            .collect();
        self.leader.step(self.now, 0, &self.state, &silences, input)
    }

    fn tick(&mut self, later: Duration) -> Vec<Output> {
        self.now = self.now + later;
        self.step(Input::Tick)
    }

    /// Commits every proposal and feeds it back until nothing more is proposed; the rest is returned.
    fn settle(&mut self, mut outputs: Vec<Output>) -> Vec<Output> {
        let mut rest = Vec::new();
        while let Some(output) = outputs.pop() {
            if let Output::Propose(Proposal { number, entry }) = output {
                self.commit(entry.commands);
                let fate = Fate::Committed(LogIndex(self.index));
                outputs.extend(self.step(Input::Proposed { number, fate }));
            } else {
                rest.push(output);
            }
        }
        rest
    }

    fn vip(&mut self, isolation: Isolation, owner: &str) -> ResourceId {
        let id = ResourceId::vip("web");
        let spec = VirtualIpSpec {
            address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
            interface: "eth0".to_owned(),
            isolation,
            unfenced: Unfenced::Allowed,
            preference: vec![NodeName::from(owner)],
            failback: Failback::Never,
        };
        self.put(ObjectSpec::Resource(
            id.clone(),
            ResourceSpec::VirtualIp(spec),
        ));
        let outputs = self.tick(MS);
        self.settle(outputs);
        let outputs = self.step(Input::Reported(Box::new(self.activated(&id))));
        self.settle(outputs);
        id
    }

    fn put(&mut self, object: ObjectSpec) {
        self.commit(vec![Command::Put {
            object,
            expected: None,
            request: RequestId::default(),
        }]);
    }

    fn device(&mut self, target: &str) {
        self.device_with(target, Duration::ZERO);
    }

    fn device_with(&mut self, target: &str, delay: Duration) {
        let spec = FenceDeviceSpec {
            host_argument: crate::spec::HostArgument::default(),
            agent: "fence_haft_ipmi".to_owned(),
            observes: Observes::Power,
            delay,
            targets: BTreeMap::from([(NodeName::from(target), String::new())]),
            parameters: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            deadline: Duration::from_secs(5),
            level: 1,
            domains: Domains::default(),
        };
        self.put(ObjectSpec::Device(DeviceName::from("bmc"), spec));
    }

    fn activated(&self, id: &ResourceId) -> Report {
        let holding = self.state.resources[id].ownership.holding();
        let holding = holding.expect("it is granted");
        Report::Activated(Command::Activated {
            resource: id.clone(),
            token: holding.token,
            incarnation: holding.incarnation,
            guard: Attestation::Intact,
            address_life: TIMING.address_life,
        })
    }

    fn released(&self, id: &ResourceId) -> Report {
        let holding = self.state.resources[id].ownership.holding();
        let holding = holding.expect("it is held");
        Report::Released(Command::Released {
            resource: id.clone(),
            token: holding.token,
            incarnation: holding.incarnation,
        })
    }

    fn age(&self, by: usize, age: Duration) -> StatedAge {
        StatedAge {
            by: self.ids[by],
            membership: self.state.membership.at,
            sequence: 1,
            age,
            heard: age,
            guards: Attestation::Intact,
        }
    }

    fn owner(&self, id: &ResourceId) -> Option<NodeId> {
        let holding = self.state.resources[id].ownership.holding();
        holding.map(|holding| holding.node)
    }
}

fn proposed(outputs: &[Output]) -> Vec<Command> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Propose(proposal) => Some(proposal.entry.commands.clone()),
            Output::AskAges { .. }
            | Output::Foresee(_)
            | Output::Fence(_)
            | Output::Probe { .. }
            | Output::TransferTo(_) => None,
        })
        .flatten()
        .collect()
}

fn fences(outputs: &[Output]) -> Vec<FenceRun> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Fence(run) => Some(run.clone()),
            Output::Propose(_)
            | Output::AskAges { .. }
            | Output::Foresee(_)
            | Output::Probe { .. }
            | Output::TransferTo(_) => None,
        })
        .collect()
}

fn asks(outputs: &[Output]) -> bool {
    outputs
        .iter()
        .any(|output| matches!(output, Output::AskAges { .. }))
}

#[test]
fn a_new_leader_closes_only_on_a_whole_ttl_of_silence() {
    let mut stage = Stage::new();
    stage.silent.insert(stage.ids[1], TIMING.closing_after);
    assert!(proposed(&stage.tick(MS)).is_empty());
    stage.silent.insert(stage.ids[1], TIMING.ttl);
    let commands = proposed(&stage.tick(MS));
    assert!(matches!(commands[..], [Command::Closing { .. }]));

    let mut stage = Stage::new();
    stage.tick(TIMING.ttl);
    stage.silent.insert(stage.ids[1], TIMING.closing_after);
    assert_eq!(proposed(&stage.tick(MS)).len(), 1);
}

#[test]
fn ages_are_asked_for_again_when_a_majority_can_have_reached_the_ttl() {
    let mut stage = Stage::new();
    stage.tick(TIMING.ttl);
    stage.silent.insert(stage.ids[1], TIMING.closing_after);
    let outputs = stage.tick(MS);
    let rest = stage.settle(outputs);
    assert!(asks(&rest));
    let closing = LogIndex(stage.index);
    for (by, age) in [(0, 200 * MS), (2, 210 * MS)] {
        let age = stage.age(by, age);
        let outputs = stage.step(Input::AgeStated { closing, age });
        assert!(proposed(&outputs).is_empty());
    }
    // The second of the two still lacks 50.25 ms; both are needed.
    let wake = stage.leader.next_wake().since(stage.now);
    assert!(wake <= 53 * MS, "{wake:?}");
    assert!(!asks(&stage.tick(49 * MS)));
    let mut asked = false;
    while stage.leader.next_wake().since(stage.now) < 5 * MS && !asked {
        let next = stage.leader.next_wake().since(stage.now);
        asked = asks(&stage.tick(next));
    }
    assert!(asked);
    for by in [0, 2] {
        let age = stage.age(by, lengthened(TIMING.ttl));
        let outputs = stage.step(Input::AgeStated { closing, age });
        stage.settle(outputs);
    }
    assert_eq!(stage.state.live_incarnation(stage.ids[1]), None);
}

#[test]
fn nothing_is_proposed_twice_while_it_is_in_flight() {
    let mut stage = Stage::new();
    stage.tick(TIMING.ttl);
    stage.silent.insert(stage.ids[1], TIMING.closing_after);
    assert_eq!(proposed(&stage.tick(MS)).len(), 1);
    for _ in 0..10 {
        assert!(proposed(&stage.tick(10 * MS)).is_empty());
    }
    // It never came back: judged anew from the state.
    assert_eq!(proposed(&stage.tick(TIMING.election_max)).len(), 1);
}

#[test]
fn a_proposal_that_came_to_nothing_is_made_again_after_a_pause() {
    let mut stage = Stage::new();
    let id = stage.vip(Isolation::Lease, "n2");
    let report = stage.released(&id);
    let outputs = stage.step(Input::Reported(Box::new(report)));
    assert_eq!(proposed(&outputs).len(), 2);
    let [Output::Propose(Proposal { number, .. })] = outputs[..] else {
        panic!("{outputs:?}");
    };
    let fate = Fate::Unknown;
    assert!(proposed(&stage.step(Input::Proposed { number, fate })).is_empty());
    assert!(proposed(&stage.tick(MS)).is_empty());
    let again = proposed(&stage.tick(TIMING.beat));
    assert!(matches!(again[0], Command::Released { .. }), "{again:?}");
}

#[test]
fn a_node_that_hands_back_unasked_is_avoided_for_a_while() {
    let mut stage = Stage::new();
    let id = stage.vip(Isolation::Lease, "n2");
    assert_eq!(stage.owner(&id), Some(stage.ids[1]));
    let report = stage.released(&id);
    let outputs = stage.step(Input::Reported(Box::new(report)));
    stage.settle(outputs);
    let other = stage.owner(&id).expect("another node takes it");
    assert_ne!(other, stage.ids[1]);
}

#[test]
fn an_executor_that_says_nothing_has_proved_nothing() {
    let mut stage = Stage::new();
    stage.device("n2");
    let fence = Command::FenceIntent {
        node: stage.ids[1],
        incarnation: stage.state.live_incarnation(stage.ids[1]).expect("live"),
        action: FenceAction::Off,
        cause: FenceCause::Administrator {
            by: "alice".to_owned(),
            reason: "test".to_owned(),
        },
        request: RequestId::default(),
        first: None,
    };
    stage.commit(vec![fence]);
    let outputs = stage.tick(MS);
    let rest = stage.settle(outputs);
    let runs = fences(&rest);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].status, StatusFirst::No);
    assert_eq!(runs[0].deadline, stage.now + Duration::from_secs(5));
    assert_eq!(runs[0].devices, [DeviceName::from("bmc")]);
    let outputs = stage.tick(Duration::from_secs(8));
    stage.settle(outputs);
    let order = &stage.state.orders[&runs[0].order];
    assert!(matches!(
        order.phase,
        OrderPhase::Waiting {
            last: Verdict::Unknown,
            ..
        }
    ));
    // The driver's answer comes after all: that attempt is over.
    let late = stage.step(Input::FenceAnswered {
        order: runs[0].order,
        attempt: 1,
        verdict: Verdict::Confirmed,
        detail: String::new(),
        lie: None,
    });
    assert!(proposed(&late).is_empty());
}

#[test]
fn leadership_is_handed_on_once_a_minute_to_a_live_idle_voter() {
    let mut stage = Stage::new();
    let id = stage.vip(Isolation::Lease, "n1");
    assert_eq!(stage.owner(&id), Some(stage.ids[0]));
    let transfer = |outputs: Vec<Output>| {
        outputs.into_iter().find_map(|output| match output {
            Output::TransferTo(target) => Some(target),
            Output::Propose(_)
            | Output::AskAges { .. }
            | Output::Foresee(_)
            | Output::Fence(_)
            | Output::Probe { .. } => None,
        })
    };
    assert_eq!(transfer(stage.tick(1_000 * MS)), None, "too early");
    stage.silent.insert(stage.ids[2], TIMING.beat * 3);
    assert_eq!(transfer(stage.tick(1_500 * MS)), None, "a node is suspect");
    stage.silent.clear();
    stage.leader.set_peers(BTreeSet::new());
    assert_eq!(transfer(stage.tick(MS)), None, "nobody is caught up");
    stage.leader.set_peers(BTreeSet::from([stage.ids[2]]));
    assert_eq!(transfer(stage.tick(MS)), Some(stage.ids[2]));
    assert_eq!(transfer(stage.tick(Duration::from_secs(59))), None);
    assert_eq!(
        transfer(stage.tick(Duration::from_secs(2))),
        Some(stage.ids[2])
    );
}

#[test]
fn a_grant_waits_while_its_node_is_suspect() {
    let mut stage = Stage::new();
    let id = stage.vip(Isolation::Lease, "n2");
    for node in [stage.ids[0], stage.ids[1], stage.ids[2]] {
        stage.silent.insert(node, TIMING.beat * 3);
    }
    let report = stage.released(&id);
    let outputs = stage.step(Input::Reported(Box::new(report)));
    stage.settle(outputs);
    assert_eq!(stage.state.resources[&id].ownership, Ownership::Unowned);
    stage.silent.clear();
    let outputs = stage.tick(TIMING.beat);
    stage.settle(outputs);
    assert!(stage.owner(&id).is_some());
}

/// A request that was said about an earlier life (delayed, repeated, or heard by a coordinator that was
/// paused) must not release what the newer life of the same agent holds.
#[test]
fn a_late_request_for_admission_speaks_for_no_newer_life() {
    let mut stage = Stage::new();
    let node = stage.ids[1];
    let newest = stage.state.nodes[&node].newest();
    let attach = |replaces| Input::AttachRequested {
        node,
        boot: BootId([1; 16]),
        probe: Probe::Clean,
        replaces,
        place: Place::default(),
    };
    let late = stage.step(attach(Incarnation(0)));
    assert!(late.is_empty(), "{late:?}");
    let current = stage.step(attach(newest));
    let admits = current.iter().any(|output| match output {
        Output::Propose(proposal) => proposal.entry.commands.iter().any(
            |command| matches!(command, Command::Admit { previous, .. } if *previous == newest),
        ),
        Output::AskAges { .. }
        | Output::Foresee(_)
        | Output::Fence(_)
        | Output::Probe { .. }
        | Output::TransferTo(_) => false,
    });
    assert!(admits, "{current:?}");
}

fn probes(outputs: &[Output]) -> usize {
    outputs
        .iter()
        .filter(|output| matches!(output, Output::Probe { .. }))
        .count()
}

#[test]
fn a_device_is_probed_on_schedule_but_never_while_an_order_uses_it() {
    let mut stage = Stage::new();
    stage.vip(Isolation::Stonith, "n2");
    stage.device("n2");
    stage.leader.set_probing(6_000 * MS);
    let probed = |stage: &Stage, health| Input::Probed {
        device: DeviceName::from("bmc"),
        generation: stage.state.devices[&DeviceName::from("bmc")].generation,
        health,
    };
    assert_eq!(probes(&stage.tick(MS)), 0, "not at once");
    assert_eq!(probes(&stage.tick(100 * MS)), 1, "soon");
    assert_eq!(probes(&stage.tick(6_000 * MS)), 0, "one is under way");
    let answer = probed(&stage, Some(PathHealth::Healthy));
    let outputs = stage.step(answer.clone());
    let commands = proposed(&outputs);
    assert!(
        matches!(commands[..], [Command::DeviceProbed { .. }]),
        "{commands:?}"
    );
    stage.settle(outputs);
    assert_eq!(probes(&stage.tick(5_999 * MS)), 0, "not yet");
    assert_eq!(probes(&stage.tick(MS)), 1, "due again");
    let outputs = stage.step(answer);
    assert!(proposed(&outputs).is_empty(), "no news");
    stage.commit(vec![Command::FenceIntent {
        node: stage.ids[1],
        incarnation: stage.state.nodes[&stage.ids[1]].newest(),
        action: FenceAction::Off,
        cause: FenceCause::Administrator {
            by: "alice".to_owned(),
            reason: "a test".to_owned(),
        },
        request: RequestId::default(),
        first: None,
    }]);
    let outputs = stage.tick(MS);
    stage.settle(outputs);
    assert_eq!(probes(&stage.tick(6_000 * MS)), 0, "an order is running");
}
