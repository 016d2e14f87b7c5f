//! What is written comes back the same.

use super::*;
use haft_engine::command::Verdict;
use haft_engine::command::{Command, FenceAction, FenceCause, PathFault, PathHealth};
use haft_engine::ids::{
    BootId, DeviceName, Generation, Incarnation, NodeId, NodeName, OrderId, RequestId, TopologyName,
};
use haft_engine::place::Place;
use haft_engine::spec::{
    AfterFence, Domains, FenceDeviceSpec, FenceLevel, FenceTopologySpec, HostArgument, NodeSpec,
    ObjectRef, ObjectSpec, Observes,
};
use haft_engine::state::{Device, FenceOrder, OrderPhase, Probed, Superseded, Topology};
use haft_engine::witness::{Lie, Speaker, Witness};
use std::time::Duration;

mod begun;

fn findings() -> Vec<PathHealth> {
    let failing = |fault| PathHealth::Failing {
        fault,
        why: "connection refused".to_owned(),
    };
    vec![
        PathHealth::Healthy,
        failing(PathFault::NotRunnable),
        failing(PathFault::Failed),
        failing(PathFault::NoAnswer),
    ]
}

fn spec() -> FenceDeviceSpec {
    FenceDeviceSpec {
        host_argument: HostArgument::Named("port".into()),
        agent: "fence_haft_ipmi".to_owned(),
        observes: Observes::Power,
        targets: [(NodeName::from("n1"), String::new())].into(),
        parameters: [("ip".to_owned(), "10.0.0.9".to_owned())].into(),
        secret_files: [("password".to_owned(), "/etc/haft/secrets/n1".to_owned())].into(),
        deadline: Duration::from_secs(20),
        delay: Duration::from_millis(1_500),
        level: 2,
        domains: Domains {
            power: Some("feed-a".to_owned()),
            network: None,
        },
    }
}

#[test]
fn findings_of_probes_come_back_from_the_log() {
    let commands = findings().into_iter().map(|health| Command::DeviceProbed {
        device: DeviceName::from("bmc"),
        generation: Generation(7),
        health,
    });
    let entry = Entry {
        stamp_unix_ms: 12,
        commands: commands.collect(),
    };
    let read = decode_entry(&encode_entry(&entry)).expect("what was written is readable");
    assert_eq!(read, entry);
}

#[test]
fn devices_come_back_from_a_snapshot_with_what_their_probes_found() {
    let mut state = ClusterState::default();
    let recorded = findings().into_iter().map(Some).chain([None]);
    for (place, health) in recorded.enumerate() {
        let device = Device {
            spec: spec(),
            generation: Generation(7),
            probed: health.map(|health| Probed {
                health,
                since_unix_ms: 1_763_730_000_123,
            }),
            distrusted: (place == 1).then_some(OrderId(12)),
        };
        state
            .devices
            .insert(DeviceName(format!("bmc{place}")), device);
    }
    let read = decode_state(&encode_state(&state)).expect("what was written is readable");
    assert_eq!(read, state);
}

#[test]
fn what_follows_a_fence_comes_back_from_the_log() {
    let spec = NodeSpec {
        after_fence: AfterFence::PowerOn,
        domains: spec().domains,
        ..NodeSpec::default()
    };
    let put = Command::Put {
        object: ObjectSpec::Node(NodeName::from("n1"), spec),
        expected: None,
        request: RequestId::default(),
    };
    let intent = |cause| Command::FenceIntent {
        node: NodeId(1),
        incarnation: Incarnation(9),
        action: FenceAction::On,
        cause,
        request: RequestId::default(),
        first: None,
    };
    let by_hand = FenceCause::Administrator {
        by: "alice".to_owned(),
        reason: "a test".to_owned(),
    };
    let entry = Entry {
        stamp_unix_ms: 12,
        commands: vec![put, intent(FenceCause::AfterFence), intent(by_hand)],
    };
    let read = decode_entry(&encode_entry(&entry)).expect("what was written is readable");
    assert_eq!(read, entry);
}

fn racks() -> FenceTopologySpec {
    let level = |devices: &[&str], timeout, delay| FenceLevel {
        devices: devices.iter().map(|name| DeviceName::from(*name)).collect(),
        timeout,
        delay,
    };
    FenceTopologySpec {
        nodes: [NodeName::from("n1"), NodeName::from("n2")].into(),
        levels: vec![
            level(&["bmc"], None, Duration::from_millis(1_500)),
            level(
                &["pdu-b", "pdu-a"],
                Some(Duration::from_secs(15)),
                Duration::ZERO,
            ),
        ],
    }
}

