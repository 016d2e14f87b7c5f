//! The stage on which stories are told: the rack, the cluster, the judge of the network and the judges of the disk.
//! Each story begins with every guest up and the addresses in places it names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use haft_judge::protocol::{Report, TargetReport};
use haft_lab::ctl::VipStatus;
use haft_lab::judge::Judge;
use haft_lab::say::say;
use haft_lab::shell;
use haft_lab::sys::Link;

use crate::check::{Follower, Seen, Stretch, Verdict};
use crate::cluster::{Cluster, PATIENCE};
use crate::guest::Guest;
use crate::rack::Rack;
use crate::stamp::Region;
use crate::table::{Demand, Outcome};

/// A stamp as new as this is of a writer at work.
const FRESH: Duration = Duration::from_secs(1);
/// How much undisturbed work each story's record begins with.
const BEFORE: Duration = Duration::from_secs(1);
/// Stamps of the present owner that must be there before a story begins.
const STAMPS: usize = 20;

/// Everything a story needs.
#[derive(Debug)]
pub struct Stage {
    /// Switches, guests, BMCs.
    pub rack: Rack,
    /// haft in the guests.
    pub cluster: Cluster,
    judge: Judge,
    followers: BTreeMap<&'static str, Follower>,
    begun: Begun,
}

/// Where the records stood when the story began.
#[derive(Debug)]
struct Begun {
    at: Instant,
    stamps: BTreeMap<&'static str, usize>,
    lives: Vec<usize>,
}

impl Stage {
    /// Sets up the judges around a formed cluster.
    ///
    /// # Errors
    /// A judge that does not start.
    pub fn set(rack: Rack, cluster: Cluster) -> anyhow::Result<Self> {
        let judge = rack.judge(cluster.targets())?;
        let mut followers = BTreeMap::new();
        for region in Region::ALL {
            followers.insert(region.name(), Follower::start(&rack.shared, region)?);
        }
        Ok(Self {
            rack,
            cluster,
            judge,
            followers,
            begun: Begun {
                at: Instant::now(),
                stamps: BTreeMap::new(),
                lives: Vec::new(),
            },
        })
    }

    /// Brings all guests up and both addresses to these nodes, waits until both answer and stamp there, and begins.
    ///
    /// # Errors
    /// Any of that does not come about.
    pub fn begin(&mut self, web: &str, db: &str) -> anyhow::Result<()> {
        self.rack.set_management(Link::Up)?;
        for guest in &self.rack.guests {
            self.rack.set_port(guest, Link::Up)?;
        }
        self.cluster.wait_whole(&self.rack.guests)?;
        for (vip, node) in [("web", web), ("db", db)] {
            self.cluster
                .place(vip, node)
                .with_context(|| format!("{vip} to {node}"))?;
            self.judge.wait_owner(vip, node, PATIENCE)?;
            self.wait_stamps(vip, node)?;
        }
        self.start_record()
    }

    /// What was seen until now belongs to no story; the next one begins with [`BEFORE`] of undisturbed work.
    ///
    /// # Errors
    /// The judge is gone.
    pub fn start_record(&mut self) -> anyhow::Result<()> {
        self.judge.begin()?;
        let stamps = self.followers.iter();
        self.begun = Begun {
            at: Instant::now(),
            stamps: stamps.map(|(vip, one)| (*vip, one.count())).collect(),
            lives: self.rack.guests.iter().map(|guest| guest.lives()).collect(),
        };
        self.let_pass(BEFORE);
        Ok(())
    }

