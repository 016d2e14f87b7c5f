//! What good manifests become. The refusals are in tests/cli, as golden texts.

use super::*;
use haft_engine::spec::{
    Failback, FenceLevel, FenceTopologySpec, Isolation, Observes, Scheduling, Unfenced,
};
use std::time::Duration;

const ALL: &str = r#"
apiVersion: haft/v1
kind: VirtualIP
metadata: { name: db, resourceVersion: "17" }
spec:
  address: "fd00::100"
  interface: eth0.7
  isolation: stonith
  preference: [n2, n1]
  failback: auto
  allowUnfenced: true
status: { state: Active }
---
apiVersion: haft/v1
kind: FenceDevice
metadata: { name: bmc1 }
spec:
  agent: fence_haft_ipmi
  observes: power
  targets: { n1: , n2: 7 }
  parameters: { ip: 10.0.0.9, ipport: 0623, lanplus: true }
  secretFiles: { password: /etc/haft/secrets/bmc1 }
  deadline: 1.5s
  level: 2
---
---
apiVersion: haft/v1
kind: Node
metadata: { name: n1, labels: { rack: a } }
spec: { scheduling: standby }
"#;

fn parsed() -> Vec<Manifest> {
    parse("all.yaml", ALL).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_virtual_ip_is_read_whole_and_its_status_is_left_alone() {
    let all = parsed();
    assert_eq!(all[0].resource_version.as_deref(), Some("17"));
    let ObjectSpec::Resource(id, ResourceSpec::VirtualIp(spec)) = &all[0].spec else {
        panic!("{:?}", all[0]);
    };
    assert_eq!(id.to_string(), "vip/db");
    assert!(spec.address.is_ipv6());
    assert_eq!(
        (spec.isolation, spec.failback, spec.unfenced),
        (Isolation::Stonith, Failback::Auto, Unfenced::Allowed)
    );
    assert_eq!(
        spec.preference,
        [NodeName::from("n2"), NodeName::from("n1")]
    );
}

#[test]
fn a_fence_device_keeps_its_parameters_as_they_are_written() {
    let all = parsed();
    let ObjectSpec::Device(name, spec) = &all[1].spec else {
        panic!("{:?}", all[1]);
    };
    assert_eq!((name.as_str(), spec.observes), ("bmc1", Observes::Power));
    assert_eq!(spec.targets[&NodeName::from("n1")], "");
    assert_eq!(spec.targets[&NodeName::from("n2")], "7");
    assert_eq!(spec.parameters["ipport"], "0623");
    assert_eq!(spec.parameters["lanplus"], "true");
    assert_eq!(spec.secret_files["password"], "/etc/haft/secrets/bmc1");
    assert_eq!(
        (spec.deadline, spec.level),
        (Duration::from_millis(1_500), 2)
    );
}

#[test]
fn a_node_keeps_its_labels_and_an_empty_document_is_nothing() {
    let all = parsed();
    assert_eq!(all.len(), 3);
    let ObjectSpec::Node(name, spec) = &all[2].spec else {
        panic!("{:?}", all[2]);
    };
    assert_eq!(
        (name.as_str(), spec.scheduling),
        ("n1", Scheduling::Standby)
    );
    assert_eq!(spec.labels["rack"], "a");
}

#[test]
fn what_is_left_out_is_the_safe_default() {
    let text = "apiVersion: haft/v1\nkind: VirtualIP\nmetadata: { name: web }\nspec: { address: 10.0.0.1, interface: eth0 }\n";
    let all = parse("web.yaml", text).unwrap();
    let ObjectSpec::Resource(_, ResourceSpec::VirtualIp(spec)) = &all[0].spec else {
        panic!("{:?}", all[0]);
    };
    assert_eq!(
        (spec.isolation, spec.failback, spec.unfenced),
        (Isolation::Lease, Failback::Never, Unfenced::Refused)
    );
}

#[test]
fn json_is_a_manifest_too() {
    let text = r#"{"apiVersion":"haft/v1","kind":"Node","metadata":{"name":"n1"},"spec":{"scheduling":"cordoned"}}"#;
    assert_eq!(parse("node.json", text).unwrap().len(), 1);
}

#[test]
fn a_fence_topology_keeps_the_order_of_its_levels_and_of_their_devices() {
    let text = "apiVersion: haft/v1\nkind: FenceTopology\nmetadata: { name: racks }\nspec:\n  nodes: [n2, n1]\n  \
                levels:\n    - devices: [bmc]\n      delay: 1.5s\n    - { devices: [pdu-b, pdu-a], timeout: 15s }\n";
    let all = parse("racks.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    let ObjectSpec::Topology(name, spec) = &all[0].spec else {
        panic!("{:?}", all[0]);
    };
    let level = |devices: &[&str], timeout, delay| FenceLevel {
        devices: devices.iter().map(|name| DeviceName::from(*name)).collect(),
        timeout,
        delay,
    };
    let expected = FenceTopologySpec {
        nodes: [NodeName::from("n1"), NodeName::from("n2")].into(),
        levels: vec![
            level(&["bmc"], None, Duration::from_millis(1_500)),
            level(
                &["pdu-b", "pdu-a"],
                Some(Duration::from_secs(15)),
                Duration::ZERO,
            ),
        ],
    };
    assert_eq!((name.as_str(), spec), ("racks", &expected));
}
