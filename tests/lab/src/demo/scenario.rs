//! The scenarios, one file each. Each starts with every machine up and the addresses in known places.

use super::promise::Outcome;
use super::stage::Stage;

mod crash;
mod cut;
mod failback;
mod leader;
mod management;
mod moving;
mod stopped;

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    /// The owner's machine crashes.
    Crash,
    /// The owner is cut from its peers, but not from the client.
    Cut,
    /// Every haft process of the owner is stopped, and later continued.
    Stopped,
    /// The leader is killed on a machine that owns nothing.
    Leader,
    /// An administrator moves both addresses.
    Moving,
    /// The owner crashes while no BMC can be reached.
    Management,
    /// The lost machine comes back, and an administrator moves both addresses home.
    Failback,
}

impl Scenario {
    /// In the order of the demo.
    pub(super) const ALL: [Self; 7] = [
        Self::Crash,
        Self::Cut,
        Self::Stopped,
        Self::Leader,
        Self::Moving,
        Self::Management,
        Self::Failback,
    ];

    /// For the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crash => "owner crashed",
            Self::Cut => "owner cut from its peers",
            Self::Stopped => "haft stopped on the owner",
            Self::Leader => "leader killed",
            Self::Moving => "planned move",
            Self::Management => "owner lost, no BMC reachable",
            Self::Failback => "heal and failback",
        }
    }

    /// For the audience.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Crash => "The owner crashes: its BMC still reads on until it is fenced",
            Self::Cut => "The owner is cut from its peers; the client still reaches it",
            Self::Stopped => {
                "Every haft process of the owner is stopped (SIGSTOP) and later continued"
            }
            Self::Leader => "The leader is killed on a machine that owns nothing: nothing may move",
            Self::Moving => "A planned move of both addresses",
            Self::Management => {
                "The owner is lost while the management network is cut: db must stay silent"
            }
            Self::Failback => "The lost machine is back; both addresses are moved home",
        }
    }

    /// Where `web` and `db` are when it begins.
    pub(super) fn places(self) -> (&'static str, &'static str) {
        match self {
            Self::Crash | Self::Cut | Self::Moving | Self::Management | Self::Leader => {
                ("n1", "n1")
            }
            // The stopped machine must hold nothing that calls for power-off, or it could not be continued.
            Self::Stopped => ("n1", "n2"),
            Self::Failback => ("n2", "n3"),
        }
    }

    /// Does it, and notes the promises peculiar to it.
    pub(super) fn perform(self, stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
        match self {
            Self::Crash => crash::perform(stage, outcome),
            Self::Cut => cut::perform(stage, outcome),
            Self::Stopped => stopped::perform(stage, outcome),
            Self::Leader => leader::perform(stage, outcome),
            Self::Moving => moving::perform(stage, outcome),
            Self::Management => management::perform(stage, outcome),
            Self::Failback => failback::perform(stage, outcome),
        }
    }
}
