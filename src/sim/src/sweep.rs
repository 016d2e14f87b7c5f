//! Many seeds, and what they showed together.
//!
//! Stops at the first violation; a failure names its seed and the command that replays it.

use crate::invariants::Violation;
use crate::nemesis::{Fault, Struck};
use crate::oracle::Counts;
use crate::run::{Report, run};
use crate::trace::Detail;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a sweep showed.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Seeds run.
    pub seeds: u64,
    /// The first seed that broke something, and what.
    pub failure: Option<(u64, Violation)>,
    /// Faults by class, over all seeds.
    pub struck: BTreeMap<Fault, Struck>,
    /// Seeds in which no fault hit while something was granted.
    pub idle_seeds: Vec<u64>,
    /// What the clusters did.
    pub counts: Counts,
    /// True time simulated, nanoseconds.
    pub simulated: u64,
    /// Events handled.
    pub events: u64,
}

impl Sweep {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.simulated += report.simulated;
        self.events += report.events;
        let mut hits = 0;
        for (fault, struck) in report.struck {
            let sum = self.struck.entry(fault).or_default();
            sum.times += struck.times;
            sum.while_granted += struck.while_granted;
            hits += struck.while_granted;
        }
        if hits == 0 {
            self.idle_seeds.push(report.seed);
        }
        let (sum, one) = (&mut self.counts, report.counts);
        sum.entries += one.entries;
        sum.grants += one.grants;
        sum.expired += one.expired;
        sum.reopened += one.reopened;
        sum.confirmed += one.confirmed;
        sum.unproven += one.unproven;
        sum.vouched += one.vouched;
        sum.ordered_on += one.ordered_on;
        sum.drills += one.drills;
        sum.held += one.held;
        sum.quarantined += one.quarantined;
        sum.exempted += one.exempted;
        if let Some(violation) = report.violation {
            self.failure = Some((report.seed, violation));
        }
    }

    /// Classes of faults that never hit while something was granted.
    pub fn unmet(&self) -> Vec<Fault> {
        Fault::ALL
            .into_iter()
            .filter(|fault| {
                self.struck
                    .get(fault)
                    .is_none_or(|struck| struck.while_granted == 0)
            })
            .collect()
    }
}

/// Runs seeds in order until one breaks something.
pub fn sweep(seeds: Range<u64>) -> Sweep {
    let mut sum = Sweep::default();
    for seed in seeds {
        sum.add(run(seed, Detail::Off));
        if sum.failure.is_some() {
            break;
        }
    }
    sum
}

/// How to see a seed again.
pub fn replay_command(seed: u64) -> String {
    format!("cargo run -p haft-sim -- replay --seed {seed} --trace")
}
