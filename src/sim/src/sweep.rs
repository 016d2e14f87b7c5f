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

/// How one planted bug fared.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Debug)]
pub struct Catch {
    /// The bug.
    pub bug: haft_engine::plant::Bug,
    /// The first seed that caught it, and by what.
    pub first: Option<(u64, Violation)>,
    /// The first seed in which it broke a safety invariant: any but liveness.
    pub unsafe_first: Option<(u64, Violation)>,
    /// Every invariant that it broke, and in how many seeds.
    pub broke: BTreeMap<&'static str, u64>,
    /// Seeds tried.
    pub tried: u64,
}

#[cfg(feature = "planted-bugs")]
impl Catch {
    /// What has caught it: a safety invariant, or liveness where the bug only stops something.
    pub fn caught(&self) -> Option<&(u64, Violation)> {
        match haft_engine::plant::Bug::STALLS.contains(&self.bug) {
            true => self.first.as_ref(),
            false => self.unsafe_first.as_ref(),
        }
    }
}

/// Plants each bug in turn and runs the default seeds, `seeds.start` of them at least, until what has to catch it
/// does, and `seeds.end` at most.
#[cfg(feature = "planted-bugs")]
pub fn planted(bugs: &[haft_engine::plant::Bug], seeds: Range<u64>) -> Vec<Catch> {
    use haft_engine::plant;
    let mut catches = Vec::new();
    for &bug in bugs {
        plant::set(Some(bug));
        let mut catch = Catch {
            bug,
            first: None,
            unsafe_first: None,
            broke: BTreeMap::new(),
            tried: 0,
        };
        while catch.tried < seeds.end && (catch.tried < seeds.start || catch.caught().is_none()) {
            let report = run(catch.tried, Detail::Off);
            catch.tried += 1;
            if let Some(violation) = report.violation {
                catch.note(report.seed, violation);
            }
        }
        plant::set(None);
        catches.push(catch);
    }
    catches
}

#[cfg(feature = "planted-bugs")]
impl Catch {
    fn note(&mut self, seed: u64, violation: Violation) {
        *self.broke.entry(violation.invariant).or_default() += 1;
        if violation.invariant != crate::invariants::liveness::NAME {
            self.unsafe_first
                .get_or_insert_with(|| (seed, violation.clone()));
        }
        self.first.get_or_insert((seed, violation));
    }
}
