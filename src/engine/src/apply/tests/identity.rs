//! What a name, a reboot and a clean probe prove of the machine that held something (R3b; rules.md C2, core.md S6).

use super::*;
use crate::place::Namespace;

const HERE: Namespace = Namespace {
    device: 4,
    inode: 4_026_531_840,
};
const ELSEWHERE: Namespace = Namespace {
    device: 4,
    inode: 4_026_532_008,
};

fn at(machine: u8, network: Namespace) -> Place {
    Place {
        machine: Some([machine; 16]),
        network: Some(network),
        mounts: Some(HERE),
        ..Place::default()
    }
}

fn asks(cluster: &Cluster, boot: u8, place: Place) -> Command {
    Command::Admit {
        node: cluster.ids[1],
        boot: BootId([boot; 16]),
        previous: cluster.newest(1),
        probe: Probe::Clean,
        place,
    }
}

/// `n2` runs on machine 7, in the namespace here, and owns this.
fn owner(isolation: Isolation) -> (Cluster, ResourceId) {
    let mut cluster = Cluster::new();
    let admission = asks(&cluster, 1, at(7, HERE));
    assert!(matches!(cluster.apply(admission), Outcome::Admitted(_)));
    let id = cluster.put("db", isolation);
    cluster.active(&id, 1, Attestation::Intact);
    (cluster, id)
}

/// Its session ends, and nobody knows of its guard: time alone opens it later.
fn unguarded(cluster: &mut Cluster) {
    let closing = cluster.close(1);
    let ages = [0, 2].map(|by| StatedAge {
        guards: Attestation::Unknown,
        ..cluster.age(by, lengthened(TTL))
    });
    let expiry = cluster.expiry(1, closing, ages.to_vec());
    assert_eq!(cluster.apply(expiry), Outcome::Done);
}

#[test]
fn a_copy_of_the_disk_that_boots_does_not_open_what_the_original_held_under_stonith() {
    let (mut cluster, id) = owner(Isolation::Stonith);
    cluster.expire(1);
    // Everything was copied with it: the key, the machine's UUID. Only the boot is new.
    let copy = asks(&cluster, 2, at(7, HERE));
    let kind = cluster.refused(copy.clone(), "RebootProvesTooLittle");
    assert_eq!(kind, RefusalKind::Unsafe);
    assert!(matches!(
        cluster.state.resources[&id].ownership,
        Ownership::Orphaned(_)
    ));
    // Once the machine's own power device has seen it off, whoever has the key may begin a new life.
    let order = cluster.fence(1, FenceCause::Orphans);
    cluster.refused(copy.clone(), "FenceRunning");
    cluster.verdict(order, 1, Verdict::Unknown);
    cluster.refused(copy.clone(), "RebootProvesTooLittle");
    cluster.apply(Command::FenceAttempt {
        order,
        attempt: 2,
        executor: cluster.ids[0],
        level: 1,
        deadline: Duration::from_secs(5),
    });
    cluster.verdict(order, 2, Verdict::Confirmed);
    assert!(matches!(cluster.proof(&id), Some(Proof::Fenced { .. })));
    assert!(matches!(cluster.apply(copy), Outcome::Admitted(_)));
}

#[test]
fn a_reboot_opens_what_was_held_under_lease_on_the_same_machine_only() {
    let (mut cluster, id) = owner(Isolation::Lease);
    unguarded(&mut cluster);
    let disk_elsewhere = asks(&cluster, 2, at(8, HERE));
    cluster.refused(disk_elsewhere, "OtherMachine");
    let unsaid = asks(&cluster, 2, Place::default());
    cluster.refused(unsaid, "OtherMachine");
    // Namespaces are new with each boot.
    let same = asks(&cluster, 2, at(7, ELSEWHERE));
    assert!(matches!(cluster.apply(same), Outcome::Admitted(_)));
    assert!(matches!(cluster.proof(&id), Some(Proof::Rebooted { .. })));
}

