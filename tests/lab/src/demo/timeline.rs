//! One list of what happened when: what the judge saw on the wire, what the lab did, what the cluster logged.
//!
//! Times are milliseconds relative to the first named moment, which is the fault.

use std::time::SystemTime;

use haft_judge::protocol::{Report, Span};

use crate::ctl::Event;

/// Lines printed at most per scenario.
const LIMIT: usize = 40;
/// Milliseconds of a day.
const DAY_MS: f64 = 86_400_000.0;

/// The lines, in order of time.
pub(super) fn lines(report: &Report, events: &[Event], began_at: SystemTime) -> Vec<String> {
    let mut facts: Vec<(f64, String)> = Vec::new();
    for mark in &report.marks {
        facts.push((mark.at_ms, format!("lab     {}", mark.label)));
    }
    for (name, target) in &report.targets {
        for span in &target.timeline {
            facts.push((span.from_ms, format!("judge   {name}: {}", who(span))));
        }
    }
    for event in events {
        if let Some(at) = since(began_at, &event.time) {
            facts.push((
                at,
                format!(
                    "cluster {}: {} {}",
                    event.subject, event.reason, event.message
                ),
            ));
        }
    }
    facts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let zero = report.marks.first().map_or(0.0, |mark| mark.at_ms);
    let omitted = facts.len().saturating_sub(LIMIT);
    let mut lines: Vec<String> = facts
        .iter()
        .take(LIMIT)
        .map(|(at, text)| format!("{:>+8.0} ms  {text}", at - zero))
        .collect();
    if omitted > 0 {
        lines.push(format!("... and {omitted} more"));
    }
    lines
}

fn who(span: &Span) -> String {
    match span.who.as_slice() {
        [] => "nobody answers".to_owned(),
        [one] => format!("{one} answers"),
        several => format!("TWO OWNERS: {}", several.join(" and ")),
    }
}

/// Milliseconds from `began_at` to an RFC 3339 time in UTC, by the time of day: a scenario lasts seconds.
fn since(began_at: SystemTime, time: &str) -> Option<f64> {
    let began = began_at
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?
        .as_secs_f64()
        * 1000.0;
    let at = time_of_day(time)?;
    let difference = at - began.rem_euclid(DAY_MS);
    // Over midnight.
    Some(if difference < -DAY_MS / 2.0 {
        difference + DAY_MS
    } else {
        difference
    })
}

fn time_of_day(time: &str) -> Option<f64> {
    let clock = time.split_once('T')?.1.trim_end_matches('Z');
    let mut parts = clock.split(':');
    let hours: f64 = parts.next()?.parse().ok()?;
    let minutes: f64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn event_times_are_placed_relative_to_the_segment_also_over_midnight() {
        let evening = SystemTime::UNIX_EPOCH + Duration::from_millis(86_400_000 - 500);
        assert_eq!(since(evening, "2026-11-21T23:59:59.750Z"), Some(250.0));
        assert_eq!(since(evening, "2026-11-22T00:00:00.500Z"), Some(1000.0));
        assert_eq!(since(evening, "yesterday"), None);
    }
}
