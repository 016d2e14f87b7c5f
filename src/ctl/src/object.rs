//! Objects as haftctl shows them: JSON in the shape of manifests, and rows of tables.
//!
//! The shapes are documented in docs/cli.md and only ever gain keys. What `get -o yaml` prints can be applied.

mod fence_device;
mod fence_topology;
mod node;
mod virtual_ip;

use crate::cli::{Form, Subject};
use crate::failure::{Exit, Failure};
use crate::output::{self, Output};
use haft_api::pb::v1;
use haft_config::manifest::API_VERSION;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

pub(crate) use node::order_json;

/// Kinds of object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Node,
    VirtualIp,
    FenceDevice,
    FenceTopology,
}

impl Kind {
    /// From any of its names on the command line.
    pub(crate) fn from_word(word: &str) -> Option<Kind> {
        match word.to_ascii_lowercase().as_str() {
            "node" | "nodes" => Some(Kind::Node),
            "vip" | "vips" | "virtualip" | "virtualips" | "virtual-ip" => Some(Kind::VirtualIp),
            "fd" | "fencedevice" | "fencedevices" | "fence-device" | "fence-devices" => {
                Some(Kind::FenceDevice)
            }
            "ft" | "fencetopology" | "fencetopologies" | "fence-topology" | "fence-topologies" => {
                Some(Kind::FenceTopology)
            }
            _ => None,
        }
    }

    /// Its name on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Node => "node",
            Kind::VirtualIp => "vip",
            Kind::FenceDevice => "fencedevice",
            Kind::FenceTopology => "fencetopology",
        }
    }

    /// `kind` of its manifests.
    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Kind::Node => "Node",
            Kind::VirtualIp => "VirtualIP",
            Kind::FenceDevice => "FenceDevice",
            Kind::FenceTopology => "FenceTopology",
        }
    }
}

/// An object of any kind.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Node(v1::Node, Vec<v1::FenceOrder>),
    VirtualIp(v1::VirtualIp),
    FenceDevice(v1::FenceDevice),
    FenceTopology(v1::FenceTopology),
}

impl Object {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Object::Node(..) => Kind::Node,
            Object::VirtualIp(_) => Kind::VirtualIp,
            Object::FenceDevice(_) => Kind::FenceDevice,
            Object::FenceTopology(_) => Kind::FenceTopology,
        }
    }

    fn metadata(&self) -> Option<&v1::ObjectMeta> {
        match self {
            Object::Node(node, _) => node.metadata.as_ref(),
            Object::VirtualIp(vip) => vip.metadata.as_ref(),
            Object::FenceDevice(device) => device.metadata.as_ref(),
            Object::FenceTopology(topology) => topology.metadata.as_ref(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.metadata()
            .map_or("", |metadata| metadata.name.as_str())
    }

    /// `vip/web`.
    pub(crate) fn reference(&self) -> String {
        format!("{}/{}", self.kind().word(), self.name())
    }

    /// In the shape of its manifest, with its status.
    pub(crate) fn json(&self) -> Value {
        let (spec, status) = match self {
            Object::Node(node, orders) => node::json(node, orders),
            Object::VirtualIp(vip) => virtual_ip::json(vip),
            Object::FenceDevice(device) => fence_device::json(device),
            Object::FenceTopology(topology) => fence_topology::json(topology),
        };
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(self.name()));
        if let Some(meta) = self.metadata() {
            let labels: Map<String, Value> = meta
                .labels
                .iter()
                .map(|(key, value)| (key.clone(), json!(value)))
                .collect();
            metadata.insert("labels".to_owned(), Value::Object(labels));
            metadata.insert("resourceVersion".to_owned(), json!(meta.resource_version));
        }
        json!({
            "apiVersion": API_VERSION,
            "kind": self.kind().manifest(),
            "metadata": metadata,
            "spec": spec,
            "status": status,
        })
    }

    fn row(&self, form: Form) -> Vec<String> {
        match self {
            Object::Node(node, _) => node::row(node, form),
            Object::VirtualIp(vip) => virtual_ip::row(vip, form),
            Object::FenceDevice(device) => fence_device::row(device, form),
            Object::FenceTopology(topology) => fence_topology::row(topology, form),
        }
    }
}

