//! The documented shapes, and that what is printed can be applied again.

use super::*;
use crate::output::Headers;

fn vip() -> Object {
    Object::VirtualIp(v1::VirtualIp {
        metadata: Some(v1::ObjectMeta {
            name: "web".to_owned(),
            resource_version: "12".to_owned(),
            ..Default::default()
        }),
        spec: Some(v1::VirtualIpSpec {
            address: "10.77.0.100".to_owned(),
            interface: "eth0".to_owned(),
            isolation: v1::Isolation::Stonith.into(),
            preference: vec!["n1".to_owned(), "n2".to_owned()],
            failback: v1::Failback::Never.into(),
            allow_unfenced: true,
        }),
        status: Some(v1::VirtualIpStatus {
            state: "Active".to_owned(),
            owner: "n1".to_owned(),
            token: "0.34".to_owned(),
            since_unix_ms: 1_763_730_000_123,
            granted_isolation: v1::Isolation::Lease.into(),
            evidence: Some(v1::Evidence {
                proof: "Released".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
    })
}

fn device() -> Object {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Object::FenceDevice(v1::FenceDevice {
        metadata: Some(v1::ObjectMeta {
            name: "bmc1".to_owned(),
            resource_version: "3".to_owned(),
            ..Default::default()
        }),
        spec: Some(v1::FenceDeviceSpec {
            host_argument: "plug".into(),
            agent: "fence_haft_ipmi".to_owned(),
            observes: v1::Observes::Power.into(),
            delay_ms: 0,
            targets: [pair("n1", "")].into_iter().collect(),
            parameters: [pair("ip", "10.0.0.9"), pair("ipport", "0623")]
                .into_iter()
                .collect(),
            secret_files: [pair("password", "/etc/haft/secrets/bmc1")]
                .into_iter()
                .collect(),
            deadline_ms: 1_500,
            level: 1,
            domains: Some(v1::Domains {
                power: "feed-a".to_owned(),
                network: String::new(),
            }),
        }),
        status: Some(v1::FenceDeviceStatus::default()),
    })
}

fn topology() -> Object {
    Object::FenceTopology(v1::FenceTopology {
        metadata: Some(v1::ObjectMeta {
            name: "racks".to_owned(),
            resource_version: "9".to_owned(),
            ..Default::default()
        }),
        spec: Some(v1::FenceTopologySpec {
            nodes: vec!["n1".to_owned(), "n2".to_owned()],
            levels: vec![
                v1::FenceLevel {
                    devices: vec!["bmc".to_owned()],
                    timeout_ms: None,
                    delay_ms: 1_500,
                },
                v1::FenceLevel {
                    devices: vec!["pdu-b".to_owned(), "pdu-a".to_owned()],
                    timeout_ms: Some(15_000),
                    delay_ms: 0,
                },
            ],
        }),
        status: Some(v1::FenceTopologyStatus {
            message: String::new(),
            since_unix_ms: 1_763_730_000_123,
        }),
    })
}

#[test]
fn a_fence_topology_has_the_documented_shape_and_one_row() {
    let expected = json!({
        "apiVersion": "haft/v1",
        "kind": "FenceTopology",
        "metadata": { "name": "racks", "labels": {}, "resourceVersion": "9" },
        "spec": {
            "nodes": ["n1", "n2"],
            "levels": [
                { "devices": ["bmc"], "delay": "1500ms" },
                { "devices": ["pdu-b", "pdu-a"], "delay": "0s", "timeout": "15s" },
            ],
        },
        "status": { "since": "2025-11-21T13:00:00.123Z", "message": "" },
    });
    assert_eq!(topology().json(), expected);
    let wide = Output {
        form: Form::Wide,
        headers: Headers::Shown,
    };
    let text = table(Kind::FenceTopology, &[topology()], wide);
    let words: Vec<&str> = text.split_whitespace().collect();
    let headers = ["NAME", "NODES", "LEVELS", "AGE", "TIMEOUTS", "MESSAGE"];
    assert_eq!(words[..6], headers);
    assert_eq!(words[6..11], ["racks", "n1,n2", "bmc", ">", "pdu-b+pdu-a"]);
    assert_eq!(words[12..], ["sum,15s", "-"]);
}

#[test]
fn what_get_prints_is_a_manifest_that_can_be_applied() {
    for object in [vip(), device(), topology()] {
        for text in [output::yaml(&object.json()), output::json(&object.json())] {
            let parsed = haft_config::manifest::parse("got", &text)
                .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
            assert_eq!(parsed.len(), 1);
            assert!(parsed[0].resource_version.is_some());
        }
    }
    let text = output::yaml_documents(&[vip().json(), device().json()]);
    assert_eq!(
        haft_config::manifest::parse("got", &text).map(|all| all.len()),
        Ok(2)
    );
}

#[test]
fn a_virtual_ip_has_the_documented_shape() {
    let expected = json!({
        "apiVersion": "haft/v1",
        "kind": "VirtualIP",
        "metadata": { "name": "web", "labels": {}, "resourceVersion": "12" },
        "spec": {
            "address": "10.77.0.100", "interface": "eth0", "isolation": "stonith",
            "preference": ["n1", "n2"], "failback": "never", "allowUnfenced": true,
        },
        "status": {
            "state": "Active", "owner": "n1", "token": "0.34", "incarnation": 0, "grantedIsolation": "lease",
            "since": "2025-11-21T13:00:00.123Z", "movingTo": "", "deleting": false, "message": "",
            "evidence": { "token": "", "node": "", "incarnation": 0, "entry": 0, "proof": "Released", "detail": "" },
        },
    });
    assert_eq!(vip().json(), expected);
}

#[test]
fn an_unfenced_address_and_a_loosened_isolation_are_shown_loudly() {
    let output = Output {
        form: Form::Table,
        headers: Headers::Hidden,
    };
    let text = table(Kind::VirtualIp, &[vip()], output);
    assert!(text.contains("lease (next: stonith) UNFENCED"), "{text}");
}

#[test]
fn every_name_of_a_kind_is_understood() {
    let typed = |subject: &str, name: Option<&str>| Subject {
        subject: subject.to_owned(),
        name: name.map(str::to_owned),
    };
    let rows = [
        (typed("vip/web", None), Kind::VirtualIp, Some("web")),
        (typed("VirtualIPs", None), Kind::VirtualIp, None),
        (typed("fd", Some("bmc1")), Kind::FenceDevice, Some("bmc1")),
        (typed("ft/racks", None), Kind::FenceTopology, Some("racks")),
        (typed("fencetopologies", None), Kind::FenceTopology, None),
        (typed("nodes", None), Kind::Node, None),
    ];
    for (subject, kind, name) in rows {
        assert_eq!(
            parse_subject(&subject),
            Ok((kind, name.map(str::to_owned))),
            "{subject:?}"
        );
    }
    for bad in [
        typed("pod/x", None),
        typed("vip/", None),
        typed("vip/a", Some("b")),
    ] {
        assert_eq!(
            parse_subject(&bad).map_err(|failure| failure.exit),
            Err(Exit::Usage),
            "{bad:?}"
        );
    }
}

#[test]
fn times_have_all_their_milliseconds() {
    assert_eq!(timestamp(1_763_730_000_280), "2025-11-21T13:00:00.280Z");
    assert_eq!(timestamp(1_763_730_000_000), "2025-11-21T13:00:00.000Z");
    assert_eq!(timestamp(0), "");
}

/// Every key of a JSON value, however deep.
fn keys(value: &Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_key_of_every_kind_is_documented() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let page = std::fs::read_to_string(page).unwrap();
    let node = Object::Node(v1::Node::default(), vec![v1::FenceOrder::default()]);
    let mut found = std::collections::BTreeSet::new();
    for object in [node, vip(), topology(), device()] {
        let mut value = object.json();
        // What administrators name themselves.
        for free in ["targets", "parameters", "secretFiles"] {
            if let Some(map) = value["spec"].get_mut(free) {
                *map = json!({});
            }
        }
        keys(&value, &mut found);
    }
    found
        .retain(|key| !page.contains(&format!("`{key}`")) && !page.contains(&format!("\"{key}\"")));
    assert!(found.is_empty(), "docs/cli.md says nothing of {found:?}");
}