#[test]
fn topologies_come_back_from_the_log_and_from_a_snapshot() {
    let name = TopologyName::from("racks");
    let entry = Entry {
        stamp_unix_ms: 12,
        commands: vec![
            Command::Put {
                object: ObjectSpec::Topology(name.clone(), racks()),
                expected: Some(Generation(0)),
                request: RequestId([7; 16]),
            },
            Command::Delete {
                object: ObjectRef::Topology(name.clone()),
                expected: None,
                request: RequestId([8; 16]),
            },
        ],
    };
    let read = decode_entry(&encode_entry(&entry)).expect("what was written is readable");
    assert_eq!(read, entry);
    let mut state = ClusterState::default();
    let topology = Topology {
        spec: racks(),
        generation: Generation(9),
        since_unix_ms: 1_763_730_000_123,
    };
    state.topologies.insert(name, topology);
    let read = decode_state(&encode_state(&state)).expect("what was written is readable");
    assert_eq!(read, state);
}

#[test]
fn the_timing_comes_back_from_the_log_and_from_a_snapshot() {
    use haft_engine::clock::Timing;
    use haft_engine::timing::{ClusterTiming, Interval, Terms};
    let mut odd = Timing::NORMAL;
    for (place, interval) in (1..).zip(Interval::ALL) {
        interval.put(&mut odd, Duration::from_nanos(1_000_000_007 * place));
    }
    odd.rho_ppm = 777;
    let set = |expected| Command::SetTiming {
        timing: odd,
        expected,
        request: RequestId([9; 16]),
    };
    let retimed = Command::Retimed {
        node: NodeId(3),
        incarnation: Incarnation(40),
        generation: Generation(55),
    };
    let entry = Entry {
        stamp_unix_ms: 12,
        commands: vec![set(None), set(Some(Generation(0))), retimed],
    };
    let read = decode_entry(&encode_entry(&entry)).expect("what was written is readable");
    assert_eq!(read, entry);
    let in_force = ClusterTiming {
        generation: Generation(55),
        timing: odd,
    };
    let mut terms = Terms::admitted(&in_force, haft_engine::gate::GateKind::Timed);
    terms.offer(&Timing::RELAXED);
    let mut state = ClusterState {
        timing: Some(in_force),
        ..ClusterState::default()
    };
    let read = decode_state(&encode_state(&state)).expect("what was written is readable");
    assert_eq!(read, state);
    state.timing = None;
    let read = decode_state(&encode_state(&state)).expect("what was written is readable");
    assert_eq!(read, state, "a state from before the log held one");
    let form = timing::terms_into(&terms);
    assert_eq!(timing::terms_from(form).expect("readable"), terms);
}

#[test]
fn what_machines_say_of_themselves_comes_back_from_the_log() {
    let namespace = |inode| haft_engine::place::Namespace { device: 4, inode };
    let witness = |speaker| Witness {
        by: NodeId(3),
        speaker,
        boot: BootId([7; 16]),
    };
    let admit = |place| Command::Admit {
        node: NodeId(1),
        boot: BootId([7; 16]),
        previous: Incarnation(9),
        probe: haft_engine::command::Probe::Clean,
        place,
    };
    let stated = Place {
        machine: Some([5; 16]),
        network: Some(namespace(17)),
        mounts: Some(namespace(18)),
        gate: haft_engine::gate::GateKind::Kernel,
    };
    let verdict = |lie| Command::FenceVerdict {
        order: OrderId(12),
        attempt: 2,
        verdict: Verdict::Confirmed,
        detail: "off".to_owned(),
        lie,
    };
    let lie = Lie {
        witness: witness(Speaker::Coordinator),
        devices: vec![DeviceName::from("bmc")],
    };
    let word = |boot| Command::ConfirmOff {
        node: NodeId(1),
        incarnation: Incarnation(9),
        boot,
        by: "alice".to_owned(),
        reason: "unplugged".to_owned(),
        witnesses: vec![witness(Speaker::Agent)],
        overruled: vec![NodeId(3)],
        request: RequestId::default(),
    };
    let entry = Entry {
        stamp_unix_ms: 12,
        commands: vec![
            admit(stated),
            admit(Place::default()),
            verdict(Some(lie)),
            verdict(None),
            word(Some(BootId([7; 16]))),
            word(None),
            Command::Witnessed {
                node: NodeId(1),
                incarnation: Incarnation(9),
                witness: witness(Speaker::Agent),
            },
            Command::FenceTryOver {
                order: OrderId(12),
                attempt: 1,
                waited: Duration::from_secs(61),
            },
        ],
    };
    let read = decode_entry(&encode_entry(&entry)).expect("what was written is readable");
    assert_eq!(read, entry);
}

#[test]
fn superseded_tries_come_back_from_a_snapshot() {
    let order = FenceOrder {
        id: OrderId(12),
        node: NodeId(1),
        incarnation: Incarnation(9),
        action: FenceAction::Off,
        cause: FenceCause::Witnessed,
        phase: OrderPhase::Confirmed,
        attempts: 2,
        detail: "off".to_owned(),
        since_unix_ms: 7,
        level: 2,
        superseded: vec![Superseded {
            attempt: 1,
            executor: NodeId(3),
            deadline: Duration::from_secs(60),
        }],
    };
    let mut state = ClusterState::default();
    state.orders.insert(order.id, order);
    let read = decode_state(&encode_state(&state)).expect("what was written is readable");
    assert_eq!(read, state);
}
