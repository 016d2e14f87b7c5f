//! How a cluster begins and grows: bootstrap, one-time join tokens, registration, Raft's membership.
//!
//! Checks no certificate: the caller has verified that the key is the joining node's own.

use super::{At, Outcome, Refusal, event};
use crate::clock::Timing;
use crate::command::{Command, HeartbeatKey, NodeRole, Registration, VoterSets};
use crate::ids::{BootId, ClusterId, Epoch, Generation, Incarnation, NodeId, NodeName, Reserved};
use crate::place::Place;
use crate::spec::NodeSpec;
use crate::state::{ClusterState, JoinToken, Node, Session};
use crate::timing::ClusterTiming;
use std::net::IpAddr;

/// The first coordinator's number, by construction.
const FIRST_NODE: NodeId = NodeId(1);

/// Most unspent join tokens: each is minted by an administrator for one node.
const JOIN_TOKENS_MAX: usize = 256;

/// Most registered nodes; beyond that, clusters are federated (design section 10).
const NODES_MAX: usize = 4_096;

/// Most registered coordinators: each votes, and every write waits for a majority of them (design:
/// three, five or seven). The same number binds the config file (`haft_config`).
const COORDINATORS_MAX: usize = 7;

/// Longest host text, as in RFC 1035 section 2.3.4.
const HOST_MAX: usize = 255;

/// Applies a command of this area.
pub(super) fn apply(
    state: &mut ClusterState,
    at: At,
    command: &Command,
) -> Result<Outcome, Refusal> {
    match command {
        Command::Bootstrap {
            cluster,
            epoch,
            first,
            heartbeat_key,
            timing,
        } => bootstrap(
            state,
            at,
            (*cluster, *epoch),
            (first, heartbeat_key),
            *timing,
        ),
        Command::MintJoinToken {
            sha256,
            node,
            expires_unix_ms,
            ..
        } => begun(state).and_then(|()| mint(state, at, *sha256, node, *expires_unix_ms)),
        Command::RegisterNode { node, token_sha256 } => {
            begun(state).and_then(|()| register(state, at, node, token_sha256))
        }
        Command::Membership(sets) => membership(state, sets),
        other => Err(Refusal::invalid("NotAJoiningCommand", format!("{other:?}"))),
    }
}

/// Nobody joins before the first entry: a certificate names the cluster, and the first node is node 1.
fn begun(state: &ClusterState) -> Result<(), Refusal> {
    if state.nodes.contains_key(&FIRST_NODE) {
        return Ok(());
    }
    Err(
        Refusal::stale("NotBegun", "the cluster's first entry is not applied yet")
            .fix("try again in a moment"),
    )
}

/// Whether `name` can be a node's or an object's name: a DNS label (RFC 1123 section 2.1).
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    let letters = name.bytes().all(|byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    });
    let ends = name
        .bytes()
        .next()
        .zip(name.bytes().last())
        .is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric());
    if letters && ends && name.len() <= 63 {
        return Ok(());
    }
    Err(
        Refusal::invalid("BadName", format!("{name:?} is not a name")).fix(
            "use 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit",
        ),
    )
}

fn node_of(id: NodeId, registration: &Registration) -> Node {
    Node {
        id,
        name: registration.name.clone(),
        role: registration.role,
        host: registration.host.clone(),
        key_sha256: registration.key_sha256,
        spec: NodeSpec::default(),
        generation: Generation(id.0),
        session: Session::Never,
        terms: None,
        boot: BootId::default(),
        boot_epoch: Epoch::default(),
        place: Place::default(),
        witnessed: None,
        fenced_at_ms: Vec::new(),
        quarantined: false,
        unfenced: Incarnation::default(),
    }
}

fn check_host(host: &str) -> Result<(), Refusal> {
    let printable = host.bytes().all(|byte| byte.is_ascii_graphic());
    if printable && !host.is_empty() && host.len() <= HOST_MAX {
        return Ok(());
    }
    Err(Refusal::invalid(
        "BadHost",
        format!("{host:?} is not a host"),
    ))
}

fn bootstrap(
    state: &mut ClusterState,
    at: At,
    (cluster, epoch): (ClusterId, Epoch),
    (first, heartbeat_key): (&Registration, &HeartbeatKey),
    timing: Option<Timing>,
) -> Result<Outcome, Refusal> {
    if !state.nodes.is_empty() {
        return Err(Refusal::exists(
            "AlreadyBootstrapped",
            format!("this is cluster {}", state.cluster),
        ));
    }
    check_name(first.name.as_str())?;
    check_host(&first.host)?;
    if let Some(timing) = &timing {
        super::timing::check(timing)?;
    }
    state.timing = timing.map(|timing| ClusterTiming {
        generation: Generation(at.index.0),
        timing,
    });
    state.cluster = cluster;
    state.epoch = epoch;
    state.heartbeat_keys = vec![heartbeat_key.clone()];
    state.nodes.insert(FIRST_NODE, node_of(FIRST_NODE, first));
    let message = format!("cluster {cluster} begins with {}", first.name);
    event::note(state, at, "ClusterBootstrapped", "cluster", message);
    Ok(Outcome::Registered(FIRST_NODE))
}

