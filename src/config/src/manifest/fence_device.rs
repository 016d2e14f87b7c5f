//! The spec of a FenceDevice.
//!
//! Whether the agent exists is for the machine that runs it to say; whether the targets exist, for the cluster.

use super::domains;
use crate::fields::{Fields, Reader};
use crate::names::{NAME_RULE, fault_in_name};
use crate::yaml::{At, Tree, Value};
use haft_engine::ids::NodeName;
use haft_engine::spec::{FenceDeviceSpec, HostArgument, Observes};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const KEYS: [&str; 11] = [
    "agent",
    "observes",
    "targets",
    "hostArgument",
    "parameters",
    "secretFiles",
    "deadline",
    "delay",
    "level",
    "powerDomain",
    "networkDomain",
];
const DEADLINE: Duration = Duration::from_secs(20);
const DEADLINE_MIN: Duration = Duration::from_secs(1);
/// Longest time for one try; the same bound as at the cluster.
pub(super) const DEADLINE_MAX: Duration = Duration::from_secs(600);
const DELAY_MAX: Duration = Duration::from_secs(60);
/// Highest level; the same bound as at the cluster.
pub(super) const LEVEL_MAX: u8 = 9;
/// Parameters that carry secrets under the names that fence agents use (fence-agents' fencing.py).
const SECRET_WORDS: [&str; 6] = [
    "password",
    "passwd",
    "secret",
    "token",
    "snmp_priv_passwd",
    "identity_key",
];

pub(super) struct Read {
    pub(super) spec: FenceDeviceSpec,
    pub(super) nodes: Vec<(At, NodeName)>,
}

pub(super) fn read(reader: &mut Reader<'_>, tree: &Tree) -> Option<Read> {
    let what = "the spec of a FenceDevice";
    let fields = reader.map(tree, what, &KEYS)?;
    let agent = reader
        .required(fields, "agent", what, "fence_haft_ipmi")
        .and_then(|tree| agent(reader, tree));
    let observes = match fields.get("observes") {
        None => Some(Observes::Power),
        Some(tree) => observes(reader, tree),
    };
    let targets = reader
        .required(fields, "targets", what, "{ n1: \"\" }")
        .and_then(|tree| targets(reader, tree));
    let host_argument = match fields.get("hostArgument") {
        None => Some(HostArgument::Unsaid),
        Some(tree) => host_argument(reader, tree),
    };
    let parameters = parameters(reader, fields);
    let secret_files = secret_files(reader, fields, &parameters);
    let deadline = match fields.get("deadline") {
        None => Some(DEADLINE),
        Some(tree) => deadline(reader, tree),
    };
    let delay = match fields.get("delay") {
        None => Some(Duration::ZERO),
        Some(tree) => delay(reader, tree),
    };
    let level = match fields.get("level") {
        None => Some(1),
        Some(tree) => reader.number(tree, "level", 1..=u64::from(LEVEL_MAX)),
    };
    let domains = domains(reader, fields);
    let targets = targets?;
    Some(Read {
        nodes: targets
            .iter()
            .map(|(at, name, _)| (*at, name.clone()))
            .collect(),
        spec: FenceDeviceSpec {
            agent: agent?,
            observes: observes?,
            targets: targets
                .into_iter()
                .map(|(_, name, plug)| (name, plug))
                .collect(),
            host_argument: host_argument?,
            parameters,
            secret_files,
            deadline: deadline?,
            delay: delay?,
            domains: domains?,
            level: u8::try_from(level?).expect("the level is at most LEVEL_MAX"),
        },
    })
}

fn agent(reader: &mut Reader<'_>, tree: &Tree) -> Option<String> {
    let text = reader.text(tree, "agent")?;
    let bare = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        && !text.starts_with('.');
    if bare || (Path::new(text).is_absolute() && !text.split('/').any(|part| part == "..")) {
        return Some(text.to_owned());
    }
    reader.refuse(
        tree.at,
        format!("`{text}` names no fence agent"),
        "write a name looked up in fence.agent_dirs, such as fence_haft_ipmi, or an absolute path",
    );
    None
}

fn observes(reader: &mut Reader<'_>, tree: &Tree) -> Option<Observes> {
    let known = [
        ("power", Observes::Power),
        ("poison", Observes::Poison),
        ("storage", Observes::Storage),
    ];
    reader.word(tree, "observes", &known)
}

fn targets(reader: &mut Reader<'_>, tree: &Tree) -> Option<Vec<(At, NodeName, String)>> {
    let fields = reader.open_map(tree, "targets")?;
    let mut out = Vec::new();
    for (key, value) in fields.entries() {
        if let Some(fault) = fault_in_name(&key.text) {
            reader.refuse(
                key.at,
                format!("`{}` is no name for a node: {fault}", key.text),
                NAME_RULE,
            );
            continue;
        }
        let plug = match &value.value {
            Value::Null => Some(""),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                reader.text(value, "a plug")
            }
        };
        if let Some(plug) = plug.and_then(|plug| one_line(reader, value.at, "a plug", plug)) {
            out.push((key.at, NodeName(key.text.clone()), plug));
        }
    }
    if out.is_empty() {
        reader.refuse(
            tree.at,
            "a fence device without targets isolates nobody",
            "name the nodes it can power off: `targets: { n1: \"\" }`",
        );
        return None;
    }
    Some(out)
}

