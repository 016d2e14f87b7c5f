//! From text to [`Config`]: every section, then what concerns several of them.

use super::{
    Config, DEFAULT_AGENT_DIRS, DEFAULT_DATA_DIR, DEFAULT_PROBE_EVERY, DEFAULT_WATCHDOG,
    NodeConfig, Ports, nodes, sbd, tls,
};
use crate::fields::{Fields, Reader};
use crate::manifest::{self, Placed};
use crate::names::nearest;
use crate::problem::Problems;
use crate::timing::{Check, Failover, Interval, NoFailover, TimingRequest, checks};
use crate::yaml::{self, Source, Tree, Value};
use haft_engine::clock::Timing;
use haft_engine::spec::{Isolation, ObjectSpec};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Whether the files that a configuration names are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    Checked,
    Untouched,
}

const SECTIONS: [&str; 11] = [
    "cluster",
    "timing",
    "nodes",
    "data_dir",
    "ports",
    "fence",
    "watchdog",
    "gate",
    "sbd",
    "tls",
    "resources",
];

pub(super) fn read(file: &str, text: &str, files: Files) -> Result<Config, Problems> {
    let source = Source { file, text };
    let trees = yaml::parse(source)?;
    let mut reader = Reader::new(source);
    let Some(tree) = trees.first() else {
        return Err(Problems::whole_file(
            file,
            "the file is empty".to_owned(),
            "describe the cluster: at least `cluster: { name: demo }` and `nodes:`",
        ));
    };
    if let Some(second) = trees.get(1) {
        reader.refuse(
            second.at,
            "a configuration is one document, and here a second begins",
            "remove the `---`, or keep manifests in files of their own",
        );
    }
    let config = match reader.map(tree, "the configuration", &SECTIONS) {
        None => None,
        Some(top) => sections(&mut reader, top, files),
    };
    reader.finish(config)
}

fn sections(reader: &mut Reader<'_>, top: Fields<'_>, files: Files) -> Option<Config> {
    let cluster_name = cluster_name(reader, top);
    let timing = timing(reader, top);
    let nodes = nodes::read(reader, top);
    let data_dir = match top.get("data_dir") {
        None => Some(PathBuf::from(DEFAULT_DATA_DIR)),
        Some(tree) => tls::absolute_path(reader, tree, "data_dir"),
    };
    let ports = ports(reader, top);
    let agent_dirs = agent_dirs(reader, top);
    let probe_every = probe_every(reader, top);
    let watchdog_device = watchdog_device(reader, top);
    let bpf_fs = bpf_fs(reader, top);
    let sbd = sbd::read(reader, top);
    let tls = tls::read(reader, top, files);
    let resources = resources(reader, top, nodes.as_deref().unwrap_or_default());
    let (timing_request, timing) = timing?;
    refuse_watchdog_without_room(reader, &timing, &resources);
    Some(Config {
        cluster_name: cluster_name?,
        timing,
        timing_request,
        nodes: nodes?,
        data_dir: data_dir?,
        ports: ports?,
        agent_dirs: agent_dirs?,
        probe_every: probe_every?,
        watchdog_device: watchdog_device?,
        bpf_fs: bpf_fs?,
        sbd: sbd?,
        tls,
        resources: resources
            .into_iter()
            .map(|placed| placed.manifest)
            .collect(),
    })
}

fn cluster_name(reader: &mut Reader<'_>, top: Fields<'_>) -> Option<String> {
    let tree = reader.required(top, "cluster", "the configuration", "{ name: demo }")?;
    let fields = reader.map(tree, "cluster", &["name"])?;
    let name = reader.required(fields, "name", "cluster", "demo")?;
    reader.name(name, "a cluster")
}

/// The timing section alone, whatever else the file holds, and whether or not its sums hold.
pub(super) fn timing_request(file: &str, text: &str) -> Result<TimingRequest, Problems> {
    let source = Source { file, text };
    let trees = yaml::parse(source)?;
    let mut reader = Reader::new(source);
    let section = trees
        .first()
        .and_then(|tree| reader.open_map(tree, "the configuration"))
        .and_then(|top| top.get("timing"));
    let request = match section {
        None => Some(TimingRequest::default()),
        Some(tree) => request(&mut reader, tree).map(|(_, request)| request),
    };
    reader.finish(request)
}

