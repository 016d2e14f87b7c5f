//! The judge's process: reads its setup from the first line of stdin, then ticks and answers orders.
//!
//! It runs inside the client's network namespace; whoever starts it puts it there.

use std::io::{self, BufRead, Write};

use anyhow::Context;
use haft_judge::{probe::Probe, protocol::Setup, sys};

fn main() -> anyhow::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let setup: Setup =
        serde_json::from_str(&line).context("the first line is the setup as one JSON object")?;
    let mut probe = Probe::open(setup)?;
    sys::become_realtime();
    let mut stdout = io::stdout().lock();
    stdout.write_all(b"{\"answer\":\"done\",\"at_ms\":0.0}\n")?;
    stdout.flush()?;
    drop(stdout);
    probe.run()
}
