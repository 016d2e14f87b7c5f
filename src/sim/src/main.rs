//! haft-sim: sweeps seeds, replays one, and shows that planted bugs are caught.
//!
//! ```text
//! haft-sim run --seeds 5000 [--from N]
//! haft-sim replay --seed N [--trace | --messages] [--bug NAME]   (a bug: built with --features planted-bugs)
//! haft-sim planted [--bug NAME] [--seeds N] [--at-least N]   (built with --features planted-bugs)
//! ```
//! Exit 0 if every promise held (for `planted`: if every bug was caught), 1 if not, 2 for bad usage.

#[cfg(feature = "planted-bugs")]
use haft_engine::plant::Bug;
use haft_sim::run::run;
use haft_sim::sweep::{Sweep, replay_command, sweep};
use haft_sim::trace::Detail;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

/// The default seeds: the acceptance list's 5,000.
const SEEDS: u64 = 5_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = io::stdout().lock();
    let done = match arguments.first().map(String::as_str) {
        Some("run") => run_seeds(&mut out, &arguments),
        Some("replay") => replay(&mut out, &arguments),
        Some("planted") => planted(&mut out, &arguments),
        Some(_) | None => usage(&mut out),
    };
    done.unwrap_or(ExitCode::FAILURE)
}

fn usage(out: &mut impl Write) -> io::Result<ExitCode> {
    writeln!(
        out,
        "usage: haft-sim run [--seeds N] [--from N] | replay --seed N [--trace|--messages] | planted [--bug NAME] [--seeds N]"
    )?;
    Ok(ExitCode::from(2))
}

fn number(arguments: &[String], name: &str, default: u64) -> u64 {
    let at = arguments.iter().position(|argument| argument == name);
    at.and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(default)
}