fn timing(reader: &mut Reader<'_>, top: Fields<'_>) -> Option<(TimingRequest, Timing)> {
    let Some(tree) = top.get("timing") else {
        return Some((TimingRequest::default(), Timing::NORMAL));
    };
    let (fields, request) = request(reader, tree)?;
    let timing = request.timing().ok()?;
    for check in checks(&timing).into_iter().filter(|check| !check.holds) {
        refuse_sum(reader, fields, &request, &check);
    }
    Some((request, timing))
}

/// The knob and the overrides; nothing when one of them could not be read.
fn request<'t>(reader: &mut Reader<'_>, tree: &'t Tree) -> Option<(Fields<'t>, TimingRequest)> {
    let mut known = vec!["failover"];
    known.extend(Interval::ALL.map(Interval::key));
    let fields = reader.map(tree, "timing", &known)?;
    let failover = failover(reader, fields);
    let mut overrides = BTreeMap::new();
    let mut complete = true;
    for interval in Interval::ALL {
        let Some(tree) = fields.get(interval.key()) else {
            continue;
        };
        let (low, high) = interval.bounds_ms();
        match reader.number(tree, interval.key(), low..=high) {
            Some(value) => {
                overrides.insert(interval, Duration::from_millis(value));
            }
            None => complete = false,
        }
    }
    let request = TimingRequest {
        failover: failover?,
        overrides,
    };
    if let Err(error) = request.timing() {
        reader.refuse(
            fields.get("failover").map_or(fields.at, |tree| tree.at),
            error.to_string(),
            "choose a budget within the range, or a preset: fast, normal, relaxed",
        );
        return None;
    }
    complete.then_some((fields, request))
}

fn failover(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Failover> {
    let Some(tree) = fields.get("failover") else {
        return Some(Failover::Normal);
    };
    let Value::Text(text) = &tree.value else {
        reader.refuse(
            tree.at,
            "failover must be a preset, or a budget with its unit",
            NoFailover.to_string(),
        );
        return None;
    };
    match text.parse() {
        Ok(failover) => Some(failover),
        Err(error) => {
            let fix = match nearest(text, ["fast", "normal", "relaxed"]) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => error.to_string(),
            };
            reader.refuse(tree.at, format!("failover cannot be `{text}`"), fix);
            None
        }
    }
}

/// Points at the value that the user set and that the sum names first.
fn refuse_sum(reader: &mut Reader<'_>, fields: Fields<'_>, request: &TimingRequest, check: &Check) {
    let culprit = check
        .involves
        .iter()
        .find(|interval| request.overrides.contains_key(interval));
    let at = match culprit.and_then(|interval| fields.get(interval.key())) {
        Some(tree) => tree.at,
        None => fields.place("failover"),
    };
    reader.refuse(
        at,
        format!(
            "impossible timing: {} must hold, and {} (ms) does not\n  why: {}",
            check.rule, check.sum, check.protects
        ),
        format!(
            "{}; `haftctl explain timing --config {}` shows every sum",
            check.fix,
            reader.source().file
        ),
    );
}

fn ports(reader: &mut Reader<'_>, top: Fields<'_>) -> Option<Ports> {
    let Some(tree) = top.get("ports") else {
        return Some(Ports::default());
    };
    let fields = reader.map(tree, "ports", &["api", "peer", "beat"])?;
    let defaults = Ports::default();
    let mut port = |name: &str, default: u16| match fields.get(name) {
        None => Some(default),
        Some(tree) => reader
            .number(tree, &format!("ports.{name}"), 1..=65_535)
            .and_then(|value| u16::try_from(value).ok()),
    };
    let ports = Ports {
        api: port("api", defaults.api)?,
        peer: port("peer", defaults.peer)?,
        beat: port("beat", defaults.beat)?,
    };
    if ports.api == ports.peer {
        reader.refuse(
            fields.place("peer"),
            format!(
                "ports.api and ports.peer are both {}, and both are TCP",
                ports.api
            ),
            "give each its own port",
        );
    }
    Some(ports)
}

