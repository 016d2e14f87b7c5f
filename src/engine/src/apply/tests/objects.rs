//! Joining, requests, versions, and what an administrator may write.

use super::*;

#[test]
fn a_request_that_comes_twice_has_one_effect() {
    let mut cluster = Cluster::new();
    let request = RequestId([5; 16]);
    let command = |address: &str| match wanted("web", Isolation::Lease, address) {
        Command::Put {
            object, expected, ..
        } => Command::Put {
            object,
            expected,
            request,
        },
        other => other,
    };
    let first = cluster.apply(command("198.51.100.1"));
    assert_eq!(cluster.apply(command("198.51.100.1")), first);
    cluster.refused(command("198.51.100.2"), "RequestIdReused");
    for number in 0..u32::try_from(REQUESTS_MAX).unwrap() + 8 {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let Command::Put {
            object, expected, ..
        } = command("198.51.100.1")
        else {
            panic!("a put");
        };
        cluster.apply(Command::Put {
            object,
            expected,
            request: RequestId(id),
        });
    }
    assert_eq!(cluster.state.requests.len(), REQUESTS_MAX);
}

#[test]
fn a_join_token_admits_one_node_once_and_in_time() {
    let mut cluster = Cluster::new();
    let again = Command::RegisterNode {
        node: registration(4),
        token_sha256: [2; 32],
    };
    cluster.refused(again.clone(), "TokenVoid");
    let mint = |name: &str, expires_unix_ms| Command::MintJoinToken {
        sha256: [2; 32],
        node: NodeName::from(name),
        expires_unix_ms,
        request: RequestId::default(),
    };
    cluster.refused(mint("n1", 9_000), "NodeExists");
    cluster.refused(mint("n4", 1_000), "TokenExpired");
    cluster.refused(mint("N 4", 9_000), "BadName");
    cluster.apply(mint("n5", 9_000));
    cluster.refused(again.clone(), "TokenVoid");
    cluster.apply(mint("n4", 9_000));
    cluster.stamp = 9_000;
    cluster.refused(again.clone(), "TokenVoid");
    cluster.stamp = 8_999;
    let cloned = Command::RegisterNode {
        node: Registration {
            key_sha256: [1; 32],
            ..registration(4)
        },
        token_sha256: [2; 32],
    };
    cluster.refused(cloned, "KeyInUse");
    let id = NodeId(cluster.index + 1);
    assert_eq!(cluster.apply(again.clone()), Outcome::Registered(id));
    // The answer was lost; the same machine asks again.
    assert_eq!(cluster.apply(again), Outcome::Registered(id));
}

#[test]
fn an_eighth_coordinator_is_refused_and_its_token_stays_for_an_agent() {
    let mut cluster = Cluster::new();
    for place in 4..=7 {
        assert!(matches!(cluster.join(place), Outcome::Registered(_)));
    }
    cluster.apply(Command::MintJoinToken {
        sha256: [8; 32],
        node: registration(8).name,
        expires_unix_ms: 10_000,
        request: RequestId::default(),
    });
    let join = |role| Command::RegisterNode {
        node: Registration {
            role,
            ..registration(8)
        },
        token_sha256: [8; 32],
    };
    cluster.refused(join(NodeRole::Coordinator), "TooManyCoordinators");
    let outcome = cluster.apply(join(NodeRole::AgentOnly));
    assert!(matches!(outcome, Outcome::Registered(_)), "{outcome:?}");
}

#[test]
fn addresses_that_cannot_be_owned_are_refused() {
    let cases = [
        ("0.0.0.0", "BadAddress"),
        ("127.0.0.1", "BadAddress"),
        ("224.0.0.1", "BadAddress"),
        ("255.255.255.255", "BadAddress"),
        ("::", "BadAddress"),
        ("::1", "BadAddress"),
        ("ff02::1", "BadAddress"),
        ("::ffff:192.0.2.7", "BadAddress"),
        ("192.0.2.2", "AddressIsNode"),
    ];
    let mut cluster = Cluster::new();
    for (address, reason) in cases {
        cluster.refused(wanted("web", Isolation::Lease, address), reason);
    }
    cluster.put("web", Isolation::Lease);
    let twin = wanted("twin", Isolation::Lease, "198.51.100.1");
    assert_eq!(cluster.refused(twin, "AddressInUse"), RefusalKind::Exists);
    let mut outcome = cluster.apply(wanted("six", Isolation::Lease, "2001:db8::7"));
    assert!(matches!(outcome, Outcome::Written(_)));
    outcome = cluster.apply(wanted("six", Isolation::Lease, "2001:db8::7"));
    assert!(matches!(outcome, Outcome::Written(_)), "unchanged is fine");
}

