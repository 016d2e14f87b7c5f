//! Manifests: what an administrator applies, one YAML document per object.
//!
//! `apiVersion: haft/v1`, `kind`, `metadata {name, labels, resourceVersion}`, `spec`; a `status` is ignored,
//! so that what `get -o yaml` prints can be applied again. Knows nothing of the objects that exist: the
//! cluster checks the rest when a manifest is applied.

mod fence_device;
mod fence_topology;
mod node;
mod virtual_ip;

use crate::fields::{Fields, Reader};
use crate::problem::Problems;
use crate::yaml::{self, At, Source, Tree};
use haft_engine::ids::{DeviceName, NodeName, ResourceId, TopologyName};
use haft_engine::spec::{Domains, ObjectSpec, ResourceSpec};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Longest name of a power or network domain, in bytes; the same bound as at the cluster.
const DOMAIN_MAX: usize = 63;

/// The only version there is.
pub const API_VERSION: &str = "haft/v1";

/// One object to apply, and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The object.
    pub spec: ObjectSpec,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The version that the object must stand at, if the manifest names one.
    pub resource_version: Option<String>,
    /// The file as the user named it.
    pub file: String,
    /// Line at which its document begins.
    pub line: u64,
}

/// Kinds of manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    VirtualIp,
    FenceDevice,
    FenceTopology,
    Node,
}

const KINDS: [(&str, Kind); 4] = [
    ("VirtualIP", Kind::VirtualIp),
    ("FenceDevice", Kind::FenceDevice),
    ("FenceTopology", Kind::FenceTopology),
    ("Node", Kind::Node),
];

/// A manifest with the places of what refers to other objects.
pub(crate) struct Placed {
    pub(crate) manifest: Manifest,
    name_at: At,
    /// Place of a virtual address.
    pub(crate) address: Option<(At, IpAddr)>,
    /// Places of node names.
    pub(crate) nodes: Vec<(At, NodeName)>,
}

impl Placed {
    /// Where it stands: at its name.
    pub(crate) fn place(&self) -> At {
        self.name_at
    }
}

/// Parses all documents of a text, or says everything that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, Problems> {
    let source = Source { file, text };
    let trees = yaml::parse(source)?;
    if trees.is_empty() {
        return Err(Problems::whole_file(
            file,
            "there is no manifest in it".to_owned(),
            "begin each object with `apiVersion: haft/v1`, and separate objects with `---`",
        ));
    }
    let mut reader = Reader::new(source);
    let placed: Vec<Placed> = trees
        .iter()
        .filter_map(|tree| read(&mut reader, tree))
        .collect();
    refuse_duplicates(&mut reader, &placed);
    let manifests = placed.into_iter().map(|placed| placed.manifest).collect();
    reader.finish(Some(manifests))
}

/// Reads one document.
pub(crate) fn read(reader: &mut Reader<'_>, tree: &Tree) -> Option<Placed> {
    let top = reader.map(
        tree,
        "a manifest",
        &["apiVersion", "kind", "metadata", "spec", "status"],
    )?;
    read_version(reader, top);
    let kind = reader
        .required(top, "kind", "a manifest", "VirtualIP")
        .and_then(|tree| reader.word(tree, "kind", &KINDS));
    let metadata = reader
        .required(top, "metadata", "a manifest", "{ name: web }")
        .and_then(|tree| reader.map(tree, "metadata", &["name", "labels", "resourceVersion"]));
    let name_tree = metadata.and_then(|fields| reader.required(fields, "name", "metadata", "web"));
    let name = name_tree.and_then(|tree| reader.name(tree, "an object"));
    let labels = read_labels(reader, metadata);
    let resource_version = metadata
        .and_then(|fields| fields.get("resourceVersion"))
        .and_then(|tree| reader.text(tree, "resourceVersion"))
        .map(str::to_owned);
    let spec_tree = match kind {
        Some(Kind::Node) => top.get("spec"),
        Some(Kind::VirtualIp | Kind::FenceDevice | Kind::FenceTopology) | None => {
            reader.required(top, "spec", "a manifest", "{ ... }")
        }
    };
    // Without a name the spec is still read, for its problems.
    let known_name = name.clone().unwrap_or_default();
    let (spec, address, nodes) = read_spec(reader, kind?, spec_tree, known_name, &labels)?;
    name?;
    Some(Placed {
        manifest: Manifest {
            spec,
            labels,
            resource_version,
            file: reader.source().file.to_owned(),
            line: tree.at.line,
        },
        name_at: name_tree?.at,
        address,
        nodes,
    })
}

/// A spec with the places of what refers to others.
type PlacedSpec = (ObjectSpec, Option<(At, IpAddr)>, Vec<(At, NodeName)>);

