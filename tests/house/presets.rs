//! Suites on real clocks run at `normal`, so that a busy machine fails no test.
//!
//! Where a preset is the subject, a comment just above says so with the word "subject". The engine's
//! tests and the simulator have no real clock and take any.

use crate::tree::{Source, none, sources};

const HASTY: &[&str] = &[
    "failover: fast",
    "Timing::FAST",
    "Failover::Fast",
    "Preset::Fast",
];

/// How many lines above may say that the preset is the subject.
const NEAR: usize = 3;

fn on_a_real_clock(path: &str) -> bool {
    let folders = [
        "tests/",
        "src/agent/tests/",
        "src/coordinator/tests/",
        "src/ctl/tests/",
    ];
    let pure = ["tests/house/", "tests/parsers/"];
    folders.iter().any(|folder| path.starts_with(folder))
        && !pure.iter().any(|folder| path.starts_with(folder))
}

fn unreasoned(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let said = |number: usize| {
        lines[number.saturating_sub(NEAR)..number]
            .iter()
            .any(|line| line.trim_start().starts_with("//") && line.contains("subject"))
    };
    let hasty = |line: &str| HASTY.iter().any(|word| line.contains(word));
    (0..lines.len())
        .filter(|number| hasty(lines[*number]) && !said(*number))
        .map(|number| format!("{}:{}", source.path, number + 1))
        .collect()
}

#[test]
fn suites_run_at_normal_unless_a_preset_is_their_subject() {
    let all = sources();
    let own = all.iter().filter(|source| on_a_real_clock(&source.path));
    none(
        own.flat_map(unreasoned).collect(),
        "use `normal`, or say in a comment above that the preset is the subject",
    );
}
