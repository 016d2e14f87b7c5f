//! Promises and whether they held.

use haft_judge::protocol::Report;

/// One promise of one scenario.
#[derive(Debug, Clone)]
pub struct Promise {
    /// What was promised.
    pub text: String,
    /// Whether it held.
    pub held: bool,
    /// What was seen.
    pub detail: String,
}

/// One scenario, performed and judged.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Short name, for the table.
    pub name: String,
    /// In the order they were checked.
    pub promises: Vec<Promise>,
    /// The judge's report of the run that counts.
    pub report: Option<Report>,
    /// What happened when, ready to print.
    pub timeline: Vec<String>,
    /// Runs that did not count because the judge stalled.
    pub repeated: usize,
}

impl Outcome {
    /// A scenario not yet performed.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Notes a promise and whether it held.
    pub fn demand(&mut self, text: &str, held: bool, detail: &str) {
        self.promises.push(Promise {
            text: text.to_owned(),
            held,
            detail: detail.to_owned(),
        });
    }

    /// Whether every promise held; an outcome without promises did not hold.
    #[must_use]
    pub fn held(&self) -> bool {
        !self.promises.is_empty() && self.promises.iter().all(|p| p.held)
    }

    /// Time with two owners of any address.
    #[must_use]
    pub fn two_owners_ms(&self) -> f64 {
        self.report
            .iter()
            .flat_map(|r| r.targets.values())
            .map(|t| t.two_owners_ms)
            .sum()
    }

    /// The ordinary client's longest gap for one address, if it was watched.
    #[must_use]
    pub fn gap_ms(&self, target: &str) -> Option<f64> {
        self.report
            .as_ref()?
            .targets
            .get(target)
            .map(|t| t.client_gap_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_holds_only_with_every_promise_and_at_least_one() {
        let mut outcome = Outcome::of("x");
        assert!(!outcome.held());
        outcome.demand("a", true, "");
        assert!(outcome.held());
        outcome.demand("b", false, "");
        assert!(!outcome.held());
    }
}
