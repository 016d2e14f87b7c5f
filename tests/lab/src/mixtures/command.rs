//! The timing that the log holds is changed by command, under load, and a node is hit meanwhile.
//!
//! For each ordered pair of presets: nobody is hit, and it is changed there and back; or the owner, or the leader, is
//! cut from its peers, stopped or killed, just before the command or just after it. Every processor is busy, and
//! every node holds addresses beside the one that the judge watches. Whoever was not hit keeps its session, and every
//! address of theirs its token. All files say `normal` all the while, and `cluster status` must name those that differ.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::{DAEMONS, SESSIONS_OLDER, Stage, named_after, pairs_of_presets};
use crate::busy::Busy;
use crate::cluster::{LEASE, PATIENCE, Preset, write_configuration};
use crate::machine::Machine;
use crate::shell;

/// What every file says.
const FILES: Preset = Preset::Normal;

/// Addresses beside the judge's; each node prefers a third of them.
const LOADS: u8 = 9;

/// Who may be hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    /// Nobody: there and back
    Nobody,
    /// The owner of the judge's address, which does not lead
    Owner,
    /// The leader
    Leader,
}

/// How a node is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    /// Cut from its peers; the client still reaches it
    Cut,
    /// Both daemons stopped (SIGSTOP), and continued in the end
    Stopped,
    /// Both daemons killed, and started again after a second
    Killed,
}

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    HitFirst,
    CommandFirst,
}

/// Which of them are performed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Of the kind command")]
pub(super) struct Changes {
    /// Only where the timing was this one
    #[arg(long, value_name = "PRESET")]
    from: Option<Preset>,
    /// Only where it becomes this one
    #[arg(long, value_name = "PRESET")]
    to: Option<Preset>,
    /// Only where these are hit
    #[arg(long, value_name = "WHOM", value_delimiter = ',')]
    hit: Vec<Target>,
    /// Only where they are hit so
    #[arg(long, value_name = "HOW", value_delimiter = ',')]
    how: Vec<How>,
}

impl Changes {
    pub(super) fn mixtures(&self) -> Vec<Mixture> {
        let pairs = pairs_of_presets().into_iter();
        let pairs = pairs.filter(|(from, _)| self.from.is_none_or(|only| only == *from));
        let pairs = pairs.filter(|(_, to)| self.to.is_none_or(|only| only == *to));
        let hits = self.hits();
        pairs
            .flat_map(|(from, to)| {
                hits.iter().map(move |hit| Mixture {
                    from,
                    to,
                    hit: *hit,
                })
            })
            .collect()
    }

    fn hits(&self) -> Vec<Hit> {
        let wanted = |target: Target| self.hit.is_empty() || self.hit.contains(&target);
        let hows = [How::Cut, How::Stopped, How::Killed];
        let hows = hows.into_iter();
        let hows = hows.filter(|how| self.how.is_empty() || self.how.contains(how));
        let orders = [Order::HitFirst, Order::CommandFirst];
        let ways: Vec<(How, Order)> = hows
            .flat_map(|how| orders.map(|order| (how, order)))
            .collect();
        let mut hits = Vec::new();
        if wanted(Target::Nobody) {
            hits.push(Hit::Nobody);
        }
        if wanted(Target::Owner) {
            hits.extend(ways.iter().map(|(how, order)| Hit::Owner(*how, *order)));
        }
        if wanted(Target::Leader) {
            hits.extend(ways.iter().map(|(how, order)| Hit::Leader(*how, *order)));
        }
        hits
    }
}

/// Who is hit, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hit {
    Nobody,
    Owner(How, Order),
    Leader(How, Order),
}

/// One change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixture {
    from: Preset,
    to: Preset,
    hit: Hit,
}

/// Every file says the same again.
pub(super) fn restore_files(stage: &Stage) -> anyhow::Result<()> {
    for node in stage.cluster.site.nodes.clone() {
        write_configuration(&stage.cluster.site, &node.identity.name, FILES)?;
        stage.restart(&node)?;
    }
    Ok(())
}

/// Addresses on every node.
pub(super) fn load(stage: &Stage) -> anyhow::Result<()> {
    let nodes = &stage.cluster.site.nodes;
    let manifests = (0..LOADS).zip(nodes.iter().cycle()).map(|(number, node)| {
        format!(
            "apiVersion: haft/v1\nkind: VirtualIP\nmetadata: {{ name: load-{number} }}\nspec:\n  address: {}\n  \
             interface: eth0\n  isolation: lease\n  preference: [{}]\n",
            stage.cluster.site.address(110 + number),
            node.identity.name
        )
    });
    let manifests: Vec<String> = manifests.collect();
    let manifests = manifests.join("---\n");
    let applied = stage.cluster.ctl.act(&["apply", "-f", "-"], &manifests);
    applied.map(drop)
}

