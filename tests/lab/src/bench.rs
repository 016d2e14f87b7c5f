//! `haft-lab bench-failover`: haft beside real Keepalived in the same lab, one contender at a time, alternating.
//!
//! Measured is the ordinary client's longest gap, as the judge saw it. A run in which the judge stalled does not count
//! and is repeated. The figures are written, not judged: a benchmark is no test.

use std::path::Path;

use serde::Serialize;

use crate::keepalived;
use crate::lab::{Lab, own_directory};
use crate::say::say;
use crate::stats::Figures;

pub mod beside;

/// Samples of one contender.
#[derive(Debug, Default)]
pub struct Series {
    gaps: Vec<f64>,
    two_owners_ms: f64,
    repeated: usize,
}

impl Series {
    /// Takes one sample, unless the judge stalled in it; says whether it counts.
    pub fn take(&mut self, sample: &Sample) -> bool {
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
    let lab = Lab::open(&own_directory()?, &[])?;
    let mut keepalived = beside::Keepalived::new(&lab)?;
    let mut series = Series::default();
    while series.gaps.len() < runs {
        let sample = keepalived.fail_over()?;
        let counts = series.take(&sample);
        say(&format!(
            "keepalived {}/{runs}: gap {:.0} ms{}",
            series.gaps.len(),
            sample.gap_ms,
            if counts {
                ""
            } else {
                " (judge stalled, repeated)"
            }
        ));
    }
    anyhow::ensure!(
        contenders == Contenders::Keepalived,
        "haft's side is not there yet"
    );
    let figures = Failover {
        keepalived_version: keepalived::version()?,
        keepalived: series.figures(),
        haft_lease: None,
        haft_stonith: None,
        planned_move: None,
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
