//! The spec of a VirtualIP.
//!
//! Whether a `stonith` address has a fence device is for the cluster to say, which knows the devices.

use crate::fields::Reader;
use crate::yaml::{At, Tree};
use haft_engine::ids::NodeName;
use haft_engine::spec::{Failback, Isolation, Unfenced, VirtualIpSpec};
use std::net::IpAddr;

const KEYS: [&str; 6] = [
    "address",
    "interface",
    "isolation",
    "preference",
    "failback",
    "allowUnfenced",
];
/// IFNAMSIZ less the terminating zero (linux/if.h).
const INTERFACE_MAX: usize = 15;

pub(super) struct Read {
    pub(super) spec: VirtualIpSpec,
    pub(super) address: (At, IpAddr),
    pub(super) nodes: Vec<(At, NodeName)>,
}

pub(super) fn read(reader: &mut Reader<'_>, tree: &Tree) -> Option<Read> {
    let what = "the spec of a VirtualIP";
    let fields = reader.map(tree, what, &KEYS)?;
    let address_tree = reader.required(fields, "address", what, "10.0.0.100");
    let address = address_tree.and_then(|tree| reader.address(tree, "a VirtualIP"));
    let interface = reader
        .required(fields, "interface", what, "eth0")
        .and_then(|tree| interface(reader, tree));
    let isolation = match fields.get("isolation") {
        None => Some(Isolation::Lease),
        Some(tree) => isolation(reader, tree),
    };
    let nodes = fields
        .get("preference")
        .map(|tree| preference(reader, tree))
        .unwrap_or_default();
    let failback = match fields.get("failback") {
        None => Some(Failback::Never),
        Some(tree) => reader.word(
            tree,
            "failback",
            &[("never", Failback::Never), ("auto", Failback::Auto)],
        ),
    };
    let unfenced = match fields.get("allowUnfenced") {
        None => Some(Unfenced::Refused),
        Some(tree) => reader.flag(tree, "allowUnfenced").map(|allowed| {
            if allowed {
                Unfenced::Allowed
            } else {
                Unfenced::Refused
            }
        }),
    };
    if unfenced == Some(Unfenced::Allowed) && isolation == Some(Isolation::Lease) {
        reader.refuse(
            fields.place("allowUnfenced"),
            "allowUnfenced has no meaning under isolation lease, which needs no fence device",
            "remove it, or write `isolation: stonith`",
        );
    }
    let address = address?;
    Some(Read {
        spec: VirtualIpSpec {
            address,
            interface: interface?,
            isolation: isolation?,
            unfenced: unfenced?,
            preference: nodes.iter().map(|(_, name)| name.clone()).collect(),
            failback: failback?,
        },
        address: (address_tree?.at, address),
        nodes,
    })
}

fn interface(reader: &mut Reader<'_>, tree: &Tree) -> Option<String> {
    let text = reader.text(tree, "interface")?;
    let plain = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    if text.is_empty() || text.len() > INTERFACE_MAX || !text.chars().all(plain) {
        reader.refuse(
            tree.at,
            format!("`{text}` is no name of a network interface"),
            format!("write the name that `ip link` shows, at most {INTERFACE_MAX} characters"),
        );
        return None;
    }
    if text == "lo" {
        reader.refuse(
            tree.at,
            "an address on `lo` is answered by nobody else's network",
            "name the interface that faces the clients",
        );
        return None;
    }
    Some(text.to_owned())
}

fn isolation(reader: &mut Reader<'_>, tree: &Tree) -> Option<Isolation> {
    let known = [
        ("lease", Isolation::Lease),
        ("stonith", Isolation::Stonith),
        ("watchdog", Isolation::Watchdog),
    ];
    reader.word(tree, "isolation", &known)
}

fn preference(reader: &mut Reader<'_>, tree: &Tree) -> Vec<(At, NodeName)> {
    let mut nodes: Vec<(At, NodeName)> = Vec::new();
    for item in reader
        .list(tree, "preference", "[n1, n2]")
        .unwrap_or_default()
    {
        let Some(name) = reader.name(item, "a node") else {
            continue;
        };
        if nodes.iter().any(|(_, earlier)| earlier.as_str() == name) {
            reader.refuse(
                item.at,
                format!("`{name}` is preferred twice"),
                "name each node once, best first",
            );
            continue;
        }
        nodes.push((item.at, NodeName(name)));
    }
    nodes
}
