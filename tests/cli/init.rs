//! `cluster init`, and what `cluster join` refuses before it asks anybody.

use crate::run::{compare, haftctl};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CONFIG: &str = "cluster: { name: demo }\ndata_dir: DIR/data\nnodes:\n  - { name: n1, addresses: [10.77.1.1, \"fd00::1\"], coordinator: true }\n  - { name: n2, addresses: [10.77.1.2] }\n";

fn configured() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = CONFIG.replace("DIR", &dir.path().display().to_string());
    std::fs::write(dir.path().join("haft.yaml"), text).unwrap();
    dir
}

fn init(dir: &Path, node: &str) -> crate::run::Ran {
    haftctl(
        dir,
        &["cluster", "init", "--config", "haft.yaml", "--node", node],
        "",
    )
}

#[test]
fn init_writes_a_private_identity_and_context_and_shows_no_secret() {
    let dir = configured();
    let ran = init(dir.path(), "n1");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("cluster demo "), "{}", ran.stdout);
    let identity = dir.path().join("data/identity");
    let context = dir.path().join(".config/haft/context.yaml");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&identity), 0o700);
    assert_eq!(mode(&context), 0o600);
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&identity).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(
        names,
        [
            "bootstrap.json",
            "ca.crt",
            "ca.key",
            "cluster.json",
            "node.crt",
            "node.key"
        ]
    );
    let bootstrap = std::fs::read_to_string(identity.join("bootstrap.json")).unwrap();
    let bootstrap: serde_json::Value = serde_json::from_str(&bootstrap).unwrap();
    let key = bootstrap["heartbeat_key"].as_str().unwrap();
    assert_eq!(key.len(), 64);
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains(key) && !text.contains("PRIVATE"), "{text}");
    }
    let chain = std::fs::read_to_string(identity.join("node.crt")).unwrap();
    assert_eq!(
        chain.matches("BEGIN CERTIFICATE").count(),
        2,
        "servers present the authority, for joins"
    );
}

#[test]
fn two_inits_mint_two_clusters() {
    let (one, other) = (configured(), configured());
    assert_ne!(
        init(one.path(), "n1").stdout,
        init(other.path(), "n1").stdout
    );
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let dir = configured();
    assert_eq!(init(dir.path(), "n1").code, Some(0));
    let before = std::fs::read(dir.path().join("data/identity/cluster.json")).unwrap();
    let ran = init(dir.path(), "n1");
    assert_eq!(ran.code, Some(4));
    assert!(
        ran.stderr.starts_with("error[IdentityExists]") && ran.stderr.contains("fix: "),
        "{}",
        ran.stderr
    );
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    let ran = init(dir.path(), "n1");
    assert_eq!(
        ran.code,
        Some(4),
        "the administrator's context is not overwritten"
    );
    assert!(
        ran.stderr.starts_with("error[ContextExists]"),
        "{}",
        ran.stderr
    );
    assert!(!dir.path().join("data").exists());
    assert!(!before.is_empty());
}

#[test]
fn init_that_cannot_write_its_context_leaves_no_identity() {
    let dir = configured();
    // A file where the context's folder would be.
    std::fs::write(dir.path().join(".config"), "").unwrap();
    let ran = init(dir.path(), "n1");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(!dir.path().join("data/identity").exists());
}

#[test]
fn init_names_its_node_and_needs_a_coordinator() {
    let dir = configured();
    for (node, reason) in [("n2", "NotACoordinator"), ("n7", "UnknownNode")] {
        let ran = init(dir.path(), node);
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    }
}

#[test]
fn join_refuses_a_token_in_its_arguments_and_a_torn_one() {
    let dir = configured();
    let join = |more: &[&str], stdin: &str| {
        let mut arguments = vec!["cluster", "join", "--config", "haft.yaml", "--node", "n2"];
        arguments.extend(more);
        haftctl(dir.path(), &arguments, stdin)
    };
    let rows: [(&[&str], &str, &str); 4] = [
        (&["--token", "haft1.abcdef"], "", "SecretInArguments"),
        (&[], "", "NoToken"),
        (&["--token-file", "-"], "haft1.abcdef\n", "BadToken"),
        (&["--token-file", "missing"], "", "Unreadable"),
    ];
    for (more, stdin, reason) in rows {
        let ran = join(more, stdin);
        assert_eq!(ran.code, Some(2), "{more:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("error[{reason}]")),
            "{more:?}: {}",
            ran.stderr
        );
        assert!(
            !ran.stderr.contains("abcdef"),
            "{more:?} repeats the token: {}",
            ran.stderr
        );
    }
    assert!(!dir.path().join("data").exists());
}

#[test]
fn a_context_that_others_can_read_is_refused() {
    let dir = configured();
    assert_eq!(init(dir.path(), "n1").code, Some(0));
    let context = dir.path().join(".config/haft/context.yaml");
    std::fs::set_permissions(&context, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = haftctl(dir.path(), &["get", "vip"], "");
    assert_eq!(ran.code, Some(5));
    assert!(
        ran.stderr.starts_with("error[ContextTooOpen]"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_damaged_context_is_named_by_place_and_not_quoted() {
    let dir = configured();
    let context = dir.path().join("context.yaml");
    std::fs::write(&context, "cluster: demo\nkey: hunter2\nsurprise: hunter3\n").unwrap();
    std::fs::set_permissions(&context, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ran = haftctl(dir.path(), &["get", "vip", "--context", "context.yaml"], "");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("context.yaml:3:"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hunter"), "{}", ran.stderr);
}

#[test]
fn nobody_there_exits_9() {
    let dir = configured();
    assert_eq!(init(dir.path(), "n1").code, Some(0));
    let ran = haftctl(
        dir.path(),
        &["get", "vip", "--endpoint", "127.0.0.1:1", "--timeout", "5s"],
        "",
    );
    assert_eq!(ran.code, Some(9), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("error[Unreachable]") && ran.stderr.contains("127.0.0.1:1"),
        "{}",
        ran.stderr
    );
}

#[test]
fn confirming_off_without_a_terminal_exits_7_and_a_mistyped_name_too() {
    let dir = configured();
    for arguments in [
        &["confirm-off", "n1"][..],
        &["confirm-off", "n1", "--yes-node", "n2"][..],
    ] {
        let ran = haftctl(dir.path(), arguments, "n1\n");
        assert_eq!(ran.code, Some(7), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("error[NotConfirmed]"), "{}", ran.stderr);
    }
}

#[test]
fn explain_timing_shows_every_sum_and_refuses_an_impossible_one() {
    let dir = configured();
    for failover in ["fast", "normal", "relaxed", "2s"] {
        let ran = haftctl(
            dir.path(),
            &["explain", "timing", "--failover", failover],
            "",
        );
        assert_eq!(ran.code, Some(0), "{failover}: {}", ran.stderr);
        compare(&format!("explain-timing-{failover}"), &ran.stdout);
    }
    std::fs::write(
        dir.path().join("bad.yaml"),
        "timing: { failover: normal, ttl_ms: 900 }\n",
    )
    .unwrap();
    let ran = haftctl(
        dir.path(),
        &["explain", "timing", "--config", "bad.yaml"],
        "",
    );
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stdout.contains("NO  closing_after < ttl"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.starts_with("error[ImpossibleTiming]"),
        "{}",
        ran.stderr
    );
}
