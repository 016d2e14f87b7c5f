//! `haft-lab mixtures`: nodes that count by different timings for a while, judged from outside.
//!
//! Two kinds. [`files`]: one node's file names another preset than the others' files do; the log's timing stays.
//! [`command`]: the log's timing, by which every session counts, is changed under load while a node is hit. The judge
//! demands 0 ms with two owners. How fast a cluster is at which timing is not asked here: only what is seen from outside.

mod command;
mod files;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use crate::cluster::{Cluster, LEASE, PATIENCE, PROGRAMS, Preset};
use crate::judge::Judge;
use crate::lab::{Lab, own_directory};
use crate::machine::Machine;
use crate::say::print;
use crate::shell;

/// How often a mixture is repeated because the judge stalled.
const REPEATS: usize = 3;

/// The daemons of a node.
const DAEMONS: [&str; 2] = ["haftd", "haft-agent"];

/// What `cluster status` begins its lines with.
const FILES_DIFFER: &str = "`timing` in the file of ";
const SESSIONS_OLDER: &str = "sessions that count by an older timing: ";

/// The kinds of mixtures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A file that says something else
    Files,
    /// A change by command, and a node hit meanwhile
    Command,
}

/// Which mixtures are performed; all that nothing here excludes.
#[derive(Debug, clap::Args)]
pub struct Chosen {
    /// Only this kind
    #[arg(long)]
    kind: Option<Kind>,
    #[command(flatten)]
    files: files::Edits,
    #[command(flatten)]
    command: command::Changes,
}

/// Performs them; the exit code is 0 only if no mixture had two owners and each came to its end.
///
/// # Errors
/// The cluster cannot be formed, or nothing is chosen.
pub fn run(chosen: &Chosen) -> anyhow::Result<u8> {
    let wants = |kind| chosen.kind.is_none_or(|only| only == kind);
    let files = if wants(Kind::Files) {
        chosen.files.mixtures()
    } else {
        Vec::new()
    };
    let changes = if wants(Kind::Command) {
        chosen.command.mixtures()
    } else {
        Vec::new()
    };
    anyhow::ensure!(
        !files.is_empty() || !changes.is_empty(),
        "there is no such mixture: nothing would be shown"
    );
    let lab = Lab::open(&own_directory()?, &PROGRAMS)?;
    // Raft's own timers are the file's, and stay these.
    let cluster = Cluster::form_at(lab.site("h", 1, "n")?, Preset::Normal, None)?;
    cluster.apply_vip(LEASE)?;
    let judge = cluster.site.judge(cluster.targets())?;
    let mut stage = Stage { cluster, judge };
    let mut tally = Tally::default();
    for mixture in &files {
        let performed = stage.judged(|stage| mixture.perform(stage));
        tally.note(&mixture.words(), performed);
    }
    if !files.is_empty() && !changes.is_empty() {
        command::restore_files(&stage)?;
    }
    if !changes.is_empty() {
        command::load(&stage)?;
    }
    for mixture in changes {
        let performed = stage.judged(|stage| mixture.perform(stage));
        tally.note(&mixture.words(), performed);
    }
    print(&format!(
        "{} of {} mixtures failed",
        tally.failed, tally.performed
    ));
    Ok(u8::from(tally.failed > 0))
}

/// What the judge saw of one mixture.
struct Seen {
    two_owners_ms: f64,
    silence_ms: f64,
    /// What the mixture itself has to say.
    remark: String,
}

#[derive(Default)]
struct Tally {
    performed: usize,
    failed: usize,
}

impl Tally {
    fn note(&mut self, mixture: &str, performed: anyhow::Result<Seen>) {
        self.performed += 1;
        let said = match performed {
            Ok(seen) => {
                let figures = format!(
                    "{:.0} ms with two owners, longest silence {:.0} ms{}",
                    seen.two_owners_ms, seen.silence_ms, seen.remark
                );
                if seen.two_owners_ms > 0.0 {
                    self.failed += 1;
                    format!("FAILED: {figures}")
                } else {
                    figures
                }
            }
            Err(error) => {
                self.failed += 1;
                format!("FAILED: {error:#}")
            }
        };
        print(&format!("{mixture}: {said}"));
    }
}

struct Stage {
    cluster: Cluster,
    judge: Judge,
}

