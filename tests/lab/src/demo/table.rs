//! The final table, on stdout.

use std::time::Duration;

use super::promise::Outcome;
use crate::cluster::{LEASE, STONITH};
use crate::say::print;

/// Prints one row per scenario and the promises that were broken.
pub(super) fn print_all(outcomes: &[Outcome], took: Duration) {
    let header = [
        "scenario",
        "web gap",
        "db gap",
        "two owners",
        "judge's stall",
        "repeated",
        "promises",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(outcomes.iter().map(row));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    print("");
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        print(cells.join("  ").trim_end());
    }
    print(&format!(
        "\n{} scenarios in {:.0} s",
        outcomes.len(),
        took.as_secs_f64()
    ));
    for outcome in outcomes {
        for promise in outcome.promises.iter().filter(|p| !p.held) {
            print(&format!(
                "BROKEN in `{}`: {} ({})",
                outcome.name, promise.text, promise.detail
            ));
        }
    }
}

fn row(outcome: &Outcome) -> [String; 7] {
    let gap = |name: &str| {
        outcome
            .gap_ms(name)
            .map_or_else(|| "-".to_owned(), |gap| format!("{gap:.0} ms"))
    };
    let stall = outcome
        .report
        .as_ref()
        .map_or_else(|| "-".to_owned(), |r| format!("{:.1} ms", r.worst_stall_ms));
    let held = outcome.promises.iter().filter(|p| p.held).count();
    [
        outcome.name.clone(),
        gap(LEASE),
        gap(STONITH),
        format!("{:.0} ms", outcome.two_owners_ms()),
        stall,
        outcome.repeated.to_string(),
        format!("{held} of {} held", outcome.promises.len()),
    ]
}
