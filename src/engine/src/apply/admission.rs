//! Admission: whether what an administrator wrote is acceptable, before it becomes state.
//!
//! Every refusal says what is wrong and what to write instead. Checks nothing on disk or network: a
//! device's agent is looked up by its executor.

use super::Refusal;
use super::fence::ATTEMPT_MAX;
use super::joining::check_name;
use crate::ids::{DeviceName, NodeName, Reserved, ResourceId};
use crate::levels::is_isolated;
use crate::spec::{
    Domains, FenceDeviceSpec, HostArgument, Isolation, ResourceSpec, Unfenced, VirtualIpSpec,
};
use crate::state::{ClusterState, Device, reserved_by};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// IFNAMSIZ less the terminating zero (linux/if.h).
const INTERFACE_MAX: usize = 15;
/// Most labels, parameters or secret files of one object.
const PAIRS_MAX: usize = 64;
/// Longest key or value, in bytes; the fence protocol takes values of up to 4,096.
const TEXT_MAX: usize = 4_096;
/// Longest name of a parameter.
const ARGUMENT_MAX: usize = 63;
/// Longest name of a power or network domain.
const DOMAIN_MAX: usize = 63;
/// Shortest time for an order on a device: less could not even read it twice.
pub(super) const DEADLINE_MIN: Duration = Duration::from_millis(100);
/// Levels tried in a row, as in Pacemaker's fencing topology (1 to 9).
pub(super) const LEVEL_MAX: u8 = 9;
/// Longest wait before a device, or a level, is used.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// Checks that declared domains are words that can be told apart.
pub(super) fn check_domains(domains: &Domains) -> Result<(), Refusal> {
    for name in [&domains.power, &domains.network].into_iter().flatten() {
        let fits = !name.trim().is_empty() && name.len() <= DOMAIN_MAX;
        if !fits || name.chars().any(char::is_control) {
            return Err(
                Refusal::invalid("BadDomain", format!("{name:?} names no domain")).fix(format!(
                    "write a word of 1 to {DOMAIN_MAX} bytes, or leave it out"
                )),
            );
        }
    }
    Ok(())
}

/// Checks a resource's spec against the cluster.
pub(super) fn check_resource(
    state: &ClusterState,
    id: &ResourceId,
    spec: &ResourceSpec,
) -> Result<(), Refusal> {
    check_name(&id.name)?;
    let ResourceSpec::VirtualIp(vip) = spec;
    check_address(state, vip.address)?;
    check_interface(&vip.interface)?;
    check_preference(state, vip)?;
    check_unreserved(state, id, spec)?;
    match vip.isolation {
        // Whether the cluster's timing leaves room for a watchdog is checked by haftd, which knows it; an owner
        // whose watchdog cannot be armed hands the resource back without having acted.
        Isolation::Lease | Isolation::Watchdog => Ok(()),
        Isolation::Stonith => check_covered(state, vip),
    }
}

fn check_address(state: &ClusterState, address: IpAddr) -> Result<(), Refusal> {
    let wrong = match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Some("unspecified"),
        IpAddr::V4(v4) if v4.is_loopback() => Some("a loopback address"),
        IpAddr::V4(v4) if v4.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) if v6.is_unspecified() => Some("unspecified"),
        IpAddr::V6(v6) if v6.is_loopback() => Some("a loopback address"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("a multicast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4-mapped address"),
        IpAddr::V6(_) => None,
    };
    if let Some(wrong) = wrong {
        return Err(
            Refusal::invalid("BadAddress", format!("{address} is {wrong}"))
                .fix("choose a free unicast address of the clients' network"),
        );
    }
    let is_host = |host: &str| {
        let host = host.parse::<IpAddr>();
        host.is_ok_and(|host| host.to_canonical() == address)
    };
    let owner = state.nodes.values().find(|node| is_host(&node.host));
    match owner {
        None => Ok(()),
        Some(node) => Err(Refusal::dangerous(
            "AddressIsNode",
            format!("{address} is the address of {}", node.name),
        )
        .fix("choose an address that no machine owns for itself")),
    }
}

fn check_interface(name: &str) -> Result<(), Refusal> {
    let fits = !name.is_empty() && name.len() <= INTERFACE_MAX && name != "." && name != "..";
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    if fits && plain {
        return Ok(());
    }
    Err(
        Refusal::invalid("BadInterface", format!("{name:?} is not an interface name"))
            .fix("write a name of 1 to 15 characters, as ip link shows it"),
    )
}

