//! `haft-lab mixtures`: one node's file names another preset than the others' files do.
//!
//! The rolling edit of one value, or the file that was forgotten. For each ordered pair of presets
//! (the owner's file, the others') and both orders of restarting owner and leader, the owner is cut
//! from its peers and the judge demands 0 ms with two owners. Which timing the cluster then runs at,
//! and how fast it is, is not asked here: only what is seen from outside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use crate::cluster::{Cluster, LEASE, PATIENCE, PROGRAMS, Preset, write_configuration};
use crate::judge::Judge;
use crate::lab::{Lab, own_directory};
use crate::machine::Machine;
use crate::say::print;
use crate::shell;

/// The longest ttl of a preset (6 s) and half as much again: whoever held on still holds on then.
const HELD: Duration = Duration::from_secs(9);

/// How often a mixture is repeated because the judge stalled.
const REPEATS: usize = 3;

/// What the owner's file says and what the others' say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// In the file of the node that will own the address.
    pub owner: Preset,
    /// In the files of the others, the leader among them.
    pub others: Preset,
}

/// Which of the two is restarted first after the owner's file was edited.
#[derive(Debug, Clone, Copy)]
enum Order {
    OwnerFirst,
    LeaderFirst,
}

impl Order {
    const ALL: [Order; 2] = [Order::OwnerFirst, Order::LeaderFirst];

    fn words(self) -> &'static str {
        match self {
            Self::OwnerFirst => "owner, then leader restarted",
            Self::LeaderFirst => "leader, then owner restarted",
        }
    }
}

/// Every ordered pair of different presets.
#[must_use]
pub fn all_pairs() -> Vec<Pair> {
    // All of them are the subject.
    let presets = [Preset::Fast, Preset::Normal, Preset::Relaxed];
    let pairs = presets.map(|owner| presets.map(|others| Pair { owner, others }));
    let different = pairs.into_iter().flatten();
    different.filter(|pair| pair.owner != pair.others).collect()
}

/// Performs these pairs; the exit code is 0 only if no mixture had two owners and each came to its end.
///
/// # Errors
/// The cluster cannot be formed.
pub fn run(pairs: &[Pair]) -> anyhow::Result<u8> {
    let lab = Lab::open(&own_directory()?, &PROGRAMS)?;
    let cluster = Cluster::form_at(lab.site("h", 1, "n")?, Preset::Normal, None)?;
    cluster.apply_vip(LEASE)?;
    let judge = cluster.site.judge(cluster.targets())?;
    let mut stage = Stage { cluster, judge };
    let mut failed = 0;
    for pair in pairs {
        for order in Order::ALL {
            let said = match stage.judged(*pair, order) {
                Ok(two_owners_ms) if two_owners_ms <= 0.0 => "0 ms with two owners".to_owned(),
                Ok(two_owners_ms) => {
                    failed += 1;
                    format!("FAILED: {two_owners_ms:.0} ms with two owners")
                }
                Err(error) => {
                    failed += 1;
                    format!("FAILED: {error:#}")
                }
            };
            let (owner, others) = (pair.owner.word(), pair.others.word());
            print(&format!(
                "owner {owner}, others {others}; {}: {said}",
                order.words()
            ));
        }
    }
    print(&format!(
        "{failed} of {} mixtures failed",
        pairs.len() * Order::ALL.len()
    ));
    Ok(u8::from(failed > 0))
}

struct Stage {
    cluster: Cluster,
    judge: Judge,
}

impl Stage {
    /// Performs until the judge did not stall; two owners are two owners, no stall excuses them.
    fn judged(&mut self, pair: Pair, order: Order) -> anyhow::Result<f64> {
        for _ in 0..REPEATS {
            let performed = self.perform(pair, order);
            // Whatever happened: the next mixture finds the cut healed.
            self.cluster.site.heal()?;
            performed?;
            let report = self.judge.report()?;
            let two_owners_ms = report.targets.values().map(|t| t.two_owners_ms).sum();
            if two_owners_ms > 0.0 || !report.stalled {
                return Ok(two_owners_ms);
            }
        }
        anyhow::bail!("the judge stalled in {REPEATS} runs")
    }