fn watchdog_device(reader: &mut Reader<'_>, top: Fields<'_>) -> Option<PathBuf> {
    let default = PathBuf::from(DEFAULT_WATCHDOG);
    let Some(tree) = top.get("watchdog") else {
        return Some(default);
    };
    let fields = reader.map(tree, "watchdog", &["device"])?;
    match fields.get("device") {
        None => Some(default),
        Some(tree) => tls::absolute_path(reader, tree, "watchdog.device"),
    }
}

/// `Some(None)` where the file leaves it to the agent.
fn bpf_fs(reader: &mut Reader<'_>, top: Fields<'_>) -> Option<Option<PathBuf>> {
    let Some(tree) = top.get("gate") else {
        return Some(None);
    };
    let fields = reader.map(tree, "gate", &["bpf_fs"])?;
    match fields.get("bpf_fs") {
        None => Some(None),
        Some(tree) => tls::absolute_path(reader, tree, "gate.bpf_fs").map(Some),
    }
}

fn agent_dirs(reader: &mut Reader<'_>, top: Fields<'_>) -> Option<Vec<PathBuf>> {
    let defaults = || DEFAULT_AGENT_DIRS.iter().map(PathBuf::from).collect();
    let Some(tree) = top.get("fence") else {
        return Some(defaults());
    };
    let fields = reader.map(tree, "fence", &["agent_dirs", "probe_every_ms"])?;
    let Some(tree) = fields.get("agent_dirs") else {
        return Some(defaults());
    };
    let items = reader.list(tree, "fence.agent_dirs", "[/usr/lib/haft/fence-agents]")?;
    if items.is_empty() {
        reader.refuse(
            tree.at,
            "without a directory no fence agent is found",
            "name one, or remove `agent_dirs`",
        );
        return None;
    }
    let dirs: Vec<PathBuf> = items
        .iter()
        .filter_map(|item| tls::absolute_path(reader, item, "fence.agent_dirs"))
        .collect();
    (dirs.len() == items.len()).then_some(dirs)
}

fn probe_every(reader: &mut Reader<'_>, top: Fields<'_>) -> Option<Duration> {
    let fence = top.get("fence");
    // A section that is no map is refused where its directories are read.
    let section = fence.filter(|tree| matches!(tree.value, Value::Map(_)));
    let fields = section.and_then(|tree| reader.open_map(tree, "fence"));
    match fields.and_then(|fields| fields.get("probe_every_ms")) {
        None => Some(DEFAULT_PROBE_EVERY),
        Some(tree) => reader
            .number(tree, "fence.probe_every_ms", 1_000..=3_600_000)
            .map(Duration::from_millis),
    }
}

fn refuse_watchdog_without_room(reader: &mut Reader<'_>, timing: &Timing, placed: &[Placed]) {
    if !timing.watchdog.is_zero() {
        return;
    }
    for one in placed {
        if let ObjectSpec::Resource(_, spec) = &one.manifest.spec
            && spec.isolation() == Isolation::Watchdog
        {
            reader.refuse(
                one.place(),
                "isolation watchdog does not fit this timing: the ttl leaves no room for one second of watchdog",
                "set `failover: relaxed` or a budget from 7s, or choose lease or stonith (see haftctl explain timing)",
            );
        }
    }
}

fn resources(reader: &mut Reader<'_>, top: Fields<'_>, nodes: &[NodeConfig]) -> Vec<Placed> {
    let Some(tree) = top.get("resources") else {
        return Vec::new();
    };
    let items = reader
        .list(tree, "resources", "a list of manifests")
        .unwrap_or_default();
    let placed: Vec<Placed> = items
        .iter()
        .filter_map(|item| manifest::read(reader, item))
        .collect();
    manifest::refuse_duplicates(reader, &placed);
    if nodes.is_empty() {
        return placed;
    }
    for one in &placed {
        if let Some((at, address)) = one.address
            && let Some(node) = nodes.iter().find(|node| node.addresses.contains(&address))
        {
            reader.refuse(
                at,
                format!("{address} is the node `{}`'s own address", node.name),
                "give the VirtualIP an address that no machine has",
            );
        }
        for (at, name) in &one.nodes {
            if nodes.iter().any(|node| node.name == *name) {
                continue;
            }
            let fix = match nearest(name.as_str(), nodes.iter().map(|node| node.name.as_str())) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "name a node of this file".to_owned(),
            };
            reader.refuse(*at, format!("there is no node `{name}`"), fix);
        }
    }
    placed
}
