//! Quarantine never takes the last nodes that could run something (hazards R28, rule R5a).

use crate::world::World;
use haft_engine::command::Command;
use haft_engine::ids::RequestId;
use haft_engine::spec::{Isolation, NodeSpec, ObjectSpec, Scheduling};

/// Every node is fenced three times within the hour, one after the other, and comes back each time.
fn storm(world: &mut World) -> usize {
    let mut boot = 2;
    for id in world.ids.clone() {
        for _ in 0..3 {
            world.fence(id);
            boot += 1;
            world.admit(id, boot);
        }
    }
    let nodes = world.state.nodes.values();
    nodes.filter(|node| node.quarantined).count()
}

#[test]
fn a_storm_of_fences_does_not_quarantine_every_node() {
    for (nodes, voters, most) in [(3, 3, 1), (4, 3, 1), (5, 5, 1), (9, 3, 1), (9, 7, 2)] {
        let mut world = World::new(nodes, voters);
        for place in 1..=nodes {
            world.device(&format!("bmc{place}"), &format!("n{place}"));
        }
        world.vip(0, Isolation::Stonith);
        assert_eq!(storm(&mut world), most, "of {nodes} nodes, {voters} voting");
        let spared = world
            .state
            .events
            .iter()
            .any(|event| event.reason == "QuarantineSpared");
        assert!(spared, "people are told");
    }
}

#[test]
fn the_last_node_that_can_run_a_resource_is_not_quarantined() {
    let mut world = World::new(5, 5);
    for place in 1..=5 {
        world.device(&format!("bmc{place}"), &format!("n{place}"));
    }
    world.vip(0, Isolation::Stonith);
    let second = world.ids[1];
    // An administrator drains all but n2.
    for id in world.ids.clone().into_iter().filter(|id| *id != second) {
        let name = world.state.nodes[&id].name.clone();
        let spec = NodeSpec {
            scheduling: Scheduling::Standby,
            ..NodeSpec::default()
        };
        world.ok(Command::Put {
            object: ObjectSpec::Node(name, spec),
            expected: None,
            request: RequestId::default(),
        });
    }
    for boot in 2..5 {
        world.fence(second);
        world.admit(second, boot);
    }
    assert!(!world.state.nodes[&second].quarantined);
}