fn headers(kind: Kind, form: Form) -> Vec<&'static str> {
    match kind {
        Kind::Node => node::headers(form),
        Kind::VirtualIp => virtual_ip::headers(form),
        Kind::FenceDevice => fence_device::headers(form),
        Kind::FenceTopology => fence_topology::headers(form),
    }
}

/// A table of objects of one kind.
pub(crate) fn table(kind: Kind, objects: &[Object], output: Output) -> String {
    let rows: Vec<Vec<String>> = objects
        .iter()
        .map(|object| object.row(output.form))
        .collect();
    output::columns(&headers(kind, output.form), &rows, output.headers)
}

/// The objects of one kind in the form asked for.
pub(crate) fn render_list(kind: Kind, objects: &[Object], output: Output) -> String {
    match output.form {
        Form::Table | Form::Wide => table(kind, objects, output),
        Form::Json => {
            let items: Vec<Value> = objects.iter().map(Object::json).collect();
            output::json(&json!({ "items": items }))
        }
        Form::Yaml => output::yaml_documents(&objects.iter().map(Object::json).collect::<Vec<_>>()),
        Form::Name => objects
            .iter()
            .map(|object| format!("{}\n", object.reference()))
            .collect(),
    }
}

/// One object in the form asked for.
pub(crate) fn render_one(object: &Object, output: Output) -> String {
    match output.form {
        Form::Json => output::json(&object.json()),
        Form::Yaml => output::yaml(&object.json()),
        Form::Table | Form::Wide | Form::Name => {
            render_list(object.kind(), std::slice::from_ref(object), output)
        }
    }
}

/// `vip`, `vip web` or `vip/web` as typed.
pub(crate) fn parse_subject(subject: &Subject) -> Result<(Kind, Option<String>), Failure> {
    let (word, name) = match (subject.subject.split_once('/'), &subject.name) {
        (Some((word, name)), None) => (word, Some(name.to_owned())),
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                Exit::Usage,
                "Usage",
                "a name follows the slash and another follows the kind",
                "write KIND/NAME or KIND NAME",
            ));
        }
        (None, name) => (subject.subject.as_str(), name.clone()),
    };
    let kind = Kind::from_word(word).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "UnknownKind",
            format!("there is no kind `{word}`"),
            "write node, vip, fencedevice or fencetopology",
        )
    })?;
    match name {
        Some(name) if name.is_empty() => Err(Failure::new(
            Exit::Usage,
            "Usage",
            "the name after the slash is empty",
            format!("write {}/NAME", kind.word()),
        )),
        name => Ok((kind, name)),
    }
}

/// As [`parse_subject`], where a name must be given.
pub(crate) fn parse_named(subject: &Subject) -> Result<(Kind, String), Failure> {
    let (kind, name) = parse_subject(subject)?;
    let name = name.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "Usage",
            format!("which {}?", kind.word()),
            format!("write {}/NAME", kind.word()),
        )
    })?;
    Ok((kind, name))
}

/// RFC 3339 in UTC with milliseconds; empty for 0, which stands for "never".
pub(crate) fn timestamp(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return String::new();
    }
    // Written out: the library leaves trailing zeros of the fraction away, and scripts cut by columns.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .map(|at| {
            format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                at.year(),
                u8::from(at.month()),
                at.day(),
                at.hour(),
                at.minute(),
                at.second(),
                at.millisecond()
            )
        })
        .unwrap_or_default()
}

/// `20s` where it is whole seconds, else milliseconds.
fn span(millis: u64) -> String {
    if millis.is_multiple_of(1_000) {
        format!("{}s", millis / 1_000)
    } else {
        format!("{millis}ms")
    }
}

/// `powerDomain` and `networkDomain`, where they are declared.
fn add_domains(spec: &mut Value, domains: Option<&v1::Domains>) {
    let Some(domains) = domains else { return };
    for (key, name) in [
        ("powerDomain", &domains.power),
        ("networkDomain", &domains.network),
    ] {
        if !name.is_empty() {
            spec[key] = json!(name);
        }
    }
}

/// How long ago, for tables: `12s`, `5m`, `3h`, `9d`.
pub(crate) fn age(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return String::new();
    }
    let now_ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    let seconds = ((now_ms - i128::from(unix_ms)) / 1_000).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