fn check_preference(state: &ClusterState, vip: &VirtualIpSpec) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for name in &vip.preference {
        if state.node_named(name).is_none() {
            return Err(unknown_node(state, name));
        }
        if !seen.insert(name) {
            return Err(Refusal::invalid(
                "DuplicatePreference",
                format!("{name} is preferred twice"),
            )
            .fix("name each node once"));
        }
    }
    Ok(())
}

pub(super) fn unknown_node(state: &ClusterState, name: &NodeName) -> Refusal {
    let known: Vec<&str> = state
        .nodes
        .values()
        .take(16)
        .map(|node| node.name.as_str())
        .collect();
    Refusal::not_found("NoSuchNode", format!("no node is called {name}"))
        .fix(format!("name one of: {}", known.join(", ")))
}

fn check_unreserved(
    state: &ClusterState,
    id: &ResourceId,
    spec: &ResourceSpec,
) -> Result<(), Refusal> {
    let wanted = reserved_by(spec);
    let taken = state.resources.values().find(|other| {
        let held = other
            .ownership
            .holding()
            .map(|holding| reserved_by(&holding.spec));
        other.id != *id && (reserved_by(&other.spec) == wanted || held.as_ref() == Some(&wanted))
    });
    let Some(taken) = taken else {
        return Ok(());
    };
    let Reserved::Address(address) = wanted;
    Err(Refusal::exists(
        "AddressInUse",
        format!("{address} is taken by {}", taken.id),
    )
    .fix(format!(
        "choose another address, or wait until {} lets go of it: haftctl why {}",
        taken.id, taken.id
    )))
}

/// Registered nodes that no device isolates.
pub(crate) fn uncovered(
    state: &ClusterState,
    devices: &BTreeMap<DeviceName, Device>,
) -> Vec<NodeName> {
    state
        .nodes
        .values()
        .filter(|node| !is_isolated(devices, &state.topologies, &node.name))
        .map(|node| node.name.clone())
        .collect()
}

fn check_covered(state: &ClusterState, vip: &VirtualIpSpec) -> Result<(), Refusal> {
    match vip.unfenced {
        Unfenced::Allowed => return Ok(()),
        Unfenced::Refused => {}
    }
    match uncovered(state, &state.devices).first() {
        None => Ok(()),
        Some(node) => Err(Refusal::dangerous(
            "NoFenceDevice",
            format!("isolation is stonith and no fence device covers {node}"),
        )
        .fix(format!(
            "apply a FenceDevice that targets {node}; or write isolation: lease; or, to accept that this \
             resource waits for a human when its owner is lost, allowUnfenced: true"
        ))),
    }
}

/// Refuses a change of devices that would leave a node of a `stonith` resource uncovered anew.
pub(super) fn keep_covered(
    state: &ClusterState,
    devices: &BTreeMap<DeviceName, Device>,
) -> Result<(), Refusal> {
    let before: BTreeSet<NodeName> = uncovered(state, &state.devices).into_iter().collect();
    let Some(lost) = uncovered(state, devices)
        .into_iter()
        .find(|name| !before.contains(name))
    else {
        return Ok(());
    };
    let relies = state.resources.values().find(|resource| {
        let held = resource
            .ownership
            .holding()
            .is_some_and(|holding| relies_on_devices(&holding.spec));
        held || relies_on_devices(&resource.spec)
    });
    match relies {
        None => Ok(()),
        Some(resource) => Err(Refusal::dangerous(
            "DeviceNeeded",
            format!(
                "{} is isolated by stonith and no other device covers {lost}",
                resource.id
            ),
        )
        .fix(format!(
            "apply another FenceDevice that targets {lost} first"
        ))),
    }
}

fn relies_on_devices(spec: &ResourceSpec) -> bool {
    let ResourceSpec::VirtualIp(vip) = spec;
    vip.isolation == Isolation::Stonith && vip.unfenced == Unfenced::Refused
}