#[test]
fn a_second_container_of_one_host_does_not_end_the_first_ones_life() {
    let (mut cluster, id) = owner(Isolation::Lease);
    // The identity was copied; the boot id is the host's, and there is nothing to find where it looks.
    let other = asks(&cluster, 1, at(7, ELSEWHERE));
    cluster.refused(other.clone(), "OtherNamespace");
    let unsaid = asks(
        &cluster,
        1,
        Place {
            network: None,
            ..at(7, HERE)
        },
    );
    cluster.refused(unsaid, "OtherNamespace");
    assert!(matches!(
        cluster.state.resources[&id].ownership,
        Ownership::Active(_)
    ));
    let restarted = asks(&cluster, 1, at(7, HERE));
    assert!(matches!(cluster.apply(restarted), Outcome::Admitted(_)));
    assert!(matches!(cluster.proof(&id), Some(Proof::ProbedClean)));
}

#[test]
fn a_clean_probe_elsewhere_does_not_open_what_an_ended_life_left() {
    let (mut cluster, id) = owner(Isolation::Stonith);
    cluster.expire(1);
    let other = asks(&cluster, 1, at(7, ELSEWHERE));
    cluster.refused(other, "OtherNamespace");
    assert!(matches!(
        cluster.state.resources[&id].ownership,
        Ownership::Orphaned(_)
    ));
}

#[test]
fn a_boot_that_an_older_epoch_recorded_is_compared_with_nothing() {
    let (mut cluster, id) = owner(Isolation::Lease);
    unguarded(&mut cluster);
    // As recovery will leave it.
    cluster.state.epoch = Epoch(2);
    let back = asks(&cluster, 2, at(7, HERE));
    cluster.refused(back, "BootOfOlderEpoch");
    assert!(matches!(
        cluster.state.resources[&id].ownership,
        Ownership::Orphaned(_)
    ));
}

#[test]
fn facts_that_changed_are_recorded_where_nothing_depends_on_them() {
    let mut cluster = Cluster::new();
    let first = asks(&cluster, 1, at(7, HERE));
    assert!(matches!(cluster.apply(first), Outcome::Admitted(_)));
    cluster.expire(1);
    let board = asks(&cluster, 2, at(8, HERE));
    assert!(matches!(cluster.apply(board), Outcome::Admitted(_)));
    assert_eq!(
        cluster.state.nodes[&cluster.ids[1]].place.machine,
        Some([8; 16])
    );
}

#[test]
fn a_machine_that_joins_under_a_name_that_was_deleted_inherits_no_device() {
    let mut cluster = Cluster::new();
    cluster.apply(put_device(device(&["n2", "n3"])));
    let topology = FenceTopologySpec {
        nodes: [NodeName::from("n3")].into(),
        levels: vec![FenceLevel {
            devices: vec![DeviceName::from("bmc")],
            timeout: None,
            delay: Duration::ZERO,
        }],
    };
    cluster.apply(Command::Put {
        object: ObjectSpec::Topology(TopologyName::from("third"), topology),
        expected: None,
        request: RequestId::default(),
    });
    cluster.vote(&[&[0, 1]]);
    cluster.expire(2);
    let gone = cluster.apply(Command::Delete {
        object: ObjectRef::Node(NodeName::from("n3")),
        expected: None,
        request: RequestId::default(),
    });
    assert_eq!(gone, Outcome::Done);
    assert!(cluster.state.topologies.is_empty());
    let targets = &cluster.state.devices[&DeviceName::from("bmc")].spec.targets;
    assert_eq!(targets.keys().collect::<Vec<_>>(), [&NodeName::from("n2")]);
    let joined = cluster.join(3);
    assert!(matches!(joined, Outcome::Registered(_)), "{joined:?}");
    let name = NodeName::from("n3");
    assert!(crate::levels::levels_of(&cluster.state, &name).is_empty());
    cluster.apply(put_device(device(&["n2", "n3"])));
    assert_eq!(crate::levels::levels_of(&cluster.state, &name).len(), 1);
}
