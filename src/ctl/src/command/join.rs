//! `cluster join`: spends a one-time token and writes this node's identity.
//!
//! The key is made here and never leaves; the cluster is known by the hash of its authority, which the token
//! carries. Nothing is written until the certificate that came back has been checked.

mod pin;

use super::init::{identity_exists, local_node, write_failed};
use super::{data_dir, load_config, minting_failed};
use crate::cli::{Global, Join};
use crate::failure::{Exit, Failure};
use crate::output::{note, print};
use crate::pki;
use crate::token::JoinToken;
use haft_api::client::host_port;
use haft_api::pb::v1;
use haft_api::pb::v1::cluster_service_client::ClusterServiceClient;
use haft_api::{status, trust};
use haft_config::identity::{FOLDER, NewIdentity};
use haft_config::{Config, NodeConfig};
use haft_engine::command::NodeRole;
use haft_engine::ids::NodeId;
use rcgen::{KeyPair, PublicKeyData};
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A token is below 250 characters; more is some other file.
const TOKEN_MAX: u64 = 1_024;
/// A join waits for a commit, so one coordinator gets most of an election's time.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(global: &Global, arguments: &Join) -> Result<(), Failure> {
    refuse_argument(arguments)?;
    let config = load_config(global)?;
    let node = local_node(&config, arguments.node.as_deref())?;
    let data_dir = data_dir(&config, arguments.data_dir.as_ref());
    if data_dir.join(FOLDER).exists() {
        return Err(identity_exists(&data_dir.join(FOLDER)));
    }
    let token = read_token(arguments)?;
    if token.node != node.name.as_str() {
        return Err(Failure::new(
            Exit::Usage,
            "TokenForOther",
            format!(
                "the token admits `{}`, and this is `{}`",
                token.node, node.name
            ),
            format!(
                "mint one for this node: haftctl cluster token create --node {}",
                node.name
            ),
        ));
    }
    let (key, request_pem) = pki::request(token.cluster, node.name.as_str(), &node.addresses)
        .map_err(|error| minting_failed(&error))?;
    let answer = ask(
        &config,
        node,
        &token,
        request_pem,
        global.timeout.unwrap_or(TIMEOUT),
    )
    .await?;
    let identity = checked(&token, node, &key, answer)?;
    let node_id = identity.node_id;
    let folder = identity
        .write(&data_dir)
        .map_err(|error| write_failed(&error))?;
    print(&format!(
        "node {} {} of cluster {} {}\n",
        node.name, node_id, identity.cluster_name, token.cluster
    ));
    note(&format!("identity   {}", folder.display()));
    note("next: start haft-agent here, and haftd if this node is a coordinator");
    Ok(())
}

fn refuse_argument(arguments: &Join) -> Result<(), Failure> {
    if arguments.token.is_none() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        "SecretInArguments",
        "a token on the command line can be read by every user of this machine, and stays in the shell's history",
        "put it into a file or a pipe: --token-file FILE, or --token-file - for stdin; consider this one leaked, and mint another",
    ))
}