impl Mixture {
    pub(super) fn words(self) -> String {
        let hit = match self.hit {
            Hit::Nobody => "and back, nobody hit".to_owned(),
            Hit::Owner(how, order) => format!("owner {}", way(how, order)),
            Hit::Leader(how, order) => format!("leader {}", way(how, order)),
        };
        let (from, to) = (self.from.word(), self.to.word());
        format!("{from} to {to}, {hit}")
    }

    pub(super) fn perform(self, stage: &mut Stage) -> anyhow::Result<String> {
        stage.cluster.wait_whole()?;
        stage.put_in_force(self.from)?;
        let owner = stage.place_off_the_leader().context("before the change")?;
        let leader = stage.leader()?;
        ensure!(
            leader.identity.name != owner.identity.name,
            "leadership has moved to the owner by itself"
        );
        let before = Standing::settled(stage)?;
        stage.judge.begin()?;
        let busy = Busy::on_every_processor();
        let (hit, remark) = match self.hit {
            Hit::Nobody => {
                stage.put_in_force(self.to)?;
                stage.wait_files_named(&files_that_differ(stage, self.to))?;
                stage.put_in_force(self.from)?;
                (None, String::new())
            }
            Hit::Owner(how, order) => {
                let older = self.strike(stage, &owner, (how, order))?;
                let regranted = before.wait_regranted(stage)?;
                stage.judge.wait_owner(LEASE, &regranted, PATIENCE)?;
                (Some(&owner), remark(&older, &owner))
            }
            Hit::Leader(how, order) => {
                let older = self.strike(stage, &leader, (how, order))?;
                before.wait_over(stage, &leader)?;
                (Some(&leader), remark(&older, &leader))
            }
        };
        if hit.is_some() {
            stage.watch(ttl(self.from).max(ttl(self.to)) * 3 / 2)?;
            stage.mend()?;
            stage.cluster.wait_whole()?;
            stage.put_in_force(self.to)?;
        }
        drop(busy);
        let last = if hit.is_some() { self.to } else { self.from };
        stage.wait_files_named(&files_that_differ(stage, last))?;
        before.compare(&Standing::settled(stage)?, hit.map(|node| &**node))?;
        Ok(remark)
    }

    /// Changes the timing and hits the node, in this order; says whose session counts by the older timing then.
    fn strike(
        self,
        stage: &mut Stage,
        node: &Machine,
        (how, order): (How, Order),
    ) -> anyhow::Result<BTreeSet<String>> {
        match order {
            Order::HitFirst => {
                disturb(stage, node, how)?;
                self.change(stage)?;
            }
            Order::CommandFirst => {
                self.change(stage)?;
                disturb(stage, node, how)?;
            }
        }
        stage.judge.mark("hit and changed")?;
        self.older(stage, node, (how, order))
    }

    /// Until it is accepted: a leader that was hit has to be replaced first.
    fn change(self, stage: &Stage) -> anyhow::Result<()> {
        shell::wait_for("the change to be accepted", PATIENCE, || {
            stage.cluster.ctl.set_timing(self.to.word()).map(Some)
        })
        .map(drop)
    }

    /// A node that hears of no change while its session lives is named by `cluster status`. Sessions of `relaxed`
    /// live long enough to be asked about for certain.
    fn older(
        self,
        stage: &Stage,
        node: &Machine,
        (how, order): (How, Order),
    ) -> anyhow::Result<BTreeSet<String>> {
        let deaf = match how {
            How::Cut | How::Stopped => order == Order::HitFirst,
            How::Killed => false,
        };
        let led = matches!(self.hit, Hit::Leader(..));
        let named = shell::wait_for("cluster status", PATIENCE, || {
            let warnings = stage.cluster.ctl.warnings()?;
            Ok(Some(named_after(&warnings, SESSIONS_OLDER)))
        })?;
        // An election may take as long as such a session.
        if deaf && !led && self.from == Preset::Relaxed {
            ensure!(
                named.contains(&node.identity.name),
                "status names only {named:?} as counting by the older timing"
            );
        }
        Ok(named)
    }
}

fn way(how: How, order: Order) -> String {
    let how = match how {
        How::Cut => "cut",
        How::Stopped => "stopped",
        How::Killed => "killed",
    };
    match order {
        Order::HitFirst => format!("{how}, then the command"),
        Order::CommandFirst => format!("{how} after the command"),
    }
}

fn remark(older: &BTreeSet<String>, hit: &Machine) -> String {
    if older.contains(&hit.identity.name) {
        "; hit before it had followed".to_owned()
    } else {
        String::new()
    }
}

