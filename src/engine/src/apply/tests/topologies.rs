//! Topologies: what is refused, versions, and what they demand of their devices.

use super::*;
use crate::levels::levels_of;

fn level(devices: &[&str]) -> FenceLevel {
    FenceLevel {
        devices: devices.iter().map(|name| DeviceName::from(*name)).collect(),
        timeout: None,
        delay: Duration::ZERO,
    }
}

fn racks(nodes: &[&str], levels: Vec<FenceLevel>) -> FenceTopologySpec {
    FenceTopologySpec {
        nodes: nodes.iter().map(|name| NodeName::from(*name)).collect(),
        levels,
    }
}

fn put_topology(name: &str, spec: FenceTopologySpec, expected: Option<u64>) -> Command {
    Command::Put {
        object: ObjectSpec::Topology(TopologyName::from(name), spec),
        expected: expected.map(Generation),
        request: RequestId::default(),
    }
}

fn delete(object: ObjectRef) -> Command {
    Command::Delete {
        object,
        expected: None,
        request: RequestId::default(),
    }
}

/// Three nodes and the device `bmc`, which targets the first two and waits two seconds.
fn with_device() -> Cluster {
    let mut cluster = Cluster::new();
    let spec = FenceDeviceSpec {
        delay: Duration::from_secs(2),
        ..device(&["n1", "n2"])
    };
    cluster.apply(put_device(spec));
    cluster
}

#[test]
fn topologies_that_cannot_isolate_their_nodes_are_refused_with_a_fix() {
    let mut cluster = with_device();
    let with = |change: fn(&mut FenceLevel)| {
        let mut level = level(&["bmc"]);
        change(&mut level);
        racks(&["n1"], vec![level])
    };
    let cases = [
        (racks(&[], vec![level(&["bmc"])]), "NoNodes"),
        (racks(&["n9"], vec![level(&["bmc"])]), "NoSuchNode"),
        (racks(&["n1"], vec![]), "BadLevel"),
        (racks(&["n1"], vec![level(&["bmc"]); 10]), "BadLevel"),
        (racks(&["n1"], vec![level(&[])]), "BadLevel"),
        (racks(&["n1"], vec![level(&["bmc"; 17])]), "BadLevel"),
        (
            racks(&["n1"], vec![level(&["bmc", "bmc"])]),
            "DuplicateDevice",
        ),
        (racks(&["n1"], vec![level(&["pdu"])]), "NoSuchDevice"),
        (
            racks(&["n1", "n3"], vec![level(&["bmc"])]),
            "DeviceDoesNotTarget",
        ),
        (
            with(|level| level.delay = Duration::from_secs(61)),
            "BadDelay",
        ),
        (
            with(|level| level.timeout = Some(Duration::ZERO)),
            "BadTimeout",
        ),
        (
            with(|level| level.timeout = Some(Duration::from_secs(601))),
            "BadTimeout",
        ),
        // Over before the device has waited its own two seconds.
        (
            with(|level| level.timeout = Some(Duration::from_secs(2))),
            "BadTimeout",
        ),
    ];
    for (spec, reason) in cases {
        let Outcome::Refused(refusal) = cluster.apply(put_topology("racks", spec, None)) else {
            panic!("{reason} was accepted");
        };
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        assert!(!refusal.fix.is_empty(), "{reason} has no fix");
    }
    let bad_name = put_topology("Bad Name", racks(&["n1"], vec![level(&["bmc"])]), None);
    cluster.refused(bad_name, "BadName");
    assert!(cluster.state.topologies.is_empty());
}

#[test]
fn a_node_is_in_at_most_one_topology_and_the_refusal_names_the_other() {
    let mut cluster = with_device();
    let spec = |nodes: &[&str]| racks(nodes, vec![level(&["bmc"])]);
    cluster.apply(put_topology("racks", spec(&["n1"]), None));
    let Outcome::Refused(refusal) = cluster.apply(put_topology("others", spec(&["n1"]), None))
    else {
        panic!("n1 is in two topologies");
    };
    assert_eq!(refusal.kind, RefusalKind::Exists);
    assert!(
        refusal.message.contains("fencetopology/racks"),
        "{}",
        refusal.message
    );
    cluster.apply(put_topology("racks", spec(&["n2"]), None));
    let moved = cluster.apply(put_topology("others", spec(&["n1"]), None));
    assert!(matches!(moved, Outcome::Written(_)));
}