fn run_seeds(out: &mut impl Write, arguments: &[String]) -> io::Result<ExitCode> {
    let from = number(arguments, "--from", 0);
    let seeds = number(arguments, "--seeds", SEEDS);
    let began = Instant::now();
    let sum = sweep(from..from + seeds);
    write_sweep(out, &sum, began.elapsed().as_secs_f64())?;
    let Some((seed, violation)) = &sum.failure else {
        // A sweep that met too little proves too little.
        let met = sum.idle_seeds.is_empty() && (sum.unmet().is_empty() || seeds < 300);
        return Ok(if met {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    };
    writeln!(
        out,
        "seed {seed} broke {}: {}",
        violation.invariant, violation.seen
    )?;
    writeln!(out, "replay: {}", replay_command(*seed))?;
    Ok(ExitCode::FAILURE)
}

fn write_sweep(out: &mut impl Write, sum: &Sweep, seconds: f64) -> io::Result<()> {
    writeln!(
        out,
        "{} seeds, {} simulated hours, {} million events, {seconds:.1} s",
        sum.seeds,
        sum.simulated / 3_600_000_000_000,
        sum.events / 1_000_000
    )?;
    let counts = sum.counts;
    writeln!(
        out,
        "{} entries, {} grants, {} sessions expired, {} reopened, {} fences confirmed, {} verdicts unproven, {} machines vouched for by a human, {} ordered on, {} drills, {} orders held for quorum, {} nodes quarantined, {} overlaps excused (clocks stood still)",
        counts.entries,
        counts.grants,
        counts.expired,
        counts.reopened,
        counts.confirmed,
        counts.unproven,
        counts.vouched,
        counts.ordered_on,
        counts.drills,
        counts.held,
        counts.quarantined,
        counts.exempted
    )?;
    for (fault, struck) in &sum.struck {
        let name = format!("{fault:?}");
        writeln!(
            out,
            "  {name:<26} {:>8}, {:>8} while something was granted",
            struck.times, struck.while_granted
        )?;
    }
    writeln!(
        out,
        "seeds without a fault while something was granted: {:?}; classes unmet: {:?}",
        sum.idle_seeds,
        sum.unmet()
    )
}

fn replay(out: &mut impl Write, arguments: &[String]) -> io::Result<ExitCode> {
    let seed = number(arguments, "--seed", 0);
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let detail = if has("--messages") {
        Detail::Messages
    } else if has("--trace") {
        Detail::Story
    } else {
        Detail::Off
    };
    #[cfg(feature = "planted-bugs")]
    if has("--bug") {
        haft_engine::plant::set(chosen(arguments).first().copied());
    }
    let began = Instant::now();
    let report = run(seed, detail);
    for line in &report.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(
        out,
        "seed {seed}: {:?}\n{} events, {} ms simulated, {} ms",
        report.shape,
        report.events,
        report.simulated / 1_000_000,
        began.elapsed().as_millis()
    )?;
    match report.violation {
        Some(violation) => {
            writeln!(out, "broke {}: {}", violation.invariant, violation.seen)?;
            Ok(ExitCode::FAILURE)
        }
        None => {
            writeln!(out, "clean")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(not(feature = "planted-bugs"))]
fn planted(out: &mut impl Write, _arguments: &[String]) -> io::Result<ExitCode> {
    writeln!(
        out,
        "this build has no planted bugs: cargo run -p haft-sim --features planted-bugs -- planted"
    )?;
    Ok(ExitCode::from(2))
}

/// The bug that `--bug` names, or all of them.
#[cfg(feature = "planted-bugs")]
fn chosen(arguments: &[String]) -> Vec<Bug> {
    let at = arguments.iter().position(|argument| argument == "--bug");
    let name = at.map(|at| arguments.get(at + 1).map_or("", String::as_str));
    match name {
        None => Bug::ALL.to_vec(),
        Some(name) => {
            let named = |bug: &Bug| format!("{bug:?}") == name;
            let all = Bug::ALL.into_iter().chain(Bug::BESIDE);
            all.filter(named).collect()
        }
    }
}

#[cfg(feature = "planted-bugs")]
fn planted(out: &mut impl Write, arguments: &[String]) -> io::Result<ExitCode> {
    use haft_sim::invariants::Violation;
    let seeds = number(arguments, "--seeds", SEEDS);
    let at_least = number(arguments, "--at-least", 25).min(seeds);
    let mut missed = 0;
    let bugs = chosen(arguments);
    if bugs.is_empty() {
        writeln!(out, "there is no such bug; there are {:?}", Bug::ALL)?;
        return Ok(ExitCode::from(2));
    }
    writeln!(
        out,
        "{:<25} {:<21} {:>5}   {:<21} {:>5} {:>6} {:>6}   broken in so many of the seeds tried",
        "bug", "first caught by", "seed", "safety invariant", "seed", "tried", "s"
    )?;
    for catch in haft_sim::planted::search(&bugs, &(at_least..seeds)) {
        let cell = |found: &Option<(u64, Violation)>| match found {
            Some((seed, violation)) => (violation.invariant, seed.to_string()),
            None => ("NOT CAUGHT", "-".to_owned()),
        };
        let stalls = Bug::STALLS.contains(&catch.bug);
        let bug = format!("{:?}", catch.bug);
        let (first, at) = cell(&catch.first);
        let (safety, safety_at) = match (&catch.unsafe_first, stalls) {
            (None, true) => ("(opens nothing)", "-".to_owned()),
            (found, _) => cell(found),
        };
        let broke: Vec<String> = catch
            .broke
            .iter()
            .map(|(name, seeds)| format!("{name} {seeds}"))
            .collect();
        missed += u32::from(catch.caught().is_none());
        writeln!(
            out,
            "{bug:<25} {first:<21} {at:>5}   {safety:<21} {safety_at:>5} {:>6} {:>6.1}   {}",
            catch.tried,
            catch.took.as_secs_f64(),
            broke.join(", ")
        )?;
    }
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