impl Stage {
    /// Performs until the judge did not stall; two owners are two owners, no stall excuses them.
    fn judged(
        &mut self,
        perform: impl Fn(&mut Stage) -> anyhow::Result<String>,
    ) -> anyhow::Result<Seen> {
        for _ in 0..REPEATS {
            let performed = perform(self);
            // Whatever happened: the next mixture finds every fault undone.
            self.mend()?;
            let report = self.judge.report()?;
            let seen = |remark| Seen {
                two_owners_ms: report.targets.values().map(|t| t.two_owners_ms).sum(),
                silence_ms: report.targets[LEASE].longest_gap_ms,
                remark,
            };
            // A mixture that did not come to its end may have had two owners all the same.
            let seen = match performed {
                Ok(remark) => seen(remark),
                Err(error) => {
                    let two_owners_ms = seen(String::new()).two_owners_ms;
                    return Err(error.context(format!("{two_owners_ms:.0} ms with two owners")));
                }
            };
            if seen.two_owners_ms > 0.0 || !report.stalled {
                return Ok(seen);
            }
        }
        anyhow::bail!("the judge stalled in {REPEATS} runs")
    }

    /// Nothing cut, nothing stopped.
    fn mend(&self) -> anyhow::Result<()> {
        self.cluster.site.heal()?;
        for node in &self.cluster.site.nodes {
            node.signal(&DAEMONS, Signal::CONT)?;
        }
        Ok(())
    }

    fn leader(&self) -> anyhow::Result<Arc<Machine>> {
        let name = shell::wait_for("a leader", PATIENCE, || self.cluster.ctl.leader().map(Some))?;
        self.cluster.site.node(&name).cloned()
    }

    /// Ends both daemons as an init system would, and waits until others run in their place and the node is online.
    fn restart(&self, node: &Machine) -> anyhow::Result<()> {
        let before = node.processes(&DAEMONS)?;
        node.signal(&DAEMONS, Signal::TERM)?;
        let name = &node.identity.name;
        shell::wait_for(
            &format!("the daemons of {name} to start again"),
            PATIENCE,
            || {
                let now = node.processes(&DAEMONS)?;
                let fresh = now.iter().all(|pid| !before.contains(pid));
                Ok((fresh && now.len() >= DAEMONS.len()).then_some(()))
            },
        )?;
        self.cluster.wait_whole()
    }

    /// The log holds this preset, and every session counts by it. Who differs besides is not asked.
    fn put_in_force(&self, preset: Preset) -> anyhow::Result<()> {
        let generation = shell::wait_for("the change to be accepted", PATIENCE, || {
            self.cluster.ctl.set_timing(preset.word()).map(Some)
        })?;
        self.wait_followed(generation)
    }

    /// Every session counts by this version.
    fn wait_followed(&self, generation: u64) -> anyhow::Result<()> {
        let what = format!("every session to count by generation {generation}");
        shell::wait_for(&what, PATIENCE, || {
            let timing = self.cluster.ctl.timing()?;
            let followed = timing.generation == generation && timing.older.is_empty();
            anyhow::ensure!(followed, "{timing:?}");
            Ok(Some(()))
        })
    }

    /// `cluster timing` and `cluster status` name exactly these as having a file that says something else.
    fn wait_files_named(&self, expected: &BTreeSet<String>) -> anyhow::Result<()> {
        let what = format!("the files of {expected:?} to be named, and no others");
        shell::wait_for(&what, PATIENCE, || {
            let timing = self.cluster.ctl.timing()?;
            anyhow::ensure!(timing.files == *expected, "{timing:?}");
            let warnings = self.cluster.ctl.warnings()?;
            let named = named_after(&warnings, FILES_DIFFER);
            anyhow::ensure!(named == *expected, "{warnings:?}");
            Ok(Some(()))
        })
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

/// The nodes that the warning with this beginning names.
fn named_after(warnings: &[String], beginning: &str) -> BTreeSet<String> {
    let lines = warnings.iter().filter_map(|w| w.strip_prefix(beginning));
    let words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()));
    let nodes = words.filter(|word| {
        let number = word.strip_prefix('n');
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    nodes.map(str::to_owned).collect()
}

/// Every ordered pair of different presets; all of them are the subject.
fn pairs_of_presets() -> Vec<(Preset, Preset)> {
    // All of them are the subject.
    let presets = [Preset::Fast, Preset::Normal, Preset::Relaxed];
    let pairs = presets.map(|one| presets.map(|other| (one, other)));
    let different = pairs.into_iter().flatten();
    different.filter(|(one, other)| one != other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ordered_pair_of_different_presets_is_there_once() {
        let pairs = pairs_of_presets();
        assert_eq!(pairs.len(), 6);
        for (index, pair) in pairs.iter().enumerate() {
            assert_ne!(pair.0, pair.1);
            assert!(!pairs[..index].contains(pair));
        }
    }

    #[test]
    fn the_nodes_that_a_warning_names_are_read_from_its_own_line() {
        let lines = [
            "sessions that count by an older timing: 1 (n2)",
            "`timing` in the file of n3 n1 differs from the cluster's, which is used; see haftctl cluster timing",
        ]
        .map(str::to_owned);
        let named = |beginning| {
            named_after(&lines, beginning)
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(named(SESSIONS_OLDER), ["n2"]);
        assert_eq!(named(FILES_DIFFER), ["n1", "n3"]);
    }
}
