//! `haft-lab bench-failover`: haft beside real Keepalived in the same lab, one contender at a time, alternating.
//!
//! Measured is the ordinary client's longest gap, as the judge saw it. A run in which the judge stalled does not count
//! and is repeated. The figures are written, not judged: a benchmark is no test.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::cluster::{LEASE, PROGRAMS, STONITH};
use crate::keepalived;
use crate::lab::{Lab, own_directory};
use crate::say::say;
use crate::stats::Figures;

mod beside;
mod haft;

/// Attempts at one run before the machine is called too busy.
const ATTEMPTS: usize = 10;

/// Samples of one contender.
#[derive(Debug, Default)]
pub struct Series {
    gaps: Vec<f64>,
    two_owners_ms: f64,
    repeated: usize,
}

impl Series {
    /// Repeats a run until the judge did not stall in it.
    ///
    /// # Errors
    /// That of the run, or the judge stalled every time.
    fn until_it_counts(
        &mut self,
        name: &str,
        mut run: impl FnMut() -> anyhow::Result<Sample>,
    ) -> anyhow::Result<()> {
        for _ in 0..ATTEMPTS {
            let sample = run().with_context(|| format!("{name}, run {}", self.gaps.len() + 1))?;
            let counts = self.take(&sample);
            let note = if counts {
                ""
            } else {
                " (the judge stalled: repeated)"
            };
            say(&format!(
                "{name:<13} run {}: {:.0} ms{note}",
                self.gaps.len(),
                sample.gap_ms
            ));
            if counts {
                return Ok(());
            }
        }
        anyhow::bail!(
            "{name}: the judge stalled {ATTEMPTS} times in a row: the machine is too busy to measure"
        )
    }

    /// Takes one sample, unless the judge stalled in it; says whether it counts.
    fn take(&mut self, sample: &Sample) -> bool {
        self.two_owners_ms += sample.two_owners_ms;
        if sample.stalled {
            self.repeated += 1;
            return false;
        }
        self.gaps.push(sample.gap_ms);
        true
    }

    fn figures(self) -> Figures {
        Figures::of(self.gaps, self.two_owners_ms, self.repeated)
    }
}

/// One failover as the judge saw it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The ordinary client's longest gap.
    pub gap_ms: f64,
    /// Time with two owners.
    pub two_owners_ms: f64,
    /// The judge stalled: repeat.
    pub stalled: bool,
}

/// Which contenders run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contenders {
    /// Keepalived alone: needs no haft.
    Keepalived,
    /// Both, alternating.
    Both,
}

/// `target/figures/failover.json`.
#[derive(Debug, Serialize)]
struct Failover {
    /// Of the tree that was measured and the machine that it was measured on.
    origin: serde_json::Value,
    keepalived_version: String,
    keepalived: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    haft_lease: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    haft_stonith: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    planned_move: Option<Figures>,
}

/// Runs the benchmark and writes the figures to `out`.
///
/// # Errors
/// A contender that does not form, or does not fail over at all.
pub fn run(runs: usize, contenders: Contenders, out: &Path) -> anyhow::Result<()> {
    let programs: &[&str] = match contenders {
        Contenders::Keepalived => &[],
        Contenders::Both => &PROGRAMS,
    };
    let lab = Lab::open(&own_directory()?, programs)?;
    // Before it makes its own load.
    let origin = haft_tests::figures::origin();
    let mut keepalived = beside::Keepalived::new(&lab)?;
    let mut haft = match contenders {
        Contenders::Keepalived => None,
        Contenders::Both => Some(haft::Haft::form(&lab)?),
    };
    let mut series: [Series; 4] = Default::default();
    for _ in 0..runs {
        let [beside, lease, stonith, planned] = &mut series;
        beside.until_it_counts("keepalived", || keepalived.fail_over())?;
        if let Some(haft) = &mut haft {
            lease.until_it_counts("haft lease", || haft.fail_over(LEASE))?;
            stonith.until_it_counts("haft stonith", || haft.fail_over(STONITH))?;
            planned.until_it_counts("planned move", || haft.planned_move())?;
        }
    }
    let [beside, lease, stonith, planned] = series.map(Series::figures);
    let ours = |figures: Figures| haft.is_some().then_some(figures);
    let figures = Failover {
        origin,
        keepalived_version: keepalived::version()?,
        keepalived: beside,
        haft_lease: ours(lease),
        haft_stonith: ours(stonith),
        planned_move: ours(planned),
    };
    write(out, &figures)
}

fn write(out: &Path, figures: &Failover) -> anyhow::Result<()> {
    if let Some(directory) = out.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut text = serde_json::to_string_pretty(figures)?;
    text.push('\n');
    std::fs::write(out, &text)?;
    crate::say::print(text.trim_end());
    Ok(())
}
