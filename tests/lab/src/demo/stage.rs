//! The stage of a scenario: puts every machine and address in its starting place, starts the judge's segment, waits
//! with the audience, and restores everything afterwards.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use haft_judge::protocol::{Report, TargetReport};

use super::narrator::Narrator;
use super::promise::Outcome;
use super::scenario::Scenario;
use super::timeline;
use crate::cluster::{Cluster, LEASE, PATIENCE, STONITH};
use crate::judge::Judge;
use crate::machine::Machine;
use crate::shell;
use crate::sys::Link;

/// The cluster, the judge and the voice.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) judge: Judge,
    pub(super) narrator: Narrator,
    began: Instant,
    began_at: SystemTime,
    last_event: u64,
}

impl Stage {
    pub(super) fn new(cluster: Cluster, judge: Judge, narrator: Narrator) -> Self {
        Self {
            cluster,
            judge,
            narrator,
            began: Instant::now(),
            began_at: SystemTime::now(),
            last_event: 0,
        }
    }

    /// Restores the lab, performs, reports. What fails inside the scenario is a broken promise; what fails before, an
    /// error.
    pub(super) fn perform(&mut self, scenario: Scenario) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::of(scenario.name());
        let (web, db) = scenario.places();
        self.restore(web, db)
            .with_context(|| format!("before `{}`", scenario.name()))?;
        self.begin()?;
        let performed = scenario.perform(self, &mut outcome);
        let detail = performed
            .as_ref()
            .err()
            .map_or_else(String::new, |error| format!("{error:#}"));
        outcome.demand("it came to its end", performed.is_ok(), &detail);
        let report = self.judge.report()?;
        let two_owners: f64 = report.targets.values().map(|t| t.two_owners_ms).sum();
        outcome.demand(
            "never two owners",
            two_owners <= 0.0,
            &format!("{two_owners:.0} ms"),
        );
        outcome.timeline = timeline::lines(&report, &self.new_events(), self.began_at);
        outcome.report = Some(report);
        self.mend()?;
        Ok(outcome)
    }

    /// Starts the judge's segment and remembers where the history stands.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        self.last_event = self
            .cluster
            .ctl
            .events()?
            .last()
            .map_or(0, |event| event.index);
        // Before the judge's own zero, so that what the lab saw never looks earlier than it was.
        self.began = Instant::now();
        self.judge.begin()?;
        self.began_at = SystemTime::now();
        Ok(())
    }

    fn new_events(&self) -> Vec<crate::ctl::Event> {
        // A cluster that cannot be asked right now leaves the timeline to the judge alone.
        let events = self.cluster.ctl.events().unwrap_or_default();
        events
            .into_iter()
            .filter(|event| event.index > self.last_event)
            .collect()
    }

    /// Undoes every fault: nothing stopped, nothing cut, everything on.
    fn mend(&mut self) -> anyhow::Result<()> {
        self.cluster.site.heal()?;
        for node in &self.cluster.site.nodes {
            node.signal(&["haft", "fence_"], rustix::process::Signal::CONT)?;
            if node.init().is_some() && node.off_since().is_none() {
                node.set_port(Link::Up)?;
                node.set_management_port(Link::Up)?;
            }
        }
        Ok(())
    }

    /// Undoes every fault, waits for the whole cluster, and moves the addresses to where the next scenario wants them.
    pub(super) fn restore(&mut self, web: &str, db: &str) -> anyhow::Result<()> {
        self.mend()?;
        self.cluster.wait_whole()?;
        for (name, node) in [(LEASE, web), (STONITH, db)] {
            self.place(name, node)?;
        }
        Ok(())
    }

    fn place(&mut self, name: &str, node: &str) -> anyhow::Result<()> {
        let status = shell::wait_for(&format!("vip/{name} to be active"), PATIENCE, || {
            Ok(Some(self.cluster.ctl.vip(name)?).filter(|status| status.state == "Active"))
        })?;
        if status.owner != node {
            self.cluster.ctl.move_to(name, node)?;
        }
        self.judge.wait_owner(name, node, PATIENCE)
    }

    /// Names this moment, for the timeline and the audience.
    pub(super) fn mark(&mut self, text: &str) -> anyhow::Result<()> {
        self.narrator.tell(text);
        self.judge.mark(text)
    }

    /// Waits until some node other than `old` answers for `target` alone, and says which.
    pub(super) fn wait_moved(&mut self, target: &str, old: &str) -> anyhow::Result<String> {
        let since = Instant::now();
        let waiting_for = format!("{target} to answer from a node other than {old}");
        let (judge, narrator) = (&mut self.judge, &self.narrator);
        let new = shell::wait_for(&waiting_for, PATIENCE, || {
            let now = judge.now()?;
            narrator.live(&waiting_for, since, &now);
            let reached = now.client.get(target).cloned().flatten();
            Ok(reached.filter(|node| node != old))
        })?;
        self.narrator.tell(&format!("{target} answers from {new}"));
        Ok(new)
    }

    /// Watches for this long without doing anything.
    pub(super) fn watch(&mut self, why: &str, length: Duration) -> anyhow::Result<()> {
        let since = Instant::now();
        let (judge, narrator) = (&mut self.judge, &self.narrator);
        shell::wait_for(why, length + PATIENCE, || {
            let now = judge.now()?;
            narrator.live(why, since, &now);
            Ok((since.elapsed() >= length).then_some(()))
        })
    }

    /// The node of that name.
    pub(super) fn node(&self, name: &str) -> anyhow::Result<std::sync::Arc<Machine>> {
        self.cluster.site.node(name).cloned()
    }

    /// Milliseconds of the judge's segment at which the BMC of `node` began to read off.
    pub(super) fn off_at_ms(&self, node: &Machine) -> Option<f64> {
        let off = node.off_since()?;
        Some(off.saturating_duration_since(self.began).as_secs_f64() * 1000.0)
    }

    /// Demands that `db` answered from another node only once the BMC of `old` read off.
    pub(super) fn demand_fenced_first(
        &mut self,
        outcome: &mut Outcome,
        old: &Machine,
    ) -> anyhow::Result<()> {
        let off = self.off_at_ms(old);
        let judge = &mut self.judge;
        // The newest tick is not in a report yet.
        let first = shell::wait_for("db's first answer to be on record", PATIENCE, || {
            let report = judge.report()?;
            Ok(first_answer_from_others(
                target(&report, STONITH)?,
                &old.identity.name,
            ))
        });
        let first = first.ok();
        let held = matches!((off, first), (Some(off), Some(first)) if off <= first);
        let text =
            |at: Option<f64>| at.map_or_else(|| "never".to_owned(), |at| format!("{at:.0} ms"));
        outcome.demand(
            "db answered from elsewhere only after the BMC read off",
            held,
            &format!("off at {}, first answer at {}", text(off), text(first)),
        );
        let proof = self.cluster.ctl.vip(STONITH)?.proof;
        outcome.demand(
            "db's new grant shows its evidence",
            proof == "Fenced",
            &proof,
        );
        Ok(())
    }
}

/// What a report says of one address.
pub(super) fn target<'a>(report: &'a Report, name: &str) -> anyhow::Result<&'a TargetReport> {
    report
        .targets
        .get(name)
        .with_context(|| format!("the judge does not watch {name}"))
}

/// When a node other than `old` was first heard.
pub(super) fn first_answer_from_others(target: &TargetReport, old: &str) -> Option<f64> {
    target
        .timeline
        .iter()
        .find(|span| span.who.iter().any(|node| node != old))
        .map(|span| span.from_ms)
}

/// When `node` was last heard.
pub(super) fn last_answer_from(target: &TargetReport, node: &str) -> Option<f64> {
    target
        .timeline
        .iter()
        .rev()
        .find(|span| span.who.iter().any(|who| who == node))
        .map(|span| span.to_ms)
}