/// Checks a fence device's spec against the cluster.
pub(super) fn check_device(
    state: &ClusterState,
    name: &DeviceName,
    spec: &FenceDeviceSpec,
) -> Result<(), Refusal> {
    check_domains(&spec.domains)?;
    check_name(name.as_str())?;
    let relative = spec.agent.contains('/') && !spec.agent.starts_with('/');
    if spec.agent.is_empty() || relative || check_text(&spec.agent).is_err() {
        return Err(
            Refusal::invalid("BadAgent", format!("{:?} is not a fence agent", spec.agent))
                .fix("write its name, for instance fence_haft_ipmi, or an absolute path"),
        );
    }
    if spec.targets.is_empty() {
        return Err(
            Refusal::invalid("NoTargets", "the device isolates no node").fix("name its targets")
        );
    }
    for (target, plug) in &spec.targets {
        if state.node_named(target).is_none() {
            return Err(unknown_node(state, target));
        }
        check_text(plug)?;
    }
    check_host_argument(&spec.host_argument)?;
    check_delay(spec.delay)?;
    if spec.deadline < DEADLINE_MIN || spec.deadline > ATTEMPT_MAX {
        return Err(Refusal::invalid(
            "BadDeadline",
            format!("a deadline of {:?} is out of bounds", spec.deadline),
        )
        .fix(format!(
            "write between {} ms and {} s",
            DEADLINE_MIN.as_millis(),
            ATTEMPT_MAX.as_secs()
        )));
    }
    if spec.level == 0 || spec.level > LEVEL_MAX {
        return Err(
            Refusal::invalid("BadLevel", format!("level {} is out of bounds", spec.level))
                .fix("write 1 to 9; 1 is tried first"),
        );
    }
    check_parameters(spec)
}

fn check_host_argument(argument: &HostArgument) -> Result<(), Refusal> {
    let HostArgument::Named(name) = argument else {
        return Ok(());
    };
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if plain && name != "action" && name != "nodename" && name.len() <= ARGUMENT_MAX {
        return Ok(());
    }
    Err(Refusal::invalid(
        "BadHostArgument",
        format!("{name:?} is no parameter that could name a machine"),
    )
    .fix("write plug or port, as the agent's metadata says, or leave it out"))
}

/// Checks a wait before an off.
pub(super) fn check_delay(delay: Duration) -> Result<(), Refusal> {
    if delay > DELAY_MAX {
        return Err(
            Refusal::invalid("BadDelay", format!("a delay of {delay:?} is out of bounds"))
                .fix("wait at most 60s, or leave the delay out"),
        );
    }
    Ok(())
}

fn check_parameters(spec: &FenceDeviceSpec) -> Result<(), Refusal> {
    check_pairs(&spec.parameters)?;
    check_pairs(&spec.secret_files)?;
    for key in spec.parameters.keys().chain(spec.secret_files.keys()) {
        if key == "action" {
            return Err(Refusal::invalid(
                "ActionIsOurs",
                "the action is chosen by the order, not by the device's parameters",
            )
            .fix("remove action"));
        }
    }
    if let Some(key) = spec.parameters.keys().find(|key| looks_secret(key)) {
        return Err(Refusal::invalid(
            "SecretInParameters",
            format!("{key} looks like a secret, and parameters are stored in the log"),
        )
        .fix(format!(
            "put it into a root-only file on every coordinator and name that file under secretFiles.{key}"
        )));
    }
    for (key, path) in &spec.secret_files {
        if spec.parameters.contains_key(key) {
            return Err(Refusal::invalid(
                "ParameterTwice",
                format!("{key} is given both as parameter and as secret file"),
            )
            .fix("give it once"));
        }
        if !path.starts_with('/') {
            return Err(Refusal::invalid(
                "BadSecretFile",
                format!("the secret file of {key} is not an absolute path"),
            )
            .fix("write an absolute path"));
        }
    }
    Ok(())
}

/// Keys under which the ClusterLabs agents take secrets; a `_script` or `_file` names where one is kept.
fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let points_elsewhere = key.ends_with("_script") || key.ends_with("_file");
    let named = ["passw", "secret", "community", "token"]
        .iter()
        .any(|word| key.contains(word));
    named && !points_elsewhere
}

/// Checks a node's labels.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    check_pairs(labels)
}

fn check_pairs(pairs: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if pairs.len() > PAIRS_MAX {
        return Err(Refusal::invalid(
            "TooManyPairs",
            format!("more than {PAIRS_MAX} keys"),
        ));
    }
    for (key, value) in pairs {
        if key.is_empty() {
            return Err(Refusal::invalid("EmptyKey", "a key is empty"));
        }
        check_text(key)?;
        check_text(value)?;
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), Refusal> {
    let clean = !text.chars().any(char::is_control);
    if clean && text.len() <= TEXT_MAX {
        return Ok(());
    }
    Err(
        Refusal::invalid("BadText", "a value holds control characters or is too long")
            .fix(format!("write one line of at most {TEXT_MAX} bytes")),
    )
}
