//! One node's file names another preset than the others' files do.
//!
//! The rolling edit of one value, or the file that was forgotten. For each ordered pair of presets
//! (the owner's file, the others') and both orders of restarting owner and leader, the owner is cut
//! from its peers. The log's timing is `normal` throughout: that no file changes it is what is shown.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;

use super::{Stage, pairs_of_presets};
use crate::cluster::{LEASE, PATIENCE, Preset, write_configuration};
use crate::machine::Machine;
use crate::shell;

/// The longest ttl of a preset (6 s) and half as much again: whoever held on still holds on then.
const HELD: Duration = Duration::from_secs(9);

/// What the log holds all the while.
const IN_FORCE: Preset = Preset::Normal;

/// Which of them are performed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Of the kind files")]
pub(super) struct Edits {
    /// Only where the owner's file has this one
    #[arg(long, value_name = "PRESET")]
    owner: Option<Preset>,
    /// Only where the others' files have this one
    #[arg(long, value_name = "PRESET")]
    others: Option<Preset>,
}

impl Edits {
    pub(super) fn mixtures(&self) -> Vec<Mixture> {
        let pairs = pairs_of_presets().into_iter();
        let pairs = pairs.filter(|(owner, _)| self.owner.is_none_or(|only| only == *owner));
        let pairs = pairs.filter(|(_, others)| self.others.is_none_or(|only| only == *others));
        let orders = [Order::OwnerFirst, Order::LeaderFirst];
        pairs
            .flat_map(|(owner, others)| {
                orders.map(|order| Mixture {
                    owner,
                    others,
                    order,
                })
            })
            .collect()
    }
}

/// What the owner's file says and what the others' say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixture {
    /// In the file of the node that will own the address.
    owner: Preset,
    /// In the files of the others, the leader among them.
    others: Preset,
    order: Order,
}

/// Which of the two is restarted first after the owner's file was edited.
#[derive(Debug, Clone, Copy)]
enum Order {
    OwnerFirst,
    LeaderFirst,
}

impl Mixture {
    pub(super) fn words(self) -> String {
        let order = match self.order {
            Order::OwnerFirst => "owner, then leader restarted",
            Order::LeaderFirst => "leader, then owner restarted",
        };
        let (owner, others) = (self.owner.word(), self.others.word());
        format!("owner's file {owner}, others' {others}; {order}")
    }

    pub(super) fn perform(self, stage: &mut Stage) -> anyhow::Result<String> {
        stage.put_in_force(IN_FORCE)?;
        // From files that agree, so that the edit is the only difference.
        for node in stage.cluster.site.nodes.clone() {
            write_configuration(&stage.cluster.site, &node.identity.name, self.others)?;
            stage.restart(&node)?;
        }
        let owner = stage.place_off_the_leader().context("before the edit")?;
        write_configuration(&stage.cluster.site, &owner.identity.name, self.owner)?;
        let leader = stage.leader()?;
        let (first, second) = match self.order {
            Order::OwnerFirst => (&owner, &leader),
            Order::LeaderFirst => (&leader, &owner),
        };
        stage.restart(first)?;
        stage.restart(second)?;
        stage.place(&owner).context("after the edit")?;
        stage.wait_files_named(&self.files_that_differ(stage, &owner))?;
        stage.judge.begin()?;
        stage.cluster.site.cut_from_peers(&owner)?;
        stage.judge.mark("the owner is cut from its peers")?;
        wait_moved(stage, &owner)?;
        stage.watch(HELD)?;
        Ok(String::new())
    }

    fn files_that_differ(self, stage: &Stage, owner: &Machine) -> BTreeSet<String> {
        let nodes = stage.cluster.site.nodes.iter().map(|n| &n.identity.name);
        let differing = nodes.filter(|node| {
            let file = if **node == owner.identity.name {
                self.owner
            } else {
                self.others
            };
            file != IN_FORCE
        });
        differing.cloned().collect()
    }
}

fn wait_moved(stage: &mut Stage, from: &Machine) -> anyhow::Result<()> {
    let from = &from.identity.name;
    shell::wait_for("another node to answer", PATIENCE, || {
        let now = stage.judge.now()?;
        let owners = now.owners.get(LEASE).map_or(&[][..], Vec::as_slice);
        Ok(owners.iter().any(|owner| owner != from).then_some(()))
    })
}