    /// When the story began.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.begun.at
    }

    /// Names this moment for the judge and the audience.
    ///
    /// # Errors
    /// The judge is gone.
    pub fn mark(&mut self, label: &str) -> anyhow::Result<Instant> {
        self.judge.mark(label)?;
        let seconds = self.begun.at.elapsed().as_secs_f64();
        say(&format!("    {seconds:6.1} s  {label}"));
        Ok(Instant::now())
    }

    /// Lets real time pass: what is shown is that something does or does not happen meanwhile.
    pub fn let_pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Waits until `node` has stamped the disk under the token of the grant in force.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_stamps(&self, vip: &str, node: &str) -> anyhow::Result<()> {
        let follower = self.follower(vip);
        let base = follower.count();
        shell::wait_for(&format!("{node} to stamp for {vip}"), PATIENCE, || {
            let ours = follower
                .newest()
                .is_some_and(|seen| seen.stamp.node == node);
            Ok((ours && follower.count() >= base + STAMPS).then_some(()))
        })
    }

    /// Waits until the address is active and its owner, whoever that is, stamps under the token of its grant.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_served(&self, vip: &str) -> anyhow::Result<VipStatus> {
        shell::wait_for(&format!("{vip} to be served"), PATIENCE, || {
            let status = self.cluster.ctl.vip(vip)?;
            let newest = self.newest(vip).filter(|seen| seen.at.elapsed() < FRESH);
            let served = newest.is_some_and(|seen| {
                seen.stamp.node == status.owner && seen.stamp.token.to_string() == status.token
            });
            Ok((status.state == "Active" && served).then_some(status))
        })
    }

    fn follower(&self, vip: &str) -> &Follower {
        self.followers
            .get(vip)
            .expect("stories name addresses that have a region")
    }

    /// How many stamps there are for an address.
    #[must_use]
    pub fn count(&self, vip: &str) -> usize {
        self.follower(vip).count()
    }

    /// The newest stamp for an address.
    #[must_use]
    pub fn newest(&self, vip: &str) -> Option<Seen> {
        self.follower(vip).newest()
    }

    /// What the network's judge saw of one address in this story.
    ///
    /// # Errors
    /// The judge is gone.
    pub fn seen(&mut self, vip: &str) -> anyhow::Result<(TargetReport, Report)> {
        let report = self.judge.report()?;
        let target = report.targets.get(vip).cloned();
        Ok((target.context("the judge does not watch it")?, report))
    }

    /// Milliseconds of the judge's clock at an instant of the lab's.
    #[must_use]
    pub fn ms(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.begun.at).as_secs_f64() * 1000.0
    }

    /// What the disk's judge says of one address in this story.
    ///
    /// # Errors
    /// The image cannot be read.
    pub fn stamps(&self, vip: &str) -> anyhow::Result<Verdict> {
        let from = self.begun.stamps.get(vip).copied().unwrap_or_default();
        self.follower(vip)
            .judge(&self.rack.shared, from, self.begun.at)
    }

    /// The stretch of the log that begins under another node than `from`.
    ///
    /// # Errors
    /// As [`Stage::stamps`], or nobody else has stamped.
    pub fn successor(&self, vip: &str, from: &str) -> anyhow::Result<Stretch> {
        let verdict = self.stamps(vip)?;
        verdict
            .stretches
            .into_iter()
            .find(|stretch| stretch.node != from)
            .with_context(|| format!("nobody but {from} stamped for {vip}"))
    }

    /// The demand of every story: nobody ever saw two owners of this address, on the wire or on the disk.
    ///
    /// # Errors
    /// A judge is gone.
    pub fn demand_one_owner(&mut self, outcome: &mut Outcome, vip: &str) -> anyhow::Result<()> {
        let (target, report) = self.seen(vip)?;
        outcome.demand(
            &format!("never two answered for {vip}"),
            (target.two_owners_ticks == 0).into(),
            &format!("for {:.0} ms", target.two_owners_ms),
        );
        if report.stalled {
            outcome.figure(format!(
                "the judge itself was late by {:.0} ms once",
                report.worst_stall_ms
            ));
        }
        let verdict = self.stamps(vip)?;
        outcome.demand(
            &format!("never two wrote for {vip}"),
            verdict.clean().into(),
            &format!("{} signs: {}", verdict.count, verdict.violations.join("; ")),
        );
        outcome.figure(format!(
            "{vip}: {} stamps under {} grants, the client went without for {:.1} s at most",
            verdict.stamps,
            verdict.stretches.len(),
            target.client_gap_ms / 1000.0
        ));
        Ok(())
    }

    /// Whoever was taken for off and was not goes on, if it was only paused: what that does to the disk is to be seen.
    fn show_two_writers(&mut self, outcome: &mut Outcome, lost: &Guest) -> anyhow::Result<()> {
        // A guest that was not paused goes on anyway.
        let _running = lost.resume();
        self.let_pass(BEFORE);
        self.demand_one_owner(outcome, "db")
    }

    /// The demand of every story: no guest was reset or powered off, but those named.
    pub fn demand_not_reset(&self, outcome: &mut Outcome, but: &[&str]) {
        let touched = |(guest, lives): (&Arc<Guest>, &usize)| {
            let cut = guest.lives() != *lives || guest.last_cut() > Some(self.begun.at);
            let reset = guest.event("RESET", self.begun.at).is_some();
            let counts = !but.contains(&guest.name());
            (counts && (cut || reset)).then(|| guest.name().to_owned())
        };
        let guests = self.rack.guests.iter().zip(&self.begun.lives);
        let touched: Vec<String> = guests.filter_map(touched).collect();
        outcome.demand(
            "no other guest was reset or powered off",
            touched.is_empty().into(),
            &touched.join(", "),
        );
    }

    /// What must hold when the owner of both addresses is lost for good: both move, `db` only after the owner was off.
    ///
    /// # Errors
    /// A move that does not come about.
    pub fn demand_fenced_takeover(
        &mut self,
        outcome: &mut Outcome,
        lost: &Guest,
        since: Instant,
    ) -> anyhow::Result<()> {
        let name = lost.name();
        let web = self.cluster.wait_taken_over("web", name)?;
        self.judge.wait_owner("web", &web.owner, PATIENCE)?;
        let db = self.cluster.wait_taken_over("db", name)?;
        self.judge.wait_owner("db", &db.owner, PATIENCE)?;
        self.wait_stamps("db", &db.owner)?;
        self.wait_stamps("web", &web.owner)?;
        let after = |at: Instant| at.saturating_duration_since(since).as_secs_f64();
        let Some(cut) = lost.last_cut().filter(|cut| *cut > self.begun.at) else {
            outcome.demand(
                "the lost owner was powered off",
                Demand::Unmet,
                "it was not",
            );
            return self.show_two_writers(outcome, lost);
        };
        let successor = self.successor("db", name)?;
        outcome.demand(
            "db was written elsewhere only after its owner was observed off",
            (successor.first > cut).into(),
            &format!(
                "{:.3} s before",
                cut.saturating_duration_since(successor.first).as_secs_f64()
            ),
        );
        let (seen, _) = self.seen("db")?;
        let early = |span: &haft_judge::protocol::Span| {
            span.from_ms < self.ms(cut) && span.who.iter().any(|who| who != name)
        };
        outcome.demand(
            "db answered elsewhere only after its owner was observed off",
            (!seen.timeline.iter().any(early)).into(),
            "another node answered before",
        );
        outcome.demand(
            "the grant of db rests on the fencing",
            (db.proof == "Fenced").into(),
            &format!("{}: {}", db.proof, db.proof_detail),
        );
        let web_elsewhere = self.successor("web", name)?;
        outcome.figure(format!(
            "web written elsewhere after {:.1} s; owner off after {:.1} s, db written elsewhere after {:.1} s",
            after(web_elsewhere.first),
            after(cut),
            after(successor.first)
        ));
        self.demand_one_owner(outcome, "web")?;
        self.demand_one_owner(outcome, "db")?;
        self.demand_not_reset(outcome, &[name]);
        Ok(())
    }
}