fn read_spec(
    reader: &mut Reader<'_>,
    kind: Kind,
    spec_tree: Option<&Tree>,
    name: String,
    labels: &BTreeMap<String, String>,
) -> Option<PlacedSpec> {
    Some(match kind {
        Kind::VirtualIp => {
            let vip = virtual_ip::read(reader, spec_tree?)?;
            let spec =
                ObjectSpec::Resource(ResourceId::vip(&name), ResourceSpec::VirtualIp(vip.spec));
            (spec, Some(vip.address), vip.nodes)
        }
        Kind::FenceDevice => {
            let device = fence_device::read(reader, spec_tree?)?;
            (
                ObjectSpec::Device(DeviceName(name), device.spec),
                None,
                device.nodes,
            )
        }
        Kind::FenceTopology => {
            let topology = fence_topology::read(reader, spec_tree?)?;
            (
                ObjectSpec::Topology(TopologyName(name), topology.spec),
                None,
                topology.nodes,
            )
        }
        Kind::Node => {
            let spec = node::read(reader, spec_tree, labels.clone())?;
            (ObjectSpec::Node(NodeName(name), spec), None, Vec::new())
        }
    })
}

fn read_version(reader: &mut Reader<'_>, top: Fields<'_>) {
    let Some(tree) = reader.required(top, "apiVersion", "a manifest", API_VERSION) else {
        return;
    };
    if let Some(text) = reader.text(tree, "apiVersion")
        && text != API_VERSION
    {
        reader.refuse(
            tree.at,
            format!("apiVersion `{text}` is not known to this release"),
            format!(
                "write `apiVersion: {API_VERSION}`, or use the release that wrote this manifest"
            ),
        );
    }
}

fn read_labels(reader: &mut Reader<'_>, metadata: Option<Fields<'_>>) -> BTreeMap<String, String> {
    let texts = metadata
        .and_then(|fields| fields.get("labels"))
        .and_then(|tree| reader.texts(tree, "labels"))
        .unwrap_or_default();
    texts
        .into_iter()
        .map(|(key, (_, value))| (key, value))
        .collect()
}

/// Two manifests of one name, of one address, or topologies of one node, cannot both be meant.
pub(crate) fn refuse_duplicates(reader: &mut Reader<'_>, placed: &[Placed]) {
    for (position, second) in placed.iter().enumerate() {
        for first in &placed[..position] {
            if same_object(&first.manifest.spec, &second.manifest.spec) {
                reader.refuse(
                    second.name_at,
                    format!(
                        "this object is already described at line {}",
                        first.manifest.line
                    ),
                    "keep one of the two, or rename this one",
                );
            } else if let (Some((first_at, one)), Some((second_at, other))) =
                (first.address, second.address)
                && one == other
            {
                reader.refuse(
                    second_at,
                    format!(
                        "the address {other} already belongs to the VirtualIP at line {}",
                        first_at.line
                    ),
                    "give each VirtualIP its own address; one address is one lease",
                );
            } else if let Some((at, node)) = in_both(first, second) {
                reader.refuse(
                    at,
                    format!(
                        "`{node}` is already in the FenceTopology at line {}",
                        first.manifest.line
                    ),
                    "name each node in one topology only; a topology alone says how its nodes are fenced",
                );
            }
        }
    }
}

/// A node that two topologies speak for, at its place in the second.
fn in_both<'a>(first: &Placed, second: &'a Placed) -> Option<(At, &'a NodeName)> {
    let ObjectSpec::Topology(_, earlier) = &first.manifest.spec else {
        return None;
    };
    let ObjectSpec::Topology(..) = &second.manifest.spec else {
        return None;
    };
    let mut nodes = second.nodes.iter();
    let found = nodes.find(|(_, node)| earlier.nodes.contains(node));
    found.map(|(at, node)| (*at, node))
}

fn same_object(one: &ObjectSpec, other: &ObjectSpec) -> bool {
    match (one, other) {
        (ObjectSpec::Node(a, _), ObjectSpec::Node(b, _)) => a == b,
        (ObjectSpec::Resource(a, _), ObjectSpec::Resource(b, _)) => a == b,
        (ObjectSpec::Device(a, _), ObjectSpec::Device(b, _)) => a == b,
        (ObjectSpec::Topology(a, _), ObjectSpec::Topology(b, _)) => a == b,
        (
            ObjectSpec::Node(..)
            | ObjectSpec::Resource(..)
            | ObjectSpec::Device(..)
            | ObjectSpec::Topology(..),
            _,
        ) => false,
    }
}

/// `powerDomain` and `networkDomain` of a node or a fence device.
fn domains(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Domains> {
    let mut named = |key: &str| match fields.get(key) {
        None => Some(None),
        Some(tree) => {
            let text = reader.text(tree, key)?.to_owned();
            if text.trim().is_empty() || text.len() > DOMAIN_MAX {
                reader.refuse(
                    tree.at,
                    format!("{key} must be a word of 1 to {DOMAIN_MAX} bytes"),
                    "name what fails as one, for instance `feed-a`, or leave it out",
                );
                return None;
            }
            Some(Some(text))
        }
    };
    let (power, network) = (named("powerDomain"), named("networkDomain"));
    Some(Domains {
        power: power?,
        network: network?,
    })
}

#[cfg(test)]
mod tests;
