//! Keepalived's side of the benchmark.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use super::Sample;
use crate::judge::Judge;
use crate::keepalived;
use crate::lab::Lab;
use crate::shell;
use crate::site::Site;

/// How long a contender may take to form, or to fail over.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A site of its own on which Keepalived runs only while it is its turn.
pub(super) struct Keepalived {
    site: Site,
    judge: Judge,
}

impl Keepalived {
    /// Lays out the site.
    pub(super) fn new(lab: &Lab) -> anyhow::Result<Self> {
        let site = lab.site("k", 2, "k")?;
        let vip = keepalived::install(&site)?;
        let judge = site.judge(BTreeMap::from([("vip".to_owned(), IpAddr::V4(vip))]))?;
        Ok(Self { site, judge })
    }

    /// Starts Keepalived everywhere, loses the owner, measures, and switches everything off again.
    pub(super) fn fail_over(&mut self) -> anyhow::Result<Sample> {
        for node in &self.site.nodes {
            node.power_on()?;
        }
        self.judge
            .wait_owner("vip", "k1", PATIENCE)
            .context("Keepalived did not form")?;
        self.judge.begin()?;
        wait_segment(&mut self.judge, 500.0 + random_phase(200.0))?;
        self.judge.mark("fault")?;
        self.site.nodes[0].crash()?;
        self.judge
            .wait_owner("vip", "k2", PATIENCE)
            .context("Keepalived did not fail over")?;
        let sample = settle(&mut self.judge, "vip")?;
        for node in &self.site.nodes {
            node.power_off()?;
        }
        Ok(sample)
    }
}

/// Lets the segment grow to this length.
pub(super) fn wait_segment(judge: &mut Judge, length_ms: f64) -> anyhow::Result<()> {
    shell::wait_for("the segment to grow", PATIENCE, || {
        Ok((judge.report()?.duration_ms >= length_ms).then_some(()))
    })
}

/// A moment after the failover, so that a late second owner would be seen; then the sample.
pub(super) fn settle(judge: &mut Judge, target: &str) -> anyhow::Result<Sample> {
    let end = judge.report()?.duration_ms + 300.0;
    wait_segment(judge, end)?;
    let report = judge.report()?;
    let seen = report
        .targets
        .get(target)
        .with_context(|| format!("no target {target}"))?;
    let two_owners_ms = report.targets.values().map(|t| t.two_owners_ms).sum();
    Ok(Sample {
        gap_ms: seen.client_gap_ms,
        two_owners_ms,
        stalled: report.stalled,
    })
}

/// Some part of `span` milliseconds, different each time: a fault must not fall into step with a beat.
pub(super) fn random_phase(span: f64) -> f64 {
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.subsec_nanos());
    // The low digits of the clock, scrambled by an odd multiplier (Knuth's).
    f64::from(nanos.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX) * span
}