fn read_token(arguments: &Join) -> Result<JoinToken, Failure> {
    let Some(path) = &arguments.token_file else {
        return Err(Failure::new(
            Exit::Usage,
            "NoToken",
            "joining needs a token",
            "mint one where haftctl works: haftctl cluster token create --node NAME; then --token-file FILE, or --token-file - for stdin",
        ));
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(TOKEN_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(TOKEN_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| {
        Failure::new(
            Exit::Usage,
            "Unreadable",
            format!("{} cannot be read: {error}", path.display()),
            "name the file that holds the token",
        )
    })?;
    JoinToken::parse(&text).map_err(|error| {
        Failure::new(
            Exit::Usage,
            "BadToken",
            format!("this is no join token: {error}"),
            "copy the whole line that `haftctl cluster token create` printed",
        )
    })
}

/// Asks coordinators in turn until one has signed or refused.
async fn ask(
    config: &Config,
    node: &NodeConfig,
    token: &JoinToken,
    request_pem: String,
    limit: Duration,
) -> Result<v1::JoinResponse, Failure> {
    let deadline = Instant::now() + limit;
    let request = v1::JoinRequest {
        cluster_id: token.cluster.0.to_vec(),
        secret: token.secret.to_vec(),
        node: node.name.0.clone(),
        role: match node.role {
            NodeRole::Coordinator => v1::NodeRole::Coordinator.into(),
            NodeRole::AgentOnly => v1::NodeRole::AgentOnly.into(),
        },
        host: node.addresses[0].to_string(),
        certificate_request_pem: request_pem,
    };
    let endpoints: Vec<String> = config
        .coordinators()
        .filter(|other| other.name != node.name)
        .flat_map(|other| other.addresses.iter())
        .map(|address| host_port(&address.to_string(), config.ports.api))
        .collect();
    let mut queue: Vec<String> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    let mut maybe_spent = false;
    loop {
        if queue.is_empty() {
            queue.extend(endpoints.iter().rev().cloned());
        }
        let Some(endpoint) = queue.pop() else {
            return Err(Failure::new(
                Exit::Usage,
                "NoCoordinator",
                "the configuration names no other coordinator to join",
                "run `haftctl cluster init` on the first node",
            ));
        };
        match ask_one(&endpoint, token, &request, deadline).await {
            Answered::Signed(answer) => return Ok(answer),
            Answered::Refused(failure) if maybe_spent => return Err(maybe_joined(failure)),
            Answered::Refused(failure) => return Err(failure),
            Answered::Leader(leader) => {
                queue.retain(|other| *other != leader);
                queue.push(leader);
                lines.push(format!("{endpoint}: does not lead"));
            }
            Answered::Lost(why) => {
                maybe_spent = true;
                lines.push(format!("{endpoint}: {why}"));
            }
            Answered::Next(why) => lines.push(format!("{endpoint}: {why}")),
        }
        if Instant::now() >= deadline {
            return Err(given_up(lines, maybe_spent, limit));
        }
        tokio::time::sleep_until((Instant::now() + PAUSE).min(deadline)).await;
    }
}

enum Answered {
    Signed(v1::JoinResponse),
    Refused(Failure),
    Leader(String),
    /// The request went out and no answer came back.
    Lost(String),
    Next(String),
}

async fn ask_one(
    endpoint: &str,
    token: &JoinToken,
    request: &v1::JoinRequest,
    deadline: Instant,
) -> Answered {
    let channel = match pin::dial(endpoint, token.ca_sha256, deadline).await {
        Ok(channel) => channel,
        Err(why) => return Answered::Next(why),
    };
    let until = deadline.min(Instant::now() + ANSWER_LIMIT);
    let answer = tokio::time::timeout_at(
        until,
        ClusterServiceClient::new(channel).join(request.clone()),
    )
    .await;
    let refusal = match answer {
        Ok(Ok(response)) => return Answered::Signed(response.into_inner()),
        Ok(Err(refusal)) => refusal,
        Err(_) => return Answered::Lost("no answer in time".to_owned()),
    };
    let message = refusal.message().to_owned();
    match (status::reason(&refusal), refusal.code()) {
        (Some(status::NOT_LEADER), _) => match status::leader(&refusal) {
            Some(leader) => Answered::Leader(leader.to_owned()),
            None => Answered::Next(message),
        },
        (Some(status::NO_QUORUM), _) => Answered::Next(message),
        (Some(status::OUTCOME_UNKNOWN), _)
        | (None, Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded) => {
            Answered::Lost(message)
        }
        (Some(_) | None, _) => Answered::Refused(Failure::refused(&refusal)),
    }
}

fn maybe_joined(failure: Failure) -> Failure {
    let why = format!("an earlier answer was lost, and then: {}", failure.what);
    Failure::new(
        Exit::OutcomeUnknown,
        "OutcomeUnknown",
        "the token may have been spent without this node learning its certificate",
        "look with `haftctl get nodes`; if the node is there, delete it (haftctl delete node/NAME), then mint a new token and join again",
    )
    .because(why)
}

fn given_up(mut lines: Vec<String>, maybe_spent: bool, limit: Duration) -> Failure {
    let first = lines.len().saturating_sub(6);
    let newest = lines.split_off(first);
    let failure = if maybe_spent {
        maybe_joined(Failure::new(
            Exit::Timeout,
            "Timeout",
            "the time is over",
            "",
        ))
    } else {
        Failure::new(
            Exit::Unreachable,
            "Unreachable",
            format!(
                "no coordinator signed this node within {} ms",
                limit.as_millis()
            ),
            "check that haftd runs on the coordinators, the addresses in the configuration, and the network",
        )
    };
    newest.into_iter().fold(failure, Failure::because)
}

/// The answer as an identity, once it is what was asked for: this authority, this name, this key.
fn checked(
    token: &JoinToken,
    node: &NodeConfig,
    key: &KeyPair,
    answer: v1::JoinResponse,
) -> Result<NewIdentity, Failure> {
    let wrong = |what: &str| {
        Failure::new(
            Exit::Failed,
            "BadAnswer",
            format!("the coordinator's answer is not usable: {what}; nothing was written"),
            "mint a new token; if it happens again, ask whose machine answered",
        )
    };
    let first_der = |text: &str| {
        x509_parser::pem::Pem::iter_from_buffer(text.as_bytes())
            .next()
            .and_then(Result::ok)
            .map(|pem| pem.contents)
    };
    let ca_der = first_der(&answer.ca_certificate_pem)
        .ok_or_else(|| wrong("its authority's certificate is not PEM"))?;
    if !pin::fits(&ca_der, &token.ca_sha256) {
        return Err(wrong("its authority is not the one that the token names"));
    }
    let der =
        first_der(&answer.certificate_pem).ok_or_else(|| wrong("the certificate is not PEM"))?;
    let principal = trust::principal(&der, &token.cluster.to_string())
        .map_err(|error| wrong(&error.to_string()))?;
    if principal != trust::Principal::Node(node.name.clone()) {
        return Err(wrong("the certificate is for somebody else"));
    }
    let own_key: [u8; 32] = {
        use sha2::Digest;
        sha2::Sha256::digest(key.subject_public_key_info()).into()
    };
    if trust::key_sha256(&der).map_err(|error| wrong(&error.to_string()))? != own_key {
        return Err(wrong("the certificate is for another key"));
    }
    if answer.node_id == 0 {
        return Err(wrong("it gives no node number"));
    }
    let chained = answer
        .certificate_pem
        .matches("-----BEGIN CERTIFICATE-----")
        .count()
        > 1;
    let certificate_pem = if chained {
        answer.certificate_pem
    } else {
        format!(
            "{}\n{}",
            answer.certificate_pem.trim_end(),
            answer.ca_certificate_pem
        )
    };
    Ok(NewIdentity {
        cluster: token.cluster,
        cluster_name: answer.cluster_name,
        node: node.name.clone(),
        node_id: NodeId(answer.node_id),
        ca_pem: answer.ca_certificate_pem,
        certificate_pem,
        key_pem: key.serialize_pem(),
        ca_key_pem: None,
        bootstrap: None,
    })
}
