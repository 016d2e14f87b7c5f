//! Tells what happens while it happens: one line per fact with the time since the start, and on a terminal a live line
//! that shows who answers at this moment.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::promise::Outcome;
use crate::judge::Now;

/// How often the live line is redrawn.
const REDRAW: Duration = Duration::from_millis(100);

/// The demo's voice, on stderr.
#[derive(Debug)]
pub struct Narrator {
    begin: Instant,
    terminal: bool,
    drawn: Cell<Option<Instant>>,
}

impl Narrator {
    /// A voice that counts from `begin`.
    #[must_use]
    pub fn starting(begin: Instant) -> Self {
        Self {
            begin,
            terminal: std::io::stderr().is_terminal(),
            drawn: Cell::new(None),
        }
    }

    fn line(&self, text: &str) {
        let mut out = std::io::stderr().lock();
        let clear = if self.drawn.take().is_some() {
            "\r\x1b[K"
        } else {
            ""
        };
        // Nobody reads: the demo goes on, its exit code counts.
        let _unread = writeln!(out, "{clear}{text}");
    }

    /// A new part of the demo.
    pub fn chapter(&self, title: &str) {
        self.line(&format!("\n== {title}"));
    }

    /// One fact.
    pub fn tell(&self, text: &str) {
        self.line(&format!(
            "{:>6.1} s  {text}",
            self.begin.elapsed().as_secs_f64()
        ));
    }

    /// What is waited for, and who answers meanwhile; only on a terminal.
    pub fn live(&self, waiting_for: &str, since: Instant, now: &Now) {
        if !self.terminal || self.drawn.get().is_some_and(|at| at.elapsed() < REDRAW) {
            return;
        }
        let who = |set: &Vec<String>| {
            if set.is_empty() {
                "nobody".to_owned()
            } else {
                set.join("+")
            }
        };
        let owners: Vec<String> = now
            .owners
            .iter()
            .map(|(name, set)| format!("{name}: {}", who(set)))
            .collect();
        let mut out = std::io::stderr().lock();
        let text = format!(
            "{waiting_for} ... {:.1} s   [{}]",
            since.elapsed().as_secs_f64(),
            owners.join(", ")
        );
        let _unread = write!(
            out,
            "\r\x1b[K{:>6.1} s  {text}",
            self.begin.elapsed().as_secs_f64()
        );
        let _unread = out.flush();
        self.drawn.set(Some(Instant::now()));
    }

    /// The promises of a scenario, and its timeline.
    pub fn outcome(&self, outcome: &Outcome) {
        for line in &outcome.timeline {
            self.line(&format!("            {line}"));
        }
        for promise in &outcome.promises {
            let verdict = if promise.held { "held  " } else { "BROKEN" };
            let detail = if promise.detail.is_empty() {
                String::new()
            } else {
                format!(" ({})", promise.detail)
            };
            self.line(&format!("   {verdict}  {}{detail}", promise.text));
        }
    }
}
