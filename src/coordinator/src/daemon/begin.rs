//! The first coordinator's first entries, and the last thing a leader does.
//!
//! Begins once: Raft refuses a second initialisation and the log a second bootstrap. The bootstrap file stays
//! until everything in it is committed, so that a crash in between is repaired by a restart.

use super::within;
use crate::clock::wall_unix_ms;
use crate::consensus::{Condition, Leadership};
use crate::context::Context;
use crate::members;
use haft_api::persisted;
use haft_config::identity::{Bootstrap, Identity};
use haft_engine::apply::{Outcome, RefusalKind};
use haft_engine::command::{Command, Entry, HeartbeatKey, NodeRole, Registration};
use haft_engine::ids::{ClusterId, Epoch, Generation, NodeId, RequestId};
use haft_store::PeerId;
use std::sync::Arc;
use std::time::Duration;

const STEP_DEADLINE: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// Does what `haftctl cluster init` left to do, if anything.
///
/// # Errors
/// When the bootstrap file cannot be read: the cluster would never begin.
pub(super) async fn run(context: Arc<Context>, identity: Identity) -> Result<(), String> {
    let bootstrap = match identity.bootstrap() {
        Ok(Some(bootstrap)) => bootstrap,
        Ok(None) => return Ok(()),
        Err(error) => return Err(format!("the cluster cannot begin: {error}")),
    };
    let peer = members::peer_of(&context, &identity.node.0, &bootstrap.host);
    // Refused when this log is not empty: then an earlier start has done it.
    if let Err(error) = context.consensus.initialize(peer).await {
        tracing::debug!(%error, "not initialised again");
    }
    while let Err(why) = first_entry(&context, &identity, &bootstrap).await {
        tracing::debug!(why, "the first entry is not committed yet");
        tokio::time::sleep(RETRY_EVERY).await;
    }
    while !resources(&context).await {
        tokio::time::sleep(RETRY_EVERY).await;
    }
    if let Err(error) = Bootstrap::consume(&identity) {
        tracing::error!(%error, "the bootstrap file cannot be removed");
    }
    Ok(())
}

async fn first_entry(
    context: &Context,
    identity: &Identity,
    bootstrap: &Bootstrap,
) -> Result<(), String> {
    if context.replica.state().cluster != ClusterId::default() {
        return Ok(());
    }
    let key = haft_api::trust::key_sha256(&certificate_der(&identity.certificate_pem)?);
    let command = Command::Bootstrap {
        cluster: identity.cluster,
        epoch: Epoch(1),
        first: Registration {
            name: identity.node.clone(),
            role: NodeRole::Coordinator,
            host: bootstrap.host.clone(),
            key_sha256: key.map_err(|error| error.to_string())?,
        },
        heartbeat_key: HeartbeatKey {
            generation: 1,
            secret: bootstrap.heartbeat_key,
        },
        // From here on the log's counts, and the file's no more (R2a).
        timing: Some(context.timing),
    };
    match propose(context, command).await? {
        Some(Outcome::Refused(refusal)) => Err(refusal.message),
        Some(_) => Ok(()),
        None => Err("no outcome".to_owned()),
    }
}

/// Applies the config's initial resources once every configured node has joined (devices name nodes). Done
/// when each exists, or is refused for good.
async fn resources(context: &Context) -> bool {
    if context.config.resources.is_empty() {
        return true;
    }
    {
        let state = context.replica.state();
        let here = |name| state.node_named(name).is_some();
        if !context.config.nodes.iter().all(|node| here(&node.name)) {
            return false;
        }
    }
    let mut done = true;
    for manifest in &context.config.resources {
        let command = Command::Put {
            object: manifest.spec.clone(),
            expected: Some(Generation(0)),
            request: RequestId::default(),
        };
        done &= match propose(context, command).await {
            Ok(Some(Outcome::Refused(refusal))) => {
                let known = matches!(refusal.kind, RefusalKind::Exists | RefusalKind::Stale);
                if !known {
                    tracing::error!(
                        file = manifest.file,
                        line = manifest.line,
                        reason = refusal.reason,
                        fix = refusal.fix,
                        "an initial resource was refused: {}",
                        refusal.message
                    );
                }
                true
            }
            Ok(_) => true,
            // No leader just now, or another leads: that one's config is the same, but only the first
            // coordinator has the bootstrap file; try again.
            Err(_) => false,
        };
    }
    done
}

async fn propose(context: &Context, command: Command) -> Result<Option<Outcome>, String> {
    let entry = Entry {
        stamp_unix_ms: wall_unix_ms(),
        commands: vec![command],
    };
    let payload = persisted::encode_entry(&entry);
    let applied = context
        .consensus
        .propose(payload, Condition::Any, within(STEP_DEADLINE))
        .await;
    let applied = applied.map_err(|error| error.to_string())?;
    let outcomes =
        persisted::decode_outcomes(&applied.response).map_err(|error| error.to_string())?;
    Ok(outcomes.into_iter().next())
}

fn certificate_der(pem_text: &str) -> Result<Vec<u8>, String> {
    pem::parse(pem_text)
        .map(|pem| pem.into_contents())
        .map_err(|error| error.to_string())
}

/// A leader that is asked to end gives leadership to a voter that has caught up, so that nobody waits for an
/// election.
pub(super) async fn hand_over(context: &Context) {
    if !matches!(
        &*context.consensus.leadership().borrow(),
        Leadership::Leader { .. }
    ) {
        return;
    }
    let metrics = context.consensus.metrics();
    let effective = context.effective_membership();
    let best = metrics
        .peers
        .iter()
        .filter(|(peer, _)| effective.contains(NodeId(peer.0)) && peer.0 != context.own.0)
        .filter(|(_, progress)| {
            progress
                .ack_age
                .is_some_and(|age| age < context.timing.election_min)
        })
        .max_by_key(|(_, progress)| progress.matched);
    let Some((peer, _)) = best else { return };
    let deadline = within(context.timing.election_max);
    if let Err(error) = context
        .consensus
        .transfer_to(PeerId(peer.0), deadline)
        .await
    {
        tracing::warn!(%error, "leadership was not handed over before the end");
    }
}