fn disturb(stage: &Stage, node: &Machine, how: How) -> anyhow::Result<()> {
    match how {
        How::Cut => stage.cluster.site.cut_from_peers(node),
        How::Stopped => node.signal(&DAEMONS, Signal::STOP).map(drop),
        How::Killed => node.signal(&DAEMONS, Signal::KILL).map(drop),
    }
}

/// What `cluster explain timing` says of timed elements; behind the kernel's gate it is no longer.
fn ttl(preset: Preset) -> Duration {
    Duration::from_millis(match preset {
        // All of them are the subject.
        Preset::Fast => 250,
        Preset::Normal => 1_200,
        Preset::Relaxed => 6_000,
    })
}

fn files_that_differ(stage: &Stage, in_force: Preset) -> BTreeSet<String> {
    if in_force == FILES {
        return BTreeSet::new();
    }
    let nodes = stage.cluster.site.nodes.iter();
    nodes.map(|node| node.identity.name.clone()).collect()
}

/// Who lives as whom, and who holds what.
#[derive(Debug)]
struct Standing {
    sessions: BTreeMap<String, u64>,
    /// Owner and token of each address.
    held: BTreeMap<String, (String, String)>,
}

impl Standing {
    /// As soon as every session is open and every address active, on whomever.
    fn settled(stage: &Stage) -> anyhow::Result<Self> {
        shell::wait_for("every session and address", PATIENCE, || {
            let held = stage.cluster.ctl.vips()?;
            let sessions = stage.cluster.ctl.sessions()?;
            let active = held.values().all(|status| status.state == "Active");
            ensure!(active, "{held:?}");
            let whole = sessions.len() == stage.cluster.site.nodes.len();
            ensure!(whole, "sessions of {sessions:?} only");
            let held = held
                .into_iter()
                .map(|(name, status)| (name, (status.owner, status.token)));
            Ok(Some(Self {
                sessions,
                held: held.collect(),
            }))
        })
    }

    /// The judge's address is active under another token; on whom.
    fn wait_regranted(&self, stage: &Stage) -> anyhow::Result<String> {
        let (_, token) = &self.held[LEASE];
        shell::wait_for("another grant", PATIENCE, || {
            let now = stage.cluster.ctl.vip(LEASE)?;
            let regranted = now.state == "Active" && now.token != *token;
            ensure!(regranted, "{now:?}");
            Ok(Some(now.owner))
        })
    }

    /// The session that this node had is no longer open.
    fn wait_over(&self, stage: &Stage, node: &Machine) -> anyhow::Result<()> {
        let name = &node.identity.name;
        let what = format!("the session of {name} to be over");
        shell::wait_for(&what, PATIENCE, || {
            let now = stage.cluster.ctl.sessions()?;
            Ok((now.get(name) != self.sessions.get(name)).then_some(()))
        })
    }

    /// Whoever was not hit lives on as before and holds what it held.
    fn compare(&self, now: &Self, hit: Option<&Machine>) -> anyhow::Result<()> {
        let hit = hit.map_or("", |node| &node.identity.name);
        for (node, incarnation) in &self.sessions {
            ensure!(
                node == hit || now.sessions.get(node) == Some(incarnation),
                "{node} lost its session: {:?} then {:?}",
                self.sessions,
                now.sessions
            );
        }
        for (address, held) in &self.held {
            ensure!(
                held.0 == hit || now.held.get(address) == Some(held),
                "{address} changed hands: {:?} then {:?}",
                self.held,
                now.held
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Changes {
        Changes {
            from: None,
            to: None,
            hit: Vec::new(),
            how: Vec::new(),
        }
    }

    #[test]
    fn each_pair_is_changed_with_nobody_and_with_owner_and_leader_hit_in_every_way_and_order() {
        let mixtures = all().mixtures();
        assert_eq!(mixtures.len(), 6 * (1 + 2 * 3 * 2));
        let words: BTreeSet<String> = mixtures.iter().map(|mixture| mixture.words()).collect();
        assert_eq!(words.len(), mixtures.len());
    }

    #[test]
    fn what_was_not_hit_must_stay_and_what_was_may_change() {
        let standing = |incarnation, token: &str| Standing {
            sessions: [("n1".to_owned(), 1), ("n2".to_owned(), incarnation)].into(),
            held: [(LEASE.to_owned(), ("n2".to_owned(), token.to_owned()))].into(),
        };
        let before = standing(2, "1.5");
        assert!(before.compare(&standing(2, "1.5"), None).is_ok());
        assert!(before.compare(&standing(9, "1.5"), None).is_err());
        assert!(before.compare(&standing(2, "1.7"), None).is_err());
    }
}
