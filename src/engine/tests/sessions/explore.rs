//! Exhaustive exploration of a world that clones, with a memory of what was seen.
//!
//! Depth first. Worlds that look alike (by their own key) are visited once. Knows nothing of sessions.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// A world at one moment.
pub(crate) trait World: Clone {
    /// One thing that can happen.
    type Action: Clone + Debug;
    /// Everything that can happen now.
    fn actions(&self) -> Vec<Self::Action>;
    /// Lets it happen.
    fn act(&mut self, action: &Self::Action);
    /// What is wrong, if anything.
    fn violation(&self) -> Option<String>;
    /// Whether something happened that the exploration is about, so that it cannot pass by doing nothing.
    fn is_telling(&self) -> bool;
    /// Equal for worlds with the same future, and different for others but for a hash's bad luck.
    fn key(&self) -> u64;
}

/// What an exploration found.
pub(crate) struct Report {
    worlds: usize,
    telling: usize,
    violation: Option<String>,
}

impl Report {
    /// Fails on a violation; returns how many worlds were telling.
    pub(crate) fn expect_safe(&self) -> usize {
        assert!(
            self.violation.is_none(),
            "{} (among {} worlds)",
            self.violation.as_deref().unwrap_or_default(),
            self.worlds
        );
        self.telling
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn is_violated(&self) -> bool {
        self.violation.is_some()
    }
}

/// Visits every world that `start` leads to, until one is wrong.
pub(crate) fn explore<W: World>(start: &W) -> Report {
    let mut report = Report {
        worlds: 0,
        telling: 0,
        violation: None,
    };
    let mut seen = HashSet::new();
    let mut path = Vec::new();
    visit(start, &mut seen, &mut path, &mut report);
    report
}

fn visit<W: World>(
    world: &W,
    seen: &mut HashSet<u64>,
    path: &mut Vec<W::Action>,
    report: &mut Report,
) {
    if !seen.insert(world.key()) {
        return;
    }
    report.worlds += 1;
    report.telling += usize::from(world.is_telling());
    if let Some(what) = world.violation() {
        report.violation = Some(format!("{what}, after {path:#?}"));
        return;
    }
    for action in world.actions() {
        let mut next = world.clone();
        next.act(&action);
        path.push(action);
        visit(&next, seen, path, report);
        path.pop();
        if report.violation.is_some() {
            return;
        }
    }
}

/// A key of these values.
pub(crate) fn digest(values: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish()
}