#[test]
fn a_node_does_not_join_with_a_host_address_that_a_resource_owns() {
    let mut cluster = Cluster::new();
    let id = cluster.put("web", Isolation::Lease);
    cluster.apply(wanted("six", Isolation::Lease, "2001:db8::7"));
    let minted = Command::MintJoinToken {
        sha256: [4; 32],
        node: registration(4).name,
        expires_unix_ms: 10_000,
        request: RequestId::default(),
    };
    cluster.apply(minted);
    let join = |host: &str| Command::RegisterNode {
        node: Registration {
            host: host.to_owned(),
            ..registration(4)
        },
        token_sha256: [4; 32],
    };
    for host in ["198.51.100.1", "::ffff:198.51.100.1", "2001:db8:0::7"] {
        let kind = cluster.refused(join(host), "AddressIsResource");
        assert_eq!(kind, RefusalKind::Unsafe, "{host}");
    }
    // The reverse, with the address written as the resource is not.
    let outcome = cluster.apply(join("::ffff:198.51.100.9"));
    assert!(matches!(outcome, Outcome::Registered(_)), "{outcome:?}");
    let taken = wanted("taken", Isolation::Lease, "198.51.100.9");
    assert_eq!(cluster.refused(taken, "AddressIsNode"), RefusalKind::Unsafe);
    // It is free for a node once the resource is gone, and not before its last holder is.
    cluster.active(&id, 0, Attestation::Intact);
    cluster.apply(Command::Delete {
        object: ObjectRef::Resource(id.clone()),
        expected: None,
        request: RequestId::default(),
    });
    assert!(cluster.state.resources.contains_key(&id), "it is held");
    cluster.apply(Command::MintJoinToken {
        sha256: [5; 32],
        node: registration(5).name,
        expires_unix_ms: 10_000,
        request: RequestId::default(),
    });
    let join = Command::RegisterNode {
        node: Registration {
            host: "198.51.100.1".to_owned(),
            ..registration(5)
        },
        token_sha256: [5; 32],
    };
    cluster.refused(join, "AddressIsResource");
}

#[test]
fn specs_that_cannot_work_are_refused_with_a_fix() {
    let mut cluster = Cluster::new();
    let good = || vip(Isolation::Lease, "198.51.100.1");
    let cases = [
        (
            VirtualIpSpec {
                interface: String::new(),
                ..good()
            },
            "BadInterface",
        ),
        (
            VirtualIpSpec {
                interface: "a-name-too-long0".to_owned(),
                ..good()
            },
            "BadInterface",
        ),
        (
            VirtualIpSpec {
                interface: "a/b".to_owned(),
                ..good()
            },
            "BadInterface",
        ),
        (
            VirtualIpSpec {
                preference: vec![NodeName::from("n9")],
                ..good()
            },
            "NoSuchNode",
        ),
        (
            VirtualIpSpec {
                preference: vec![NodeName::from("n1"), NodeName::from("n1")],
                ..good()
            },
            "DuplicatePreference",
        ),
        (
            VirtualIpSpec {
                isolation: Isolation::Stonith,
                unfenced: Unfenced::Refused,
                ..good()
            },
            "NoFenceDevice",
        ),
    ];
    for (spec, reason) in cases {
        let Outcome::Refused(refusal) = cluster.apply(put("web", spec)) else {
            panic!("{reason} was accepted");
        };
        assert_eq!(refusal.reason, reason);
        assert!(!refusal.fix.is_empty(), "{reason} has no fix");
    }
    cluster.refused(put("Bad Name", good()), "BadName");
}

#[test]
fn devices_name_an_agent_and_known_nodes() {
    let mut cluster = Cluster::new();
    let good = || device(&["n1"]);
    let cases = [
        (
            FenceDeviceSpec {
                agent: String::new(),
                ..good()
            },
            "BadAgent",
        ),
        (
            FenceDeviceSpec {
                agent: "../evil".to_owned(),
                ..good()
            },
            "BadAgent",
        ),
        (
            FenceDeviceSpec {
                targets: BTreeMap::new(),
                ..good()
            },
            "NoTargets",
        ),
        (device(&["n9"]), "NoSuchNode"),
        (
            FenceDeviceSpec {
                deadline: Duration::ZERO,
                ..good()
            },
            "BadDeadline",
        ),
        (
            FenceDeviceSpec {
                deadline: Duration::MAX,
                ..good()
            },
            "BadDeadline",
        ),
        (FenceDeviceSpec { level: 0, ..good() }, "BadLevel"),
    ];
    for (spec, reason) in cases {
        cluster.refused(put_device(spec), reason);
    }
}

