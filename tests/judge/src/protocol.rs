//! What the judge reads and writes: one JSON object a line. The first line on stdin is the [`Setup`], every further
//! line an [`Order`]; each order is answered by one [`Answer`] line on stdout before the next may be given.
//!
//! Times in reports are milliseconds since the segment's `begin`, on the judge's monotonic clock.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Where the judge stands and whom it asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// Interface in this network namespace that reaches all nodes, such as `eth0`.
    pub interface: String,
    /// Hardware address of that interface, `02:4c:01:00:00:04`.
    pub mac: String,
    /// The client's own IPv4 address, to which echo replies return.
    pub address: Ipv4Addr,
    /// The client's own IPv6 address; needed only with an IPv6 target.
    pub address6: Option<Ipv6Addr>,
    /// An IPv4 address on the link that nobody owns: the sender protocol address of the ARP questions.
    pub arp_sender: Ipv4Addr,
    /// Node name to hardware address. At most eight nodes.
    pub nodes: BTreeMap<String, String>,
    /// Name to address of everything that is watched.
    pub targets: BTreeMap<String, IpAddr>,
    /// Tick length in microseconds; 5000 unless stated.
    #[serde(default = "default_tick_us")]
    pub tick_us: u64,
    /// A tick later than this many milliseconds makes the segment stalled; 20 unless stated.
    #[serde(default = "default_stall_ms")]
    pub stall_ms: f64,
}

fn default_tick_us() -> u64 {
    5_000
}

fn default_stall_ms() -> f64 {
    20.0
}

/// One order to a running judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Forget what was seen and start a new segment.
    Begin,
    /// Remember this moment under a name.
    Mark {
        /// The name, shown again in the report.
        label: String,
    },
    /// Report the segment so far; it goes on.
    Report,
    /// Who answered the last completed ticks: the quick question that a waiting lab asks often.
    Now,
    /// Report and exit.
    Stop,
}

/// The answer to one order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The order was carried out at this moment, in milliseconds since the segment began.
    Done {
        /// Milliseconds since the segment began.
        at_ms: f64,
    },
    /// Per target the nodes that answered during the last 50 ms.
    Now {
        /// Milliseconds since the segment began.
        at_ms: f64,
        /// Target name to the nodes heard.
        owners: BTreeMap<String, Vec<String>>,
        /// Target name to the node whose answer the ordinary client got last, if that was within 50 ms.
        client: BTreeMap<String, Option<String>>,
    },
    /// The whole segment.
    Report(Report),
    /// The order could not be read or carried out.
    Error {
        /// Why, for a human.
        reason: String,
    },
}

/// What one segment showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Length of the segment.
    pub duration_ms: f64,
    /// Ticks sent.
    pub ticks: u64,
    /// The judge's own worst lateness for a tick.
    pub worst_stall_ms: f64,
    /// Ticks that accuse nobody because their frames left too far apart.
    pub smeared_ticks: u64,
    /// The judge was late by more than its limit, or a smeared tick had two answers: repeat the run.
    pub stalled: bool,
    /// Named moments.
    pub marks: Vec<Mark>,
    /// One entry per watched address, by name.
    pub targets: BTreeMap<String, TargetReport>,
}

/// A named moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Its name.
    pub label: String,
    /// Milliseconds since the segment began.
    pub at_ms: f64,
}

/// What one segment showed for one address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetReport {
    /// The address watched.
    pub address: IpAddr,
    /// Ticks answered by two or more nodes.
    pub two_owners_ticks: u64,
    /// The same in milliseconds: ticks times the tick length.
    pub two_owners_ms: f64,
    /// Longest time between two answered ticks, whoever answered.
    pub longest_gap_ms: f64,
    /// Longest time between two replies as an ordinary client gets them: sent through its kernel, so it follows the
    /// neighbour cache and with it the owner's announcements. Includes the time up to the segment's end.
    pub client_gap_ms: f64,
    /// When that gap began.
    pub client_gap_from_ms: f64,
    /// Replies the ordinary client got.
    pub client_replies: u64,
    /// Who answered, from when to when.
    pub timeline: Vec<Span>,
}

/// A stretch of ticks with the same answering nodes; nobody is the empty list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The nodes that answered, by name.
    pub who: Vec<String>,
    /// First tick of the stretch.
    pub from_ms: f64,
    /// Last tick of the stretch.
    pub to_ms: f64,
}
