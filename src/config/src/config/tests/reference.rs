//! docs/configuration.md names every key that the parser knows, and no other, with its default and its bounds.
//!
//! Asks the parser itself: what a section knows is what it says when it meets a key that it does not know.

use super::*;
use crate::timing::{BUDGET_MAX, BUDGET_MIN, Interval};
use std::collections::{BTreeMap, BTreeSet};

/// Near to no key of ours.
const STRANGER: &str = "qqqqqqqqqqqq";
/// What stands before every list of known keys.
const KNOWS: &str = " knows ";

/// A row of the page's table.
struct Row {
    default: String,
    bounds: String,
    what: String,
}

fn page() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        // The flags stand in a table of their own.
        let [key, _, default, bounds, _, what] = cells[..] else {
            continue;
        };
        let row = Row {
            default: default.to_owned(),
            bounds: bounds.to_owned(),
            what: what.to_owned(),
        };
        let twice = rows.insert(key.trim_matches('`').to_owned(), row);
        assert!(twice.is_none(), "twice: {line}");
    }
    rows
}

/// The keys that a section with a stranger in it says it knows.
fn known(text: &str) -> Option<Vec<String>> {
    let problems = Config::parse("haft.yaml", text).unwrap_err();
    let stranger = |problem: &&crate::Problem| problem.reason.contains(STRANGER);
    let told = problems.list().iter().find(stranger)?;
    let (_, keys) = told.fix.split_once(KNOWS)?;
    Some(keys.split(", ").map(str::to_owned).collect())
}

/// Every key of the parser as the page writes it. `resources` holds manifests, whose keys are not this file's.
fn parsed() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for top in known(&format!("{STRANGER}: 1\n")).unwrap() {
        let of_map = known(&format!("{top}: {{ {STRANGER}: 1 }}\n"));
        let of_list = known(&format!("{top}: [ {{ {STRANGER}: 1 }} ]\n"));
        let (mark, below) = match (top.as_str(), of_map, of_list) {
            ("resources", _, _) | (_, None, None) => {
                keys.insert(top);
                continue;
            }
            (_, Some(below), _) => ("", below),
            (_, None, Some(below)) => ("[]", below),
        };
        keys.extend(below.iter().map(|key| format!("{top}{mark}.{key}")));
    }
    assert!(keys.len() > 30, "{keys:?}");
    keys
}

#[test]
fn the_page_has_every_key_of_the_parser_and_no_other() {
    let page: BTreeSet<String> = page().into_keys().collect();
    let parsed = parsed();
    let missing: Vec<&String> = parsed.difference(&page).collect();
    let strange: Vec<&String> = page.difference(&parsed).collect();
    assert!(
        missing.is_empty() && strange.is_empty(),
        "docs/configuration.md lacks {missing:?} and has {strange:?}, which the parser does not know"
    );
}

/// A key's default as the page writes it, from what the smallest file becomes.
fn default(key: &str, config: &Config) -> String {
    let shown = |paths: &[PathBuf]| {
        let each = paths.iter().map(|path| format!("`{}`", path.display()));
        each.collect::<Vec<_>>().join(", ")
    };
    let quoted = |value: String| format!("`{value}`");
    match key {
        "timing.failover" => {
            assert_eq!(
                config.timing_request.failover,
                crate::timing::Failover::Normal
            );
            quoted("normal".to_owned())
        }
        "nodes[].coordinator" => {
            quoted((config.nodes[0].role == NodeRole::Coordinator).to_string())
        }
        "data_dir" => quoted(config.data_dir.display().to_string()),
        "ports.api" => quoted(config.ports.api.to_string()),
        "ports.peer" => quoted(config.ports.peer.to_string()),
        "ports.beat" => quoted(config.ports.beat.to_string()),
        "fence.agent_dirs" => shown(&config.agent_dirs),
        "fence.probe_every_ms" => quoted(config.probe_every.as_millis().to_string()),
        "watchdog.device" => shown(std::slice::from_ref(&config.watchdog_device)),
        "sbd.start" => quoted("clean".to_owned()),
        "sbd.io_timeout_ms" => quoted(DEFAULT_SBD_IO_TIMEOUT.as_millis().to_string()),
        "resources" => "none".to_owned(),
        "gate.bpf_fs" => match &config.bpf_fs {
            None => "the machine's".to_owned(),
            Some(named) => quoted(named.display().to_string()),
        },
        "cluster.name" | "nodes[].name" | "nodes[].addresses" | "sbd.devices" | "tls.ca"
        | "tls.certificate" | "tls.key" => "needed".to_owned(),
        other if other.starts_with("timing.") => "derived".to_owned(),
        other => panic!("what is the default of {other}?"),
    }
}

