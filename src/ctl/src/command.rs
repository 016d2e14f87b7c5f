//! Acts on what was typed: one module per family of verbs.
//!
//! Offline verbs read files alone; the others go through [`crate::caller`].

mod act;
mod apply;
mod cluster;
mod events;
mod explain;
mod init;
mod join;
mod objects;
mod show;
mod timing;
mod vouch;
mod wait;

use crate::caller::Caller;
use crate::cli::{
    Cli, ClusterCommand, Command, ExplainCommand, Global, TimingCommand, TokenCommand,
};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Headers, Output};
use clap::CommandFactory;
use haft_api::pb::v1::MutationOptions;
use haft_config::Config;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
const CONFIG: &str = "/etc/haft/haft.yaml";

/// Runs one command to its end.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Cluster(ClusterCommand::Init(init)) => init::run(global, init),
        Command::Cluster(ClusterCommand::Join(join)) => join::run(global, join).await,
        Command::Cluster(ClusterCommand::Status) => {
            cluster::status(&mut caller(global)?, output(global)).await
        }
        Command::Cluster(ClusterCommand::Transfer { node }) => {
            cluster::transfer(&mut caller(global)?, output(global), node).await
        }
        Command::Cluster(ClusterCommand::Token(TokenCommand::Create { node, ttl })) => {
            cluster::create_token(&mut caller(global)?, output(global), node, *ttl).await
        }
        Command::Cluster(ClusterCommand::Timing { command: None }) => {
            timing::show(&mut caller(global)?, output(global)).await
        }
        Command::Cluster(ClusterCommand::Timing {
            command: Some(TimingCommand::Set(arguments)),
        }) => timing::set(&mut caller(global)?, output(global), arguments).await,
        Command::Get(subject) => show::get(global, subject).await,
        Command::Describe(subject) => show::describe(global, subject).await,
        Command::Why(subject) => show::why(global, subject).await,
        Command::Apply(apply) => apply::run(global, apply).await,
        Command::Delete(subject) => act::delete(global, subject).await,
        Command::Move(arguments) => act::r#move(global, arguments).await,
        Command::Fence(arguments) => act::fence(global, arguments).await,
        Command::ConfirmOff(confirm) => vouch::confirm_off(global, confirm).await,
        Command::Events(arguments) => events::run(global, arguments).await,
        Command::Wait(arguments) => wait::run(global, arguments).await,
        Command::Explain(ExplainCommand::Timing { failover }) => explain::timing(global, *failover),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "haftctl", &mut script);
            crate::output::print(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

fn output(global: &Global) -> Output {
    let headers = if global.no_headers {
        Headers::Hidden
    } else {
        Headers::Shown
    };
    Output {
        form: global.output,
        headers,
    }
}

/// A caller with the context's credentials; `--endpoint` replaces the context's endpoints.
fn caller(global: &Global) -> Result<Caller, Failure> {
    let context = Context::find(global.context.as_deref())?;
    let endpoints = if global.endpoint.is_empty() {
        context.endpoints.clone()
    } else {
        global.endpoint.clone()
    };
    if endpoints.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "NoEndpoint",
            format!(
                "the context of cluster `{}` names no coordinator",
                context.cluster
            ),
            "name one with --endpoint HOST:PORT",
        ));
    }
    Ok(Caller::new(
        endpoints,
        context.credentials(),
        global.timeout.unwrap_or(TIMEOUT),
    ))
}

fn config_path(global: &Global) -> &Path {
    global.config.as_deref().unwrap_or(Path::new(CONFIG))
}

fn load_config(global: &Global) -> Result<Config, Failure> {
    Config::load(config_path(global)).map_err(|problems| bad_config(&problems))
}

fn bad_config(problems: &haft_config::Problems) -> Failure {
    let told = told(problems);
    Failure::new(
        Exit::Usage,
        "BadConfig",
        told,
        "correct the file; haftd check reads it without starting anything",
    )
}

/// Problems already carry their places, reasons and fixes; what remains to say is how many there are.
fn told(problems: &haft_config::Problems) -> String {
    let count = problems.list().len();
    let noun = if count == 1 { "problem" } else { "problems" };
    crate::output::note(&format!("{problems}\n"));
    format!("{count} {noun}; nothing was changed")
}

fn data_dir(config: &Config, named: Option<&PathBuf>) -> PathBuf {
    named.cloned().unwrap_or_else(|| config.data_dir.clone())
}

/// A fresh request id, so that asking again has one effect.
fn mutation() -> Result<MutationOptions, Failure> {
    let request_id: [u8; 16] = crate::pki::random().map_err(|error| minting_failed(&error))?;
    Ok(MutationOptions {
        request_id: request_id.to_vec(),
        ..MutationOptions::default()
    })
}

fn minting_failed(error: &crate::pki::MintError) -> Failure {
    Failure::new(
        Exit::Failed,
        "MintFailed",
        crate::failure::chain(error),
        "try again; if it stays, the system's random device is broken",
    )
}
