//! A node that beats and cannot be told anything is granted nothing.

use crate::world::{FAST, MS, T0, World, commands};
use haft_engine::command::{Command, RelinquishCause};
use haft_engine::gate::GateKind;
use haft_engine::ids::NodeName;
use haft_engine::leader::Input;
use haft_engine::spec::Isolation;
use haft_engine::state::{Ending, Session};
use haft_engine::why::{Seen, Subject, why_as_seen};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn a_node_that_beats_but_has_no_stream_to_the_leader_is_granted_nothing() {
    let mut world = World::new(3, 3);
    let mut leader = world.leader();
    let [n1, n2, n3] = world.ids[..] else {
        panic!("three nodes");
    };
    let held = world.vip(0, Isolation::Lease);
    world.grant(&held, n1);
    world.activate(&held);
    let held = world.vip(1, Isolation::Lease);
    world.grant(&held, n2);
    world.activate(&held);
    // n3 holds least, so it would be next.
    world.vip(2, Isolation::Lease);
    leader.set_streams(BTreeSet::from([n1, n2]));
    let now = T0 + FAST.election_max;
    let proposed = commands(&world.step(&mut leader, now, Input::Tick));
    let [Command::Grant { node, .. }] = proposed[..] else {
        panic!("{proposed:?}");
    };
    assert_ne!(node, n3);
}

#[test]
fn while_nobody_can_be_told_nothing_is_granted_and_the_first_stream_ends_that() {
    let mut world = World::new(3, 3);
    let mut leader = world.leader();
    world.vip(0, Isolation::Lease);
    leader.set_streams(BTreeSet::new());
    let now = T0 + FAST.election_max;
    let all = world.run(&mut leader, now, (Duration::from_secs(60), FAST.beat));
    assert!(all.is_empty(), "{all:?}");
    leader.set_streams(BTreeSet::from([world.ids[2]]));
    let now = now + Duration::from_secs(60);
    let proposed = commands(&world.step(&mut leader, now, Input::Tick));
    assert!(matches!(proposed[..], [Command::Grant { node, .. }] if node == world.ids[2]));
}

#[test]
fn right_after_a_change_of_leader_an_agent_is_still_on_its_way() {
    let mut world = World::new(3, 3);
    let mut leader = world.leader();
    world.vip(0, Isolation::Lease);
    leader.set_streams(BTreeSet::new());
    // Beyond the patience with a first choice, within an election time.
    let now = T0 + FAST.election_max.saturating_sub(MS);
    let proposed = commands(&world.step(&mut leader, now, Input::Tick));
    assert!(
        matches!(proposed[..], [Command::Grant { .. }]),
        "{proposed:?}"
    );
}

#[test]
fn a_move_waits_for_its_target_to_be_told() {
    let mut world = World::new(3, 3);
    let mut leader = world.leader();
    let [n1, n2, n3] = world.ids[..] else {
        panic!("three nodes");
    };
    let vip = world.vip(0, Isolation::Lease);
    world.grant(&vip, n2);
    world.activate(&vip);
    world.ok(Command::Move {
        resource: vip.clone(),
        to: world.state.nodes[&n3].name.clone(),
        request: haft_engine::ids::RequestId::default(),
    });
    leader.set_streams(BTreeSet::from([n1, n2]));
    let now = T0 + FAST.election_max;
    assert!(commands(&world.step(&mut leader, now, Input::Tick)).is_empty());
    leader.set_streams(BTreeSet::from([n1, n2, n3]));
    let proposed = commands(&world.step(&mut leader, now + MS, Input::Tick));
    let cause = RelinquishCause::Moved;
    assert!(
        matches!(&proposed[..], [Command::Relinquish { cause: said, .. }] if *said == cause),
        "{proposed:?}"
    );
}

#[test]
fn why_names_a_node_that_beats_and_has_no_stream() {
    let mut world = World::new(3, 3);
    let vip = world.vip(0, Isolation::Lease);
    let streams = Some(BTreeSet::from([world.ids[0], world.ids[1]]));
    let says = |seen: &Seen, subject: Subject| {
        let report = why_as_seen(&world.state, seen, &subject);
        report.expect("it exists").to_string()
    };
    let words = "n3 beats, but has no stream to the leader";
    let seen = Seen { streams };
    for subject in [
        Subject::Resource(vip),
        Subject::Node(NodeName("n3".to_owned())),
    ] {
        let told = says(&seen, subject.clone());
        assert!(told.contains(words), "{told}");
        let told = says(&Seen::default(), subject);
        assert!(!told.contains("stream"), "not known here: {told}");
    }
    let other = says(&seen, Subject::Node(NodeName("n2".to_owned())));
    assert!(!other.contains("stream"), "{other}");
}

#[test]
fn why_says_what_a_lost_machine_keeps_closed_behind_a_kernel_gate() {
    let mut world = World::new(3, 3);
    let n3 = world.ids[2];
    let incarnation = world.life(n3);
    for (gate, expected) in [(GateKind::Kernel, true), (GateKind::Timed, false)] {
        let node = world.state.nodes.get_mut(&n3).expect("it exists");
        node.place.gate = gate;
        node.session = Session::Ended {
            incarnation,
            ending: Ending::Expired,
        };
        let subject = Subject::Node(NodeName("n3".to_owned()));
        let report = why_as_seen(&world.state, &Seen::default(), &subject);
        let told = report.expect("it exists").to_string();
        assert_eq!(told.contains("passes nothing on"), expected, "{told}");
        assert_eq!(told.contains("haft-agent dismantle"), expected, "{told}");
    }
}
