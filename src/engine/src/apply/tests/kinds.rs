//! A refusal's kind: who asks, then what is named, then what is asked, then how the cluster stands.

use super::*;
use crate::machine::{Foreign, Obstacle};
use crate::spec::Scheduling;

fn move_to(name: &str) -> Command {
    Command::Move {
        resource: ResourceId::vip("web"),
        to: NodeName::from(name),
        request: RequestId::default(),
    }
}

fn scheduled(cluster: &mut Cluster, place: usize, scheduling: Scheduling) {
    let name = cluster.state.nodes[&cluster.ids[place]].name.clone();
    let spec = NodeSpec {
        scheduling,
        ..NodeSpec::default()
    };
    let put = Command::Put {
        object: ObjectSpec::Node(name, spec),
        expected: None,
        request: RequestId::default(),
    };
    assert!(matches!(cluster.apply(put), Outcome::Written(_)));
}

#[test]
fn a_move_that_the_cluster_as_it_stands_forbids_is_no_mistake_in_what_was_typed() {
    let mut cluster = Cluster::new();
    let id = cluster.put("web", Isolation::Lease);
    cluster.active(&id, 0, Attestation::Intact);
    assert_eq!(
        cluster.refused(move_to("n9"), "NoSuchNode"),
        RefusalKind::NotFound
    );
    scheduled(&mut cluster, 1, Scheduling::Cordoned);
    assert_eq!(
        cluster.refused(move_to("n2"), "NodeNotSchedulable"),
        RefusalKind::Unsafe
    );
    scheduled(&mut cluster, 1, Scheduling::Open);
    let without_carrier = Command::Obstructed {
        node: cluster.ids[1],
        changes: vec![(id, Some(Obstacle::NoCarrier))],
    };
    assert_eq!(cluster.apply(without_carrier), Outcome::Done);
    assert_eq!(
        cluster.refused(move_to("n2"), "NodeCannotCarry"),
        RefusalKind::Unsafe
    );
    cluster.close(2);
    assert_eq!(
        cluster.refused(move_to("n3"), "NodeNotOnline"),
        RefusalKind::Unsafe
    );
}

#[test]
fn an_address_that_a_machine_has_is_refused_as_one_that_somebody_put_there_is() {
    let mut cluster = Cluster::new();
    let put = wanted("web", Isolation::Lease, "192.0.2.2");
    assert_eq!(cluster.refused(put, "AddressIsNode"), RefusalKind::Unsafe);
    let id = cluster.put("web", Isolation::Lease);
    let copy = Obstacle::Foreign(Foreign {
        link: "eth1".to_owned(),
        prefix: 24,
    });
    let foreign = Command::Obstructed {
        node: cluster.ids[1],
        changes: vec![(id.clone(), Some(copy))],
    };
    assert_eq!(cluster.apply(foreign), Outcome::Done);
    let grant = cluster.granting(&id, 1);
    assert_eq!(
        cluster.refused(grant, "ForeignAddress"),
        RefusalKind::Unsafe
    );
}

#[test]
fn what_is_named_and_does_not_exist_is_not_found_wherever_it_is_named() {
    let mut cluster = Cluster::new();
    let Command::Put { object, .. } = wanted("web", Isolation::Lease, "198.51.100.1") else {
        panic!("a put");
    };
    let ObjectSpec::Resource(id, ResourceSpec::VirtualIp(vip)) = object else {
        panic!("a virtual ip");
    };
    let preferring = Command::Put {
        object: ObjectSpec::Resource(
            id,
            ResourceSpec::VirtualIp(VirtualIpSpec {
                preference: vec![NodeName::from("n9")],
                ..vip
            }),
        ),
        expected: None,
        request: RequestId::default(),
    };
    assert_eq!(
        cluster.refused(preferring, "NoSuchNode"),
        RefusalKind::NotFound
    );
}

#[test]
fn a_token_that_admits_nobody_is_a_matter_of_who_may() {
    let mut cluster = Cluster::new();
    let join = Command::RegisterNode {
        node: registration(4),
        token_sha256: [2; 32],
    };
    assert_eq!(cluster.refused(join, "TokenVoid"), RefusalKind::Denied);
}
