//! What a good configuration becomes. The refusals are in tests/cli, as golden texts.

mod reference;

use super::*;
use haft_engine::clock::Timing;
use haft_engine::spec::{Isolation, ObjectSpec, ResourceSpec};
use std::time::Duration;

const SMALLEST: &str = "cluster: { name: demo }\nnodes:\n  - { name: n1, addresses: [10.77.1.1], coordinator: true }\n";

const FULL: &str = r#"
cluster: { name: demo }
timing: { failover: fast, address_life_ms: 3000 }
nodes:
  - { name: n1, addresses: [10.77.1.1, "fd00::1"], coordinator: true }
  - { name: n2, addresses: [10.77.1.2], coordinator: true }
  - { name: n3, addresses: [10.77.1.3], coordinator: true }
  - { name: n4, addresses: [10.77.1.4], coordinator: false }
data_dir: /srv/haft
ports: { api: 8400 }
fence: { agent_dirs: [/opt/agents], probe_every_ms: 1500 }
gate: { bpf_fs: /run/bpf }
sbd: { devices: [/dev/disk/by-id/a, /dev/disk/by-id/b, /dev/disk/by-id/c], start: always, io_timeout_ms: 1500 }
tls: { ca: /etc/haft/ca.pem, certificate: /etc/haft/node.pem, key: /etc/haft/node.key }
resources:
  - apiVersion: haft/v1
    kind: VirtualIP
    metadata: { name: web, labels: { tier: front } }
    spec: { address: 10.77.0.100, interface: eth0, preference: [n2, n1] }
"#;

#[test]
fn the_smallest_file_gets_every_default() {
    let config = Config::parse("haft.yaml", SMALLEST).unwrap();
    assert_eq!(config.timing, Timing::NORMAL);
    assert_eq!(
        config.ports,
        Ports {
            api: 7400,
            peer: 7401,
            beat: 7402
        }
    );
    assert_eq!(config.data_dir, Path::new(DEFAULT_DATA_DIR));
    assert_eq!(config.agent_dirs.len(), 2);
    assert_eq!(config.probe_every.as_secs(), 60);
    assert_eq!(config.tls, None);
    assert_eq!(config.sbd, None);
    assert_eq!(config.bpf_fs, None);
    assert!(config.resources.is_empty());
}

#[test]
fn a_full_file_is_read_whole() {
    let config = Config::parse("haft.yaml", FULL).unwrap();
    assert_eq!(config.timing.address_life, Duration::from_secs(3));
    assert_eq!(config.timing.ttl, Timing::FAST.ttl);
    assert_eq!(config.nodes[0].addresses.len(), 2);
    assert_eq!(config.coordinators().count(), 3);
    assert_eq!(config.nodes[3].role, NodeRole::AgentOnly);
    assert_eq!(config.ports.api, 8_400);
    assert_eq!(config.agent_dirs, [Path::new("/opt/agents")]);
    assert_eq!(config.probe_every.as_millis(), 1_500);
    assert_eq!(config.bpf_fs.as_deref(), Some(Path::new("/run/bpf")));
    assert!(config.tls.is_some());
    let sbd = config.sbd.unwrap();
    assert_eq!(sbd.devices.len(), 3);
    assert_eq!(sbd.devices[2], Path::new("/dev/disk/by-id/c"));
    assert_eq!(sbd.start, SbdStart::Always);
    assert_eq!(sbd.io_timeout, Duration::from_millis(1_500));
    let web = &config.resources[0];
    assert_eq!(web.labels["tier"], "front");
    let ObjectSpec::Resource(id, ResourceSpec::VirtualIp(spec)) = &web.spec else {
        panic!("{:?}", web.spec);
    };
    assert_eq!(
        (id.to_string().as_str(), spec.isolation),
        ("vip/web", Isolation::Lease)
    );
}

