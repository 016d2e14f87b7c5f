//! The direction of dependencies between crates, read from their manifests.

use crate::tree::{none, root};
use std::collections::BTreeMap;
use std::fs;

/// What each crate may depend on among our own. Anything else is a wrong direction.
const ALLOWED: &[(&str, &[&str])] = &[
    ("src/engine", &[]),
    ("src/api", &["haft-engine"]),
    ("src/config", &["haft-engine"]),
    ("src/store", &[]),
    ("src/realtime", &[]),
    (
        "src/coordinator",
        &[
            "haft-engine",
            "haft-api",
            "haft-config",
            "haft-store",
            "haft-realtime",
            "haft-fence-protocol",
        ],
    ),
    (
        "src/agent",
        &[
            "haft-engine",
            "haft-api",
            "haft-config",
            "haft-realtime",
            "haft-fence-sbd",
        ],
    ),
    ("src/ctl", &["haft-engine", "haft-api", "haft-config"]),
    ("src/sim", &["haft-engine"]),
    ("fence-agents/protocol", &[]),
    ("fence-agents/ipmi", &["haft-fence-protocol"]),
    ("fence-agents/pdu", &["haft-fence-protocol"]),
    ("fence-agents/sbd", &["haft-fence-protocol"]),
    ("tests/judge", &[]),
    ("tests/vm", &["haft-judge", "haft-lab"]),
];

fn dependencies(folder: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let mut section = String::new();
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            line.clone_into(&mut section);
        } else if section == "[dependencies]" && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            names.push(line[..end].to_owned());
        }
    }
    names
}

#[test]
fn crates_depend_in_one_direction() {
    let mut wrong = Vec::new();
    for (folder, allowed) in ALLOWED {
        for name in dependencies(folder) {
            if name.starts_with("haft-") && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{folder} depends on {name}"));
            }
        }
    }
    none(wrong, "layers");
}

#[test]
fn the_engine_depends_on_nothing() {
    none(dependencies("src/engine"), "haft-engine has no dependency");
}

#[test]
fn small_programs_link_neither_raft_nor_rocksdb() {
    let heavy = ["openraft", "rocksdb", "haft-store", "haft-coordinator"];
    let mut wrong = Vec::new();
    for folder in [
        "src/agent",
        "src/ctl",
        "fence-agents/ipmi",
        "fence-agents/pdu",
        "fence-agents/sbd",
        "fence-agents/protocol",
    ] {
        for name in dependencies(folder) {
            if heavy.contains(&name.as_str()) {
                wrong.push(format!("{folder} depends on {name}"));
            }
        }
    }
    none(wrong, "agent, haftctl and fence agents stay small");
}

#[test]
fn versions_are_stated_once_in_the_root() {
    let mut wrong = Vec::new();
    let manifests: BTreeMap<String, Vec<String>> = ALLOWED
        .iter()
        .map(|(folder, _)| ((*folder).to_owned(), dependencies(folder)))
        .collect();
    for folder in manifests.keys() {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let own = text.lines().filter(|line| line.contains("version = \""));
        wrong.extend(own.map(|line| format!("{folder}: {line}")));
    }
    none(wrong, "dependency versions stand in the root manifest");
}