fn host_argument(reader: &mut Reader<'_>, tree: &Tree) -> Option<HostArgument> {
    match reader.text(tree, "hostArgument")? {
        "none" => Some(HostArgument::Without),
        name @ ("plug" | "port") => Some(HostArgument::Named(name.to_owned())),
        name => {
            let named = HostArgument::Named(name.to_owned());
            parameter_name(reader, tree.at, name).then_some(named)
        }
    }
}

/// Agents read `name=value` lines: a value with a line break would be a second parameter.
fn one_line(reader: &mut Reader<'_>, at: At, what: &str, text: &str) -> Option<String> {
    if text.contains(['\n', '\r', '\0']) {
        reader.refuse(
            at,
            format!("{what} cannot hold a line break"),
            "write it on one line",
        );
        return None;
    }
    Some(text.to_owned())
}

fn parameter_name(reader: &mut Reader<'_>, at: At, name: &str) -> bool {
    let plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !plain {
        reader.refuse(
            at,
            format!("`{name}` is no name of a parameter"),
            "use letters, digits, underscore and dash",
        );
        return false;
    }
    if ["action", "nodename"].contains(&name) {
        reader.refuse(
            at,
            format!("`{name}` is set by haft for each call"),
            "remove it",
        );
        return false;
    }
    if ["plug", "port"].contains(&name) {
        reader.refuse(
            at,
            format!("`{name}` is set by haft from `targets`"),
            "write it as the value of the node in `targets`",
        );
        return false;
    }
    true
}

fn parameters(reader: &mut Reader<'_>, fields: Fields<'_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let Some(tree) = fields.get("parameters") else {
        return out;
    };
    let Some(map) = reader.open_map(tree, "parameters") else {
        return out;
    };
    for (key, value) in map.entries() {
        if !parameter_name(reader, key.at, &key.text) {
            continue;
        }
        if SECRET_WORDS.contains(&key.text.as_str()) {
            reader.refuse(
                key.at,
                format!("`{}` is a secret, and parameters are shown to everyone who may read", key.text),
                format!("put it into a file that only root reads, and write `secretFiles: {{ {}: /etc/haft/secrets/NAME }}`", key.text),
            );
            continue;
        }
        if key.text == "method"
            && matches!(&value.value, Value::Text(text) if text.eq_ignore_ascii_case("cycle"))
        {
            reader.refuse(
                value.at,
                "`method: cycle` reports success before the machine is off",
                "remove it: haft always asks for off and for proof",
            );
            continue;
        }
        let text = match &value.value {
            // Fence agents take yes and no as they take true and false, and YAML 1.1 writers mix them.
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                reader
                    .text(value, &format!("parameter `{}`", key.text))
                    .map(str::to_owned)
            }
        };
        if let Some(text) = text.and_then(|text| one_line(reader, value.at, "a parameter", &text)) {
            out.insert(key.text.clone(), text);
        }
    }
    out
}

fn secret_files(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    parameters: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let Some(tree) = fields.get("secretFiles") else {
        return out;
    };
    for (name, (at, path)) in reader.texts(tree, "secretFiles").unwrap_or_default() {
        if !parameter_name(reader, at, &name) {
            continue;
        }
        if parameters.contains_key(&name) {
            reader.refuse(
                at,
                format!("`{name}` stands in `parameters` too"),
                "keep one of the two",
            );
        } else if !Path::new(&path).is_absolute() || path.contains(['\n', '\0']) {
            reader.refuse(
                at,
                format!("`{path}` is no absolute path"),
                "write the path of the secret's file, the same on every coordinator",
            );
        } else {
            out.insert(name, path);
        }
    }
    out
}

pub(super) fn delay(reader: &mut Reader<'_>, tree: &Tree) -> Option<Duration> {
    let span = reader.span(tree, "delay")?;
    if span > DELAY_MAX {
        reader.refuse(
            tree.at,
            "delay must be at most 60s",
            "leave it out: only the leader of a majority fences, so two sides never race",
        );
        return None;
    }
    Some(span)
}

fn deadline(reader: &mut Reader<'_>, tree: &Tree) -> Option<Duration> {
    let span = reader.span(tree, "deadline")?;
    if !(DEADLINE_MIN..=DEADLINE_MAX).contains(&span) {
        reader.refuse(
            tree.at,
            "deadline must be from 1s to 10m",
            "allow the time the device needs to switch off and to be read twice, usually 20s",
        );
        return None;
    }
    Some(span)
}