#[test]
fn the_same_topology_again_is_no_change_and_versions_guard_it() {
    let mut cluster = with_device();
    let spec = racks(&["n1"], vec![level(&["bmc"])]);
    let first = cluster.apply(put_topology("racks", spec.clone(), Some(0)));
    let Outcome::Written(Generation(version)) = first else {
        panic!("{first:?}");
    };
    cluster.stamp = 9_000;
    let events = cluster.state.events.len();
    assert_eq!(
        cluster.apply(put_topology("racks", spec.clone(), None)),
        first
    );
    assert_eq!(cluster.state.events.len(), events);
    cluster.refused(
        put_topology("racks", spec.clone(), Some(0)),
        "AlreadyExists",
    );
    cluster.refused(
        put_topology("racks", spec, Some(version + 1)),
        "GenerationChanged",
    );
    let other = racks(&["n1", "n2"], vec![level(&["bmc"])]);
    let second = cluster.apply(put_topology("racks", other, Some(version)));
    assert!(matches!(second, Outcome::Written(Generation(newer)) if newer > version));
    let stands = &cluster.state.topologies[&TopologyName::from("racks")];
    assert_eq!(
        stands.since_unix_ms, 1_000,
        "an edit does not make it younger"
    );
}

#[test]
fn a_device_that_a_topology_names_stays_as_it_must_be() {
    let mut cluster = with_device();
    let timed = FenceLevel {
        timeout: Some(Duration::from_secs(4)),
        ..level(&["bmc"])
    };
    cluster.apply(put_topology(
        "racks",
        racks(&["n1", "n2"], vec![timed]),
        None,
    ));
    let gone = delete(ObjectRef::Device(DeviceName::from("bmc")));
    let kind = cluster.refused(gone.clone(), "DeviceInTopology");
    assert_eq!(kind, RefusalKind::Unsafe);
    cluster.refused(put_device(device(&["n1", "n3"])), "DeviceInTopology");
    let slow = FenceDeviceSpec {
        delay: Duration::from_secs(4),
        ..device(&["n1", "n2"])
    };
    cluster.refused(put_device(slow), "DeviceInTopology");
    let more = cluster.apply(put_device(device(&["n1", "n2", "n3"])));
    assert!(matches!(more, Outcome::Written(_)), "{more:?}");
    let topology = ObjectRef::Topology(TopologyName::from("racks"));
    assert_eq!(cluster.apply(delete(topology.clone())), Outcome::Done);
    cluster.refused(delete(topology), "NotFound");
    assert_eq!(cluster.apply(gone), Outcome::Done);
}

#[test]
fn a_level_takes_its_timeout_or_else_the_sum_of_what_it_waits_for() {
    let mut cluster = with_device();
    let waiting = FenceLevel {
        delay: Duration::from_secs(3),
        ..level(&["bmc"])
    };
    let timed = FenceLevel {
        timeout: Some(Duration::from_secs(20)),
        ..waiting.clone()
    };
    cluster.apply(put_topology(
        "racks",
        racks(&["n1"], vec![waiting, timed]),
        None,
    ));
    let totals = |cluster: &Cluster, node: &str| -> Vec<(u8, Duration)> {
        let levels = levels_of(&cluster.state, &NodeName::from(node));
        let total = levels
            .iter()
            .map(|level| (level.number, level.total(&cluster.state.devices)));
        total.collect()
    };
    let seconds = Duration::from_secs;
    assert_eq!(totals(&cluster, "n1"), [(1, seconds(10)), (2, seconds(20))]);
    assert_eq!(
        totals(&cluster, "n2"),
        [(1, seconds(7))],
        "by its own level"
    );
    let longest = FenceDeviceSpec {
        deadline: seconds(600),
        ..device(&["n1", "n2"])
    };
    cluster.apply(put_device(longest));
    assert_eq!(totals(&cluster, "n1")[0], (1, seconds(600)), "bounded");
}