    fn perform(&mut self, pair: Pair, order: Order) -> anyhow::Result<()> {
        // From files that agree, so that the edit is the only difference.
        for node in self.cluster.site.nodes.clone() {
            write_configuration(&self.cluster.site, &node.identity.name, pair.others)?;
            self.restart(&node)?;
        }
        let owner = self.place_off_the_leader().context("before the edit")?;
        write_configuration(&self.cluster.site, &owner.identity.name, pair.owner)?;
        let leader = self.leader()?;
        let (first, second) = match order {
            Order::OwnerFirst => (&owner, &leader),
            Order::LeaderFirst => (&leader, &owner),
        };
        self.restart(first)?;
        self.restart(second)?;
        self.place(&owner).context("after the edit")?;
        self.judge.begin()?;
        self.cluster.site.cut_from_peers(&owner)?;
        self.judge.mark("the owner is cut from its peers")?;
        self.wait_moved(&owner)?;
        self.watch(HELD)
    }

    fn leader(&self) -> anyhow::Result<Arc<Machine>> {
        let name = shell::wait_for("a leader", PATIENCE, || self.cluster.ctl.leader().map(Some))?;
        self.cluster.site.node(&name).cloned()
    }

    /// Ends both daemons as an init system would, and waits until others run in their place and the node is online.
    fn restart(&self, node: &Machine) -> anyhow::Result<()> {
        let daemons = ["haftd", "haft-agent"];
        let before = node.processes(&daemons)?;
        node.signal(&daemons, Signal::TERM)?;
        let name = &node.identity.name;
        shell::wait_for(
            &format!("the daemons of {name} to start again"),
            PATIENCE,
            || {
                let now = node.processes(&daemons)?;
                let fresh = now.iter().all(|pid| !before.contains(pid));
                Ok((fresh && now.len() >= daemons.len()).then_some(()))
            },
        )?;
        self.cluster.wait_whole()
    }

    fn place_off_the_leader(&mut self) -> anyhow::Result<Arc<Machine>> {
        let leader = self.leader()?;
        let mut nodes = self.cluster.site.nodes.iter();
        let other = nodes.find(|node| node.identity.name != leader.identity.name);
        let owner = other.context("a node that does not lead")?.clone();
        self.place(&owner)?;
        Ok(owner)
    }

    fn place(&mut self, node: &Machine) -> anyhow::Result<()> {
        let node = &node.identity.name;
        let what = format!("{LEASE} to be active on {node}");
        shell::wait_for(&what, PATIENCE, || {
            let status = self.cluster.ctl.vip(LEASE)?;
            if status.owner == *node {
                return Ok((status.state == "Active").then_some(()));
            }
            self.cluster.ctl.move_to(LEASE, node).map(Some)
        })?;
        self.judge.wait_owner(LEASE, node, PATIENCE)
    }

    fn wait_moved(&mut self, from: &Machine) -> anyhow::Result<()> {
        let from = &from.identity.name;
        shell::wait_for("another node to answer", PATIENCE, || {
            let now = self.judge.now()?;
            let owners = now.owners.get(LEASE).map_or(&[][..], Vec::as_slice);
            Ok(owners.iter().any(|owner| owner != from).then_some(()))
        })
    }

    /// Lets the judge look on; asked now and then, so that its end is noticed.
    fn watch(&mut self, span: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.judge.now()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ordered_pair_of_different_presets_is_there_once() {
        let pairs = all_pairs();
        assert_eq!(pairs.len(), 6);
        for (index, pair) in pairs.iter().enumerate() {
            assert_ne!(pair.owner, pair.others);
            assert!(!pairs[..index].contains(pair));
        }
    }
}
