//! `cluster init`: mints a cluster on its first coordinator. No daemon, no network.
//!
//! Refuses before it mints anything when there is an identity or a context already, and leaves nothing
//! behind when it cannot finish.

use super::{data_dir, load_config, minting_failed};
use crate::cli::{Global, Init};
use crate::context::Context;
use crate::failure::{Exit, Failure, chain};
use crate::output::{note, print};
use crate::pki::{self, Authority};
use haft_api::client::{Credentials, host_port};
use haft_config::identity::{Bootstrap, FOLDER, NewIdentity, WriteIdentityError};
use haft_config::{Config, NodeConfig};
use haft_engine::command::NodeRole;
use haft_engine::ids::{ClusterId, NodeId};
use std::path::Path;

/// The name in the first administrator's certificate.
const ADMIN: &str = "admin";

pub(super) fn run(global: &Global, arguments: &Init) -> Result<(), Failure> {
    let config = load_config(global)?;
    let node = local_node(&config, arguments.node.as_deref())?;
    if node.role != NodeRole::Coordinator {
        return Err(Failure::new(
            Exit::Usage,
            "NotACoordinator",
            format!(
                "`{}` is no coordinator, so it cannot begin a cluster",
                node.name
            ),
            "run this on a node with `coordinator: true`",
        ));
    }
    let data_dir = data_dir(&config, arguments.data_dir.as_ref());
    let identity = data_dir.join(FOLDER);
    if identity.exists() {
        return Err(identity_exists(&identity));
    }
    let context_path = global
        .context
        .clone()
        .unwrap_or_else(Context::default_place);
    if context_path.exists() {
        return Err(Failure::new(
            Exit::Conflict,
            "ContextExists",
            format!(
                "{} exists already and holds the credentials of a cluster",
                context_path.display()
            ),
            "keep it, and write the new one elsewhere: --context FILE",
        ));
    }
    let minted = mint(&config, node)?;
    minted
        .identity
        .write(&data_dir)
        .map_err(|error| write_failed(&error))?;
    if let Err(error) = minted.context.write(&context_path) {
        // Half a beginning is none: the identity goes again.
        let _ = std::fs::remove_dir_all(&identity);
        return Err(Failure::new(
            Exit::Failed,
            "Unwritable",
            format!(
                "{} cannot be written: {error}; nothing was changed",
                context_path.display()
            ),
            "name another place with --context FILE",
        ));
    }
    announce(&config, &minted, node, &identity, &context_path);
    Ok(())
}

struct MintedCluster {
    identity: NewIdentity,
    context: Context,
}

fn mint(config: &Config, node: &NodeConfig) -> Result<MintedCluster, Failure> {
    let fail = |error: pki::MintError| minting_failed(&error);
    let cluster = ClusterId(pki::random().map_err(fail)?);
    let authority = Authority::mint(cluster, &config.cluster_name).map_err(fail)?;
    let own = authority
        .node(node.name.as_str(), &node.addresses)
        .map_err(fail)?;
    let admin = authority.user(ADMIN).map_err(fail)?;
    let ca_pem = authority.minted.certificate_pem.clone();
    let endpoints = config
        .coordinators()
        .flat_map(|coordinator| coordinator.addresses.iter())
        .map(|address| host_port(&address.to_string(), config.ports.api))
        .collect();
    let credentials = Credentials {
        ca_pem: ca_pem.clone(),
        certificate_pem: admin.certificate_pem,
        key_pem: admin.key_pem,
    };
    Ok(MintedCluster {
        identity: NewIdentity {
            cluster,
            cluster_name: config.cluster_name.clone(),
            node: node.name.clone(),
            // Fixed by construction: the entry that registers the first coordinator comes first.
            node_id: NodeId(1),
            // Servers present the authority too: a joining node knows it by its hash alone.
            certificate_pem: format!("{}{ca_pem}", own.certificate_pem),
            ca_pem,
            key_pem: own.key_pem,
            ca_key_pem: Some(authority.minted.key_pem.clone()),
            bootstrap: Some(Bootstrap {
                heartbeat_key: pki::random().map_err(fail)?,
                host: node.addresses[0].to_string(),
            }),
        },
        context: Context::new(
            config.cluster_name.clone(),
            cluster.to_string(),
            endpoints,
            credentials,
        ),
    })
}

fn announce(
    config: &Config,
    minted: &MintedCluster,
    node: &NodeConfig,
    identity: &Path,
    context: &Path,
) {
    print(&format!(
        "cluster {} {}\n",
        minted.identity.cluster_name, minted.identity.cluster
    ));
    note(&format!(
        "identity of {}   {}",
        node.name,
        identity.display()
    ));
    note(&format!(
        "administrator    {} (keep it to yourself)",
        context.display()
    ));
    note("next: start haftd and haft-agent here");
    for other in config.nodes.iter().filter(|other| other.name != node.name) {
        note(&format!(
            "      haftctl cluster token create --node {0}  and, on {0}: haftctl cluster join --config FILE --node {0} --token-file -",
            other.name
        ));
    }
}

pub(super) fn local_node<'a>(
    config: &'a Config,
    named: Option<&str>,
) -> Result<&'a NodeConfig, Failure> {
    config.local(named).map_err(|error| {
        Failure::new(
            Exit::Usage,
            "UnknownNode",
            error.to_string(),
            "name the node as the configuration does: --node NAME",
        )
    })
}

pub(super) fn identity_exists(identity: &Path) -> Failure {
    Failure::new(
        Exit::Conflict,
        "IdentityExists",
        format!("this node has an identity already: {}", identity.display()),
        "start haftd and haft-agent with it. Only to give this node up for good: remove it from its cluster, stop both daemons, and move the data directory away",
    )
}

pub(super) fn write_failed(error: &WriteIdentityError) -> Failure {
    match error {
        WriteIdentityError::Exists { dir } => identity_exists(dir),
        WriteIdentityError::Unwritable { .. } => Failure::new(
            Exit::Failed,
            "Unwritable",
            format!("{}; nothing was changed", chain(error)),
            "run this as the user that runs haft, usually root",
        ),
    }
}