#[test]
fn the_page_has_every_default() {
    let smallest = "cluster: { name: demo }\nnodes: [ { name: n1, addresses: [10.77.1.1] } ]\n";
    let config = Config::parse("haft.yaml", smallest).unwrap();
    let sbd = format!("{smallest}sbd: {{ devices: [/dev/a] }}\n");
    let sbd = Config::parse("haft.yaml", &sbd).unwrap().sbd.unwrap();
    assert_eq!(sbd.start, SbdStart::Clean);
    assert_eq!(sbd.io_timeout, DEFAULT_SBD_IO_TIMEOUT);
    for (key, row) in page() {
        assert_eq!(row.default, default(&key, &config), "{key}");
        assert!(!row.what.is_empty(), "{key}");
    }
}

#[test]
fn keys_that_are_needed_are_asked_for() {
    for (text, key) in [
        ("nodes: []\n", "`cluster`"),
        ("cluster: {}\n", "`name`"),
        ("cluster: { name: a }\n", "`nodes`"),
        (
            "nodes: [ { addresses: [10.0.0.1] } ]\n",
            "a node needs `name`",
        ),
        ("nodes: [ { name: a } ]\n", "a node needs `addresses`"),
        ("sbd: { start: clean }\n", "sbd needs `devices`"),
        ("tls: { ca: /a }\n", "tls needs `certificate`"),
        ("tls: { ca: /a }\n", "tls needs `key`"),
        ("tls: { key: /a }\n", "tls needs `ca`"),
    ] {
        let problems = Config::parse("haft.yaml", text).unwrap_err().to_string();
        assert!(problems.contains(key), "{text}: {problems}");
    }
}

/// Whether the parser takes `value` for a number that lies within the key's bounds.
fn takes(key: &str, value: u64) -> bool {
    let (section, name) = key.split_once('.').unwrap();
    let text = format!("{section}: {{ {name}: {value} }}\n");
    let problems = Config::parse("haft.yaml", &text).unwrap_err().to_string();
    !problems.contains("must be a whole number from")
}

/// As many paths, and whether the parser takes them.
fn takes_paths(key: &str, count: u64) -> bool {
    let (section, name) = key.split_once('.').unwrap();
    let paths: Vec<String> = (0..count).map(|n| format!("/dev/{n}")).collect();
    let text = format!("{section}: {{ {name}: [{}] }}\n", paths.join(", "));
    let problems = Config::parse("haft.yaml", &text).unwrap_err().to_string();
    !problems.contains("must name one to three disks") && !problems.contains("without a directory")
}

#[test]
fn the_page_has_every_bound() {
    let mut numbers = 0;
    for (key, row) in page() {
        let bounds = row.bounds.split_once(" to ");
        match (key.as_str(), bounds) {
            ("timing.failover", _) => {
                let (low, high) = (BUDGET_MIN.as_millis(), BUDGET_MAX.as_millis());
                assert_eq!(row.bounds, format!("{low} ms to {high} ms"));
            }
            ("sbd.devices", Some((low, high))) => {
                let (low, high): (u64, u64) = (low.parse().unwrap(), high.parse().unwrap());
                assert!(takes_paths(&key, low) && takes_paths(&key, high));
                assert!(!takes_paths(&key, low - 1) && !takes_paths(&key, high + 1));
            }
            (_, Some((low, high))) => {
                let (low, high): (u64, u64) = (low.parse().unwrap(), high.parse().unwrap());
                assert!(takes(&key, low) && takes(&key, high), "{key} within");
                assert!(!takes(&key, high + 1), "{key} above");
                assert!(low == 0 || !takes(&key, low - 1), "{key} below");
                numbers += 1;
            }
            ("fence.agent_dirs", None) => {
                assert_eq!(row.bounds, "at least 1");
                assert!(!takes_paths(&key, 0) && takes_paths(&key, 1));
            }
            ("nodes[].addresses", None) => {
                assert_eq!(row.bounds, "at least 1");
                let text = "cluster: { name: a }\nnodes: [ { name: a, addresses: [] } ]\n";
                let problems = Config::parse("haft.yaml", text).unwrap_err();
                assert!(problems.to_string().contains("without an address"));
            }
            (_, None) => assert!(row.bounds.is_empty(), "{key}: {}", row.bounds),
        }
    }
    // The intervals, the ports, and two more.
    assert_eq!(numbers, Interval::ALL.len() + 5);
}
