//! What a story found, and the final table. One row a story; a row is `held` only if every demand was.

use std::time::Duration;

use haft_lab::say::{print, say};

/// How a story ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every demand was met.
    Held,
    /// One was not, or the story could not be told to its end.
    Broken,
}

/// What one story found.
#[derive(Debug)]
pub struct Outcome {
    name: &'static str,
    demanded: &'static str,
    figures: Vec<String>,
    broken: Vec<String>,
    took: Duration,
}

impl Outcome {
    /// Nothing found yet.
    #[must_use]
    pub fn of(name: &'static str, demanded: &'static str) -> Self {
        Self {
            name,
            demanded,
            figures: Vec::new(),
            broken: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// Notes whether a demand was met; `detail` says what was seen instead.
    pub fn demand(&mut self, what: &str, met: Demand, detail: &str) {
        match met {
            Demand::Met => say(&format!("    held: {what}")),
            Demand::Unmet => {
                say(&format!("    BROKEN: {what}: {detail}"));
                self.broken.push(format!("{what}: {detail}"));
            }
        }
    }

    /// Notes a measurement.
    pub fn figure(&mut self, text: String) {
        say(&format!("    {text}"));
        self.figures.push(text);
    }

    /// How long the story took.
    pub fn took(&mut self, time: Duration) {
        self.took = time;
    }

    /// How it ended.
    #[must_use]
    pub fn ending(&self) -> Ending {
        if self.broken.is_empty() {
            Ending::Held
        } else {
            Ending::Broken
        }
    }
}

/// Whether a demand was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// It was.
    Met,
    /// It was not.
    Unmet,
}

impl From<bool> for Demand {
    fn from(met: bool) -> Self {
        if met { Self::Met } else { Self::Unmet }
    }
}

/// Prints all rows and says how many stories broke.
#[must_use]
pub fn show(outcomes: &[Outcome]) -> usize {
    let count = |ending| outcomes.iter().filter(|one| one.ending() == ending).count();
    print("");
    for outcome in outcomes {
        let word = match outcome.ending() {
            Ending::Held => "held",
            Ending::Broken => "BROKEN",
        };
        let took = outcome.took.as_secs();
        print(&format!(
            "{word:8} {:22} {took:>4} s  {}",
            outcome.name, outcome.demanded
        ));
        let figures = outcome.figures.join("; ");
        if !figures.is_empty() {
            print(&format!("{:40}{figures}", ""));
        }
        for broken in &outcome.broken {
            print(&format!("{:40}broken: {broken}", ""));
        }
    }
    let (held, broken) = (count(Ending::Held), count(Ending::Broken));
    print(&format!("\n{held} held, {broken} broken"));
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unmet_demand_breaks_a_story() {
        let mut good = Outcome::of("a", "b");
        good.demand("c", Demand::Met, "");
        assert_eq!(good.ending(), Ending::Held);
        let mut bad = Outcome::of("a", "b");
        bad.demand("c", Demand::Met, "");
        bad.demand("d", Demand::Unmet, "e");
        assert_eq!(bad.ending(), Ending::Broken);
        assert_eq!(show(&[good, bad]), 1);
    }
}
