//! What the lab prints: narration on stderr, results on stdout.

use std::io::Write;
use std::time::Duration;

/// One line of narration on stderr.
pub fn say(text: &str) {
    // Nobody reads: the work goes on.
    let _unread = writeln!(std::io::stderr().lock(), "{text}");
}

/// One line of results on stdout.
pub fn print(text: &str) {
    let _unread = writeln!(std::io::stdout().lock(), "{text}");
}

/// A duration in milliseconds with one digit, for tables.
#[must_use]
pub fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