#[test]
fn devices_hold_no_secrets() {
    let mut cluster = Cluster::new();
    let good = || device(&["n1"]);
    let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let cases = [
        (
            FenceDeviceSpec {
                parameters: pair("passwd", "x"),
                ..good()
            },
            "SecretInParameters",
        ),
        (
            FenceDeviceSpec {
                parameters: pair("Password", "x"),
                ..good()
            },
            "SecretInParameters",
        ),
        (
            FenceDeviceSpec {
                parameters: pair("snmp_priv_passwd", "x"),
                ..good()
            },
            "SecretInParameters",
        ),
        (
            FenceDeviceSpec {
                parameters: pair("action", "on"),
                ..good()
            },
            "ActionIsOurs",
        ),
        (
            FenceDeviceSpec {
                parameters: pair("ip", "a\nb"),
                ..good()
            },
            "BadText",
        ),
        (
            FenceDeviceSpec {
                secret_files: pair("password", "relative"),
                ..good()
            },
            "BadSecretFile",
        ),
        (
            FenceDeviceSpec {
                secret_files: pair("ip", "/etc/ip"),
                ..good()
            },
            "ParameterTwice",
        ),
    ];
    for (spec, reason) in cases {
        cluster.refused(put_device(spec), reason);
    }
    let script = FenceDeviceSpec {
        parameters: pair("passwd_script", "/x"),
        ..good()
    };
    assert!(matches!(
        cluster.apply(put_device(script)),
        Outcome::Written(_)
    ));
}

#[test]
fn a_device_that_stonith_relies_on_stays() {
    let mut cluster = Cluster::new();
    cluster.apply(put_device(device(&["n1", "n2", "n3"])));
    let spec = VirtualIpSpec {
        unfenced: Unfenced::Refused,
        ..vip(Isolation::Stonith, "198.51.100.1")
    };
    assert!(matches!(
        cluster.apply(put("db", spec)),
        Outcome::Written(_)
    ));
    let delete = Command::Delete {
        object: ObjectRef::Device(DeviceName::from("bmc")),
        expected: None,
        request: RequestId::default(),
    };
    assert_eq!(
        cluster.refused(delete.clone(), "DeviceNeeded"),
        RefusalKind::Unsafe
    );
    cluster.refused(put_device(device(&["n1", "n2"])), "DeviceNeeded");
    cluster.apply(Command::Delete {
        object: ObjectRef::Resource(ResourceId::vip("db")),
        expected: None,
        request: RequestId::default(),
    });
    assert_eq!(cluster.apply(delete), Outcome::Done);
}

#[test]
fn versions_guard_against_lost_updates() {
    let mut cluster = Cluster::new();
    let at = |expected, address: &str| match wanted("web", Isolation::Lease, address) {
        Command::Put {
            object, request, ..
        } => Command::Put {
            object,
            expected,
            request,
        },
        other => other,
    };
    cluster.refused(at(Some(Generation(7)), "198.51.100.1"), "GenerationChanged");
    let Outcome::Written(first) = cluster.apply(at(Some(Generation(0)), "198.51.100.1")) else {
        panic!("not written");
    };
    let kind = cluster.refused(at(Some(Generation(0)), "198.51.100.2"), "AlreadyExists");
    assert_eq!(kind, RefusalKind::Exists);
    let second = cluster.apply(at(Some(first), "198.51.100.2"));
    assert!(matches!(second, Outcome::Written(version) if version > first));
    let kind = cluster.refused(at(Some(first), "198.51.100.3"), "GenerationChanged");
    assert_eq!(kind, RefusalKind::Stale);
}

#[test]
fn a_node_leaves_only_when_it_can_harm_nobody() {
    let mut cluster = Cluster::new();
    let delete = Command::Delete {
        object: ObjectRef::Node(NodeName::from("n3")),
        expected: None,
        request: RequestId::default(),
    };
    cluster.refused(delete.clone(), "NodeVotes");
    let id = cluster.put("db", Isolation::Stonith);
    let token = cluster.active(&id, 2, Attestation::Intact);
    cluster.expire(2);
    cluster.vote(&[&[0, 1]]);
    cluster.refused(delete.clone(), "NodeHolds");
    let order = cluster.fence(2, FenceCause::Orphans);
    let incarnation = cluster.newest(2);
    cluster.apply(Command::Released {
        resource: id,
        token,
        incarnation,
    });
    cluster.refused(delete.clone(), "FenceOrderOpen");
    cluster.verdict(order, 1, Verdict::Unknown);
    cluster.apply(Command::FenceCancelled {
        order,
        reason: "released".to_owned(),
    });
    assert_eq!(cluster.apply(delete), Outcome::Done);
}

#[test]
fn a_second_bootstrap_and_older_memberships_change_nothing() {
    let mut cluster = Cluster::new();
    let again = Command::Bootstrap {
        cluster: ClusterId([2; 16]),
        epoch: Epoch(2),
        first: registration(1),
        heartbeat_key: HeartbeatKey {
            generation: 1,
            secret: [4; 32],
        },
        timing: None,
    };
    cluster.refused(again, "AlreadyBootstrapped");
    let older = VoterSets {
        at: EntryId::new(1, 1),
        sets: vec![BTreeSet::from([NodeId(1)])],
    };
    cluster.refused(Command::Membership(older), "OlderMembership");
}
