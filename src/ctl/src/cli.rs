//! What may be typed: commands, options and their words.
//!
//! Exactly what was typed, nothing resolved; [`crate::command`] acts on it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// haftctl: see and steer a haft cluster.
#[derive(Parser, Debug)]
#[command(
    name = "haftctl",
    version,
    about = "See and steer a haft cluster",
    max_term_width = 100
)]
#[command(after_help = "Data goes to stdout, everything else to stderr.\n\
    Exit codes: 0 ok, 1 failed, 2 usage or bad input, 3 not found, 4 conflict, 5 denied, 6 no quorum,\n\
    7 unsafe, 8 timeout, 9 unreachable, 75 outcome unknown, 130 interrupted.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The cluster's configuration file; by default $HAFT_CONFIG, else /etc/haft/haft.yaml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the cluster is, with the credentials for it; by default $HAFT_CONTEXT, else
    /// ~/.config/haft/context.yaml, else /etc/haft/context.yaml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
    /// Coordinator to ask, instead of those in the context; may be repeated
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) endpoint: Vec<String>,
    /// Form of the output
    #[arg(short, long, global = true, value_name = "FORM", value_enum, default_value_t = Form::Table)]
    pub(crate) output: Form,
    /// Leave the header line of tables out
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// Total time for the command, such as 10s
    #[arg(long, global = true, value_name = "SPAN", value_parser = span)]
    pub(crate) timeout: Option<Duration>,
}

impl Global {
    /// What was not typed is taken from the environment, where it names files and never secrets.
    pub(crate) fn fill_from_environment(&mut self) {
        let named = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        self.config = self.config.take().or_else(|| named("HAFT_CONFIG"));
        self.context = self.context.take().or_else(|| named("HAFT_CONTEXT"));
    }
}

/// Forms of output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Form {
    /// Aligned columns
    Table,
    /// Aligned columns, more of them
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// kind/name, one per line
    Name,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Begin, join and watch over a cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Show objects
    Get(Subject),
    /// Show one object with its recent events
    Describe(Subject),
    /// Create or change objects from manifests
    Apply(Apply),
    /// Delete an object
    Delete(Subject),
    /// Move a virtual address to another node
    Move(Move),
    /// Power a node off (or on) through its fence devices
    Fence(Fence),
    /// Vouch that a node is off; only what you have seen with your own eyes
    ConfirmOff(ConfirmOff),
    /// Show what happened
    Events(Events),
    /// Say why something is as it is
    Why(Subject),
    /// Explain what the cluster derives
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// Wait until something is so
    Wait(Wait),
    /// Print a completion script
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Verbs of `cluster`.
#[derive(Subcommand, Debug)]
pub(crate) enum ClusterCommand {
    /// Mint a new cluster on its first coordinator
    Init(Init),
    /// Give this node its identity in an existing cluster
    Join(Join),
    /// One screen: quorum, leader, nodes, resources
    Status,
    /// Hand leadership to a coordinator that is up and has caught up; no session ends by it
    Transfer {
        /// The coordinator that shall lead
        #[arg(value_name = "NODE")]
        node: String,
    },
    /// Join tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// The timing that every session counts by, and who differs from it; `set` changes it
    Timing {
        #[command(subcommand)]
        command: Option<TimingCommand>,
    },
}

/// Verbs of `cluster timing`.
#[derive(Subcommand, Debug)]
pub(crate) enum TimingCommand {
    /// Change it under load: prints the plan, asks, and loses no session
    Set(SetTiming),
}

