//! The reason for every state, also of inaction: what a thing is, by which rule, on what evidence, what it
//! waits for, and what a person can do about it.
//!
//! Reads the replicated state, so every coordinator gives the same answer, and what the leader sees beside it if that
//! is handed over ([`Seen`]). It decides nothing and
//! explains decisions only through the functions that make them ([`crate::leader::placement::eligible`],
//! [`crate::evidence`]).

use crate::apply::proof_word;
use crate::ids::{DeviceName, NodeId, NodeName, OrderId, ResourceId, TopologyName};
use crate::state::{ClusterState, Evidence};
use std::collections::BTreeSet;
use std::fmt;

mod device;
mod node;
mod obstacle;
mod order;
mod paths;
mod resource;
mod streams;
mod topology;

/// What is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A resource.
    Resource(ResourceId),
    /// A node.
    Node(NodeName),
    /// A fence order.
    Order(OrderId),
    /// A fence device.
    Device(DeviceName),
    /// A fence topology.
    Topology(TopologyName),
}

impl Subject {
    /// From text as people write it: `vip/web`, `node/n1`, `order/12`, `fencedevice/bmc`,
    /// `fencetopology/racks`; `None` if it is none of these.
    pub fn parse(text: &str) -> Option<Subject> {
        let (kind, name) = text.split_once('/')?;
        match kind {
            "vip" | "virtualip" => Some(Subject::Resource(ResourceId::vip(name))),
            "node" => Some(Subject::Node(NodeName::from(name))),
            "order" => Some(Subject::Order(OrderId(name.parse().ok()?))),
            "fencedevice" => Some(Subject::Device(DeviceName::from(name))),
            "fencetopology" => Some(Subject::Topology(TopologyName::from(name))),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Resource(id) => write!(f, "{id}"),
            Subject::Node(name) => write!(f, "node/{name}"),
            Subject::Order(id) => write!(f, "order/{id}"),
            Subject::Device(name) => write!(f, "fencedevice/{name}"),
            Subject::Topology(name) => write!(f, "fencetopology/{name}"),
        }
    }
}

/// Why a thing is as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// What was asked about, as text.
    pub subject: String,
    /// In reading order; the first is always the state.
    pub lines: Vec<Line>,
}

/// One line of a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// What the line says about the subject.
    pub kind: LineKind,
    /// One sentence, lower case, no full stop.
    pub text: String,
}

/// Kinds of lines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LineKind {
    /// What it is.
    State,
    /// The rule that makes it so.
    Rule,
    /// What is known.
    Evidence,
    /// What it waits for.
    WaitingFor,
    /// What a person can do.
    Remedy,
}

impl LineKind {
    /// The line's label.
    pub fn word(self) -> &'static str {
        match self {
            LineKind::State => "state",
            LineKind::Rule => "rule",
            LineKind::Evidence => "evidence",
            LineKind::WaitingFor => "waiting for",
            LineKind::Remedy => "remedy",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.subject)?;
        self.lines
            .iter()
            .try_for_each(|line| writeln!(f, "  {:<12} {}", line.kind.word(), line.text))
    }
}

/// Collects lines.
#[derive(Debug, Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn add(&mut self, kind: LineKind, text: impl Into<String>) {
        self.0.push(Line {
            kind,
            text: text.into(),
        });
    }
    fn state(&mut self, text: impl Into<String>) {
        self.add(LineKind::State, text);
    }
    fn rule(&mut self, text: impl Into<String>) {
        self.add(LineKind::Rule, text);
    }
    fn evidence(&mut self, text: impl Into<String>) {
        self.add(LineKind::Evidence, text);
    }
    fn waits(&mut self, text: impl Into<String>) {
        self.add(LineKind::WaitingFor, text);
    }
    fn remedy(&mut self, text: impl Into<String>) {
        self.add(LineKind::Remedy, text);
    }
}

/// What the leader knows beside the state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Nodes whose agents have a stream to it; `None` if it is not asked.
    pub streams: Option<BTreeSet<NodeId>>,
}

/// Why `subject` is as it is; `None` if there is no such thing.
pub fn why(state: &ClusterState, subject: &Subject) -> Option<Report> {
    why_as_seen(state, &Seen::default(), subject)
}

/// As [`why`], with what the leader sees.
pub fn why_as_seen(state: &ClusterState, seen: &Seen, subject: &Subject) -> Option<Report> {
    let mut lines = Lines::default();
    match subject {
        Subject::Resource(id) => resource::explain(state, state.resources.get(id)?, &mut lines),
        Subject::Node(name) => node::explain(state, state.node_named(name)?, &mut lines),
        Subject::Order(id) => order::explain(state, state.orders.get(id)?, &mut lines),
        Subject::Device(name) => {
            device::explain(state, name, state.devices.get(name)?, &mut lines);
        }
        Subject::Topology(name) => {
            topology::explain(state, name, state.topologies.get(name)?, &mut lines);
        }
    }
    streams::explain(state, seen, subject, &mut lines);
    Some(Report {
        subject: subject.to_string(),
        lines: lines.0,
    })
}

/// A node's name, or its number if it is no longer registered.
fn name_of(state: &ClusterState, node: NodeId) -> String {
    state
        .nodes
        .get(&node)
        .map_or_else(|| format!("node {node}"), |node| node.name.to_string())
}

/// Stored evidence in one sentence.
fn told(state: &ClusterState, evidence: &Evidence) -> String {
    format!(
        "token {} of {} (incarnation {}): {}, in entry {}",
        evidence.token,
        name_of(state, evidence.node),
        evidence.incarnation,
        proof_word(&evidence.proof),
        evidence.entry
    )
}