#[test]
fn nodes_are_coordinators_unless_the_file_says_which() {
    let nodes = |notes: [&str; 3]| {
        let line = |(at, note): (usize, &str)| {
            format!("  - {{ name: n{at}, addresses: [10.77.1.{at}]{note} }}\n")
        };
        let lines: String = notes
            .into_iter()
            .enumerate()
            .map(|(at, note)| line((at + 1, note)))
            .collect();
        let config = Config::parse(
            "haft.yaml",
            &format!("cluster: {{ name: demo }}\nnodes:\n{lines}"),
        )
        .unwrap();
        config
            .coordinators()
            .map(|node| node.name.0.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(nodes(["", "", ""]), ["n1", "n2", "n3"]);
    assert_eq!(nodes(["", ", coordinator: true", ""]), ["n2"]);
    assert_eq!(
        nodes([
            ", coordinator: true",
            ", coordinator: true",
            ", coordinator: true"
        ]),
        ["n1", "n2", "n3"]
    );
}

#[test]
fn the_same_file_serves_every_node_and_each_finds_itself() {
    let config = Config::parse("haft.yaml", FULL).unwrap();
    for name in ["n1", "n2", "n3", "n4"] {
        assert_eq!(config.local(Some(name)).unwrap().name.as_str(), name);
    }
    let missing = config.local(Some("n9")).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "the configuration has no node `n9`; it has n1, n2, n3, n4"
    );
    // This machine's own name is not in the file, or is one of its nodes.
    match config.local(None) {
        Ok(node) => assert!(config.node(&node.name).is_some()),
        Err(error) => assert!(matches!(error, NodeLookupError::HostnameUnknown { .. })),
    }
}

#[test]
fn timing_is_explained_even_when_the_rest_of_the_file_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("haft.yaml");
    std::fs::write(
        &path,
        "timing: { failover: relaxed, ttl_ms: 100 }\nnonsense: 1\n",
    )
    .unwrap();
    let request = Config::timing_request(&path).unwrap();
    assert_eq!(request.timing().unwrap().ttl, Duration::from_millis(100));
    assert!(Config::load(&path).is_err());
}

#[test]
fn no_cut_of_a_good_file_panics_or_passes_as_something_else() {
    let whole = Config::parse("haft.yaml", FULL).unwrap();
    for cut in (0..FULL.len()).filter(|cut| FULL.is_char_boundary(*cut)) {
        match Config::parse("haft.yaml", &FULL[..cut]) {
            Ok(config) => assert_eq!(config.cluster_name, whole.cluster_name, "cut at {cut}"),
            Err(problems) => assert!(!problems.list().is_empty(), "cut at {cut}"),
        }
    }
}

#[test]
fn an_sbd_section_with_disks_alone_starts_clean_and_waits_as_long_as_the_fields_tool() {
    let text = format!("{SMALLEST}sbd: {{ devices: [/dev/disk/by-id/a] }}\n");
    let sbd = Config::parse("haft.yaml", &text).unwrap().sbd.unwrap();
    assert_eq!(sbd.start, SbdStart::Clean);
    assert_eq!(sbd.io_timeout, DEFAULT_SBD_IO_TIMEOUT);
}

#[test]
fn a_file_of_another_kind_is_refused_with_a_hundred_problems_and_not_with_all() {
    // Told one by one, twenty thousand problems took a minute (found by fuzzing).
    let strange: String = (0..20_000).map(|n| format!("k{n}: 1\n")).collect();
    let problems = Config::parse("haft.yaml", &strange).unwrap_err();
    assert_eq!(problems.list().len(), 100);
    assert!(problems.to_string().contains("more is wrong"), "{problems}");
    let same = "apiVersion: haft/v1\nkind: VirtualIP\nmetadata: { name: n }\nspec: { address: 10.0.0.1, interface: e }\n---\n";
    let problems = crate::manifest::parse("m.yaml", &same.repeat(900)).unwrap_err();
    assert_eq!(problems.list().len(), 100);
}