fn mint(
    state: &mut ClusterState,
    at: At,
    sha256: [u8; 32],
    node: &NodeName,
    expires_unix_ms: u64,
) -> Result<Outcome, Refusal> {
    check_name(node.as_str())?;
    if state.node_named(node).is_some() {
        return Err(
            Refusal::exists("NodeExists", format!("a node called {node} is registered"))
                .fix("choose another name, or delete the old node first"),
        );
    }
    if expires_unix_ms <= at.stamp_unix_ms {
        return Err(Refusal::invalid(
            "TokenExpired",
            "the token would be void at once",
        ));
    }
    state
        .join_tokens
        .retain(|_, token| token.expires_unix_ms > at.stamp_unix_ms);
    if state.join_tokens.len() >= JOIN_TOKENS_MAX {
        return Err(Refusal::dangerous(
            "TooManyTokens",
            format!("{JOIN_TOKENS_MAX} tokens are unspent"),
        )
        .fix("wait until some expire"));
    }
    let token = JoinToken {
        node: node.clone(),
        expires_unix_ms,
    };
    state.join_tokens.insert(sha256, token);
    let message = format!("a join token for {node} was minted");
    event::note(
        state,
        at,
        "JoinTokenMinted",
        format!("node/{node}"),
        message,
    );
    Ok(Outcome::Done)
}

fn register(
    state: &mut ClusterState,
    at: At,
    registration: &Registration,
    token_sha256: &[u8; 32],
) -> Result<Outcome, Refusal> {
    let name = &registration.name;
    if let Some(present) = state.node_named(name) {
        // A retry of a join whose answer was lost.
        if present.key_sha256 == registration.key_sha256 {
            return Ok(Outcome::Registered(present.id));
        }
        return Err(
            Refusal::exists("NodeExists", format!("a node called {name} is registered"))
                .fix("choose another name, or delete the old node first"),
        );
    }
    check_token(state, at, name, token_sha256)?;
    check_name(name.as_str())?;
    check_host(&registration.host)?;
    check_unowned(state, &registration.host)?;
    let twin = state
        .nodes
        .values()
        .find(|node| node.key_sha256 == registration.key_sha256);
    if let Some(twin) = twin {
        return Err(Refusal::exists(
            "KeyInUse",
            format!("{} has the same key: a cloned identity", twin.name),
        )
        .fix("remove the identity directory on this machine and join again"));
    }
    if state.nodes.len() >= NODES_MAX {
        return Err(Refusal::dangerous(
            "TooManyNodes",
            format!("{NODES_MAX} nodes are registered"),
        ));
    }
    let coordinators = state
        .nodes
        .values()
        .filter(|node| node.role == registration.role);
    if registration.role == NodeRole::Coordinator && coordinators.count() >= COORDINATORS_MAX {
        return Err(Refusal::dangerous(
            "TooManyCoordinators",
            format!("{COORDINATORS_MAX} coordinators are registered, each of which votes"),
        )
        .fix("write `coordinator: false` for this node and join again"));
    }
    let id = NodeId(at.index.0);
    if state.nodes.contains_key(&id) {
        return Err(Refusal::stale(
            "OneNodePerEntry",
            "this entry has registered a node already",
        ));
    }
    state.join_tokens.remove(token_sha256);
    state.nodes.insert(id, node_of(id, registration));
    let message = format!("{name} joined as node {id}");
    event::note(state, at, "NodeRegistered", format!("node/{name}"), message);
    Ok(Outcome::Registered(id))
}

/// A host address that a VirtualIP owns would be taken from the machine with the resource, or answer beside it.
fn check_unowned(state: &ClusterState, host: &str) -> Result<(), Refusal> {
    let Ok(address) = host.parse::<IpAddr>() else {
        return Ok(());
    };
    let address = address.to_canonical();
    match state.reserved().get(&Reserved::Address(address)) {
        None => Ok(()),
        Some(resource) => Err(Refusal::dangerous(
            "AddressIsResource",
            format!("{address} is the address of {resource}"),
        )
        .fix(format!(
            "join with an address that is this machine's own, or delete {resource} first"
        ))),
    }
}

fn check_token(
    state: &ClusterState,
    at: At,
    name: &NodeName,
    token_sha256: &[u8; 32],
) -> Result<(), Refusal> {
    // One answer for unknown, spent and expired: a guesser learns nothing.
    let void = || {
        Refusal::denied(
            "TokenVoid",
            format!("the join token is unknown, spent, expired or not for {name}"),
        )
        .fix("mint a new one with haftctl on a member")
    };
    let token = state.join_tokens.get(token_sha256).ok_or_else(void)?;
    if token.node == *name && token.expires_unix_ms > at.stamp_unix_ms {
        return Ok(());
    }
    Err(void())
}

fn membership(state: &mut ClusterState, sets: &VoterSets) -> Result<Outcome, Refusal> {
    if sets.at.index < state.membership.at.index {
        return Err(Refusal::stale(
            "OlderMembership",
            format!("membership {} is in force", state.membership.at),
        ));
    }
    state.membership = sets.clone();
    Ok(Outcome::Done)
}