/// `cluster timing set`.
#[derive(Args, Debug)]
pub(crate) struct SetTiming {
    /// fast, normal, relaxed, or a budget such as 2s; by default what is in force
    #[arg(value_name = "PRESET|SPAN")]
    pub(crate) failover: Option<haft_config::timing::Failover>,
    /// One interval, such as ttl_ms=900; may be repeated
    #[arg(long = "set", value_name = "KEY=MS")]
    pub(crate) set: Vec<String>,
    /// Let the cluster check everything and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Verbs of `cluster token`.
#[derive(Subcommand, Debug)]
pub(crate) enum TokenCommand {
    /// Mint a one-time token for one node
    Create {
        /// The node that may join with it
        #[arg(long, value_name = "NAME")]
        node: String,
        /// How long it is good for
        #[arg(long, value_name = "SPAN", value_parser = span, default_value = "1h")]
        ttl: Duration,
    },
}

/// `cluster init`.
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// This node's name in the configuration; by default the hostname
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Directory of the node's state, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// `cluster join`.
#[derive(Args, Debug)]
pub(crate) struct Join {
    /// This node's name in the configuration; by default the hostname
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// File that holds the token; - for stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Refused: arguments are visible to every user of the machine
    #[arg(long, hide = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Directory of the node's state, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// An object, as `vip/web`, or as a kind and a name.
#[derive(Args, Debug)]
pub(crate) struct Subject {
    /// node, vip, fencedevice or fencetopology; or KIND/NAME
    #[arg(value_name = "KIND[/NAME]")]
    pub(crate) subject: String,
    /// The object's name, unless it follows the slash
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// `apply`.
#[derive(Args, Debug)]
pub(crate) struct Apply {
    /// Manifest, folder of manifests (*.yaml, *.yml, *.json), or - for stdin; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// Let the cluster check everything and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `move`.
#[derive(Args, Debug)]
pub(crate) struct Move {
    #[command(flatten)]
    pub(crate) subject: Subject,
    /// Where to
    #[arg(long, value_name = "NODE")]
    pub(crate) to: String,
    /// Wait until it is active there
    #[arg(long)]
    pub(crate) wait: bool,
}

/// `fence`.
#[derive(Args, Debug)]
pub(crate) struct Fence {
    /// The node
    pub(crate) node: String,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Also when the node's session is live
    #[arg(long)]
    pub(crate) force: bool,
    /// Power it on instead
    #[arg(long)]
    pub(crate) on: bool,
}

/// `confirm-off`.
#[derive(Args, Debug)]
pub(crate) struct ConfirmOff {
    /// The node
    pub(crate) node: String,
    /// The node's name again, instead of typing it when asked
    #[arg(long, value_name = "NODE")]
    pub(crate) yes_node: Option<String>,
    /// The life that you have seen off, as `why` and `describe` print it; read and shown when asked on a terminal
    #[arg(long, value_name = "N", requires = "boot")]
    pub(crate) incarnation: Option<u64>,
    /// The boot of that life
    #[arg(long, value_name = "ID", requires = "incarnation")]
    pub(crate) boot: Option<String>,
    /// Coordinator whose testimony that the machine still answers you overrule; may be repeated
    #[arg(long, value_name = "NODE")]
    pub(crate) overrule: Vec<String>,
    /// How you know, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// `events`.
#[derive(Args, Debug)]
pub(crate) struct Events {
    /// Only of this subject, such as vip/web
    pub(crate) subject: Option<String>,
    /// At most this many, the newest
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
    /// Then show new ones as they happen, until interrupted or --timeout
    #[arg(long, short)]
    pub(crate) watch: bool,
}

/// `wait`.
#[derive(Args, Debug)]
pub(crate) struct Wait {
    #[command(flatten)]
    pub(crate) subject: Subject,
    /// KEY=VALUE with state, owner, token, leader or voter; or deleted. May be repeated: all must hold
    #[arg(long = "for", value_name = "CONDITION", required = true)]
    pub(crate) conditions: Vec<String>,
}

/// Topics of `explain`.
#[derive(Subcommand, Debug)]
pub(crate) enum ExplainCommand {
    /// Every interval, where it comes from, and the sums that must hold
    Timing {
        /// A preset or a budget, instead of the configuration's
        #[arg(long, value_name = "PRESET|SPAN")]
        failover: Option<haft_config::timing::Failover>,
    },
}

fn span(text: &str) -> Result<Duration, String> {
    haft_config::parse_span(text)
        .ok_or_else(|| "write a span such as 800ms, 10s, 5m or 1h".to_owned())
}
