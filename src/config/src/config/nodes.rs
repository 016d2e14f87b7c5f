//! The `nodes` of a configuration.

use super::NodeConfig;
use crate::fields::{Fields, Reader};
use crate::yaml::At;
use haft_engine::command::NodeRole;
use haft_engine::ids::NodeName;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Largest group of voters: every write waits for a majority of them (design: three, five or seven).
const COORDINATORS_MAX: usize = 7;

pub(super) fn read(reader: &mut Reader<'_>, top: Fields<'_>) -> Option<Vec<NodeConfig>> {
    let tree = reader.required(
        top,
        "nodes",
        "the configuration",
        "[{ name: n1, addresses: [10.0.0.1], coordinator: true }]",
    )?;
    let items = reader.list(
        tree,
        "nodes",
        "- { name: n1, addresses: [10.0.0.1], coordinator: true }",
    )?;
    let mut names: BTreeMap<String, At> = BTreeMap::new();
    let mut taken: BTreeMap<IpAddr, At> = BTreeMap::new();
    let mut read = Vec::new();
    let mut anyone_said = false;
    for item in items {
        let Some(fields) = reader.map(item, "a node", &["name", "addresses", "coordinator"]) else {
            continue;
        };
        let name = name(reader, fields, &mut names);
        let addresses = addresses(reader, fields, &mut taken);
        let said = fields
            .get("coordinator")
            .map(|tree| reader.flag(tree, "coordinator"));
        anyone_said |= said.is_some();
        let role = match said {
            None => Some(Said::Nothing),
            Some(flag) => flag.map(|runs_haftd| if runs_haftd { Said::Yes } else { Said::No }),
        };
        if let (Some(name), Some(addresses), Some(role)) = (name, addresses, role) {
            read.push((name, addresses, role));
        }
    }
    // In a file where nobody says anything every node is a coordinator: the usual three need no more words.
    let unsaid = if anyone_said {
        NodeRole::AgentOnly
    } else {
        NodeRole::Coordinator
    };
    let nodes: Vec<NodeConfig> = read
        .into_iter()
        .map(|(name, addresses, said)| NodeConfig {
            name,
            addresses,
            role: said.role(unsaid),
        })
        .collect();
    if nodes.len() == items.len() {
        check_coordinators(reader, top.place("nodes"), &nodes);
    }
    Some(nodes)
}

/// What a node says about running haftd.
#[derive(Clone, Copy)]
enum Said {
    Yes,
    No,
    Nothing,
}

impl Said {
    /// Its role, where `unsaid` is the role of a node that says nothing.
    fn role(self, unsaid: NodeRole) -> NodeRole {
        match self {
            Said::Yes => NodeRole::Coordinator,
            Said::No => NodeRole::AgentOnly,
            Said::Nothing => unsaid,
        }
    }
}

fn name(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    names: &mut BTreeMap<String, At>,
) -> Option<NodeName> {
    let tree = reader.required(fields, "name", "a node", "n1")?;
    let name = reader.name(tree, "a node")?;
    if let Some(first) = names.get(&name) {
        reader.refuse(
            tree.at,
            format!("the name `{name}` is already taken at line {}", first.line),
            "give each node its own name",
        );
        return None;
    }
    names.insert(name.clone(), tree.at);
    Some(NodeName(name))
}

fn addresses(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    taken: &mut BTreeMap<IpAddr, At>,
) -> Option<Vec<IpAddr>> {
    let tree = reader.required(fields, "addresses", "a node", "[10.0.0.1]")?;
    let items = reader.list(tree, "addresses", "[10.0.0.1]")?;
    if items.is_empty() {
        reader.refuse(
            tree.at,
            "a node without an address cannot be reached",
            "write at least one: `addresses: [10.0.0.1]`",
        );
        return None;
    }
    let mut sound = Vec::new();
    for item in items {
        let Some(address) = reader.address(item, "a node") else {
            continue;
        };
        if let Some(first) = taken.get(&address) {
            reader.refuse(
                item.at,
                format!(
                    "the address {address} is already taken at line {}",
                    first.line
                ),
                "give each node, and each of its links, its own address",
            );
            continue;
        }
        taken.insert(address, item.at);
        sound.push(address);
    }
    (sound.len() == items.len()).then_some(sound)
}

fn check_coordinators(reader: &mut Reader<'_>, at: At, nodes: &[NodeConfig]) {
    let count = nodes
        .iter()
        .filter(|node| node.role == NodeRole::Coordinator)
        .count();
    if count == 0 {
        reader.refuse(
            at,
            "no node is a coordinator, so nobody would decide",
            "add `coordinator: true` to three nodes",
        );
    } else if count > COORDINATORS_MAX {
        reader.refuse(
            at,
            format!(
                "{count} coordinators are too many: every decision waits for a majority of them"
            ),
            "write `coordinator: true` on 3, 5 or 7 of them; the others then need none of their own",
        );
    } else if count.is_multiple_of(2) {
        let fewer = count - 1;
        reader.refuse(
            at,
            format!("{count} coordinators survive no more losses than {fewer}: a majority of {count} is {}", count / 2 + 1),
            format!("write `coordinator: true` on {fewer} or {} of them; an odd number also decides when the network splits in halves", count + 1),
        );
    }
}
