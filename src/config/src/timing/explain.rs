//! The text of `haftctl explain timing`.
//!
//! Only words; the numbers come from [`super::derive`] and [`super::checks()`].

use super::{Failover, Interval, TimingRequest, checks, commit_allowance};
use haft_engine::clock::{RHO_PPM, Timing, lengthened};
use haft_engine::evidence::WATCHDOG_SLACK;
use haft_engine::gate::GateKind;
use haft_engine::timing::{LOST_BEATS, REPLY, ms};
use std::fmt::Write;
use std::time::Duration;

/// The knob, the intervals that follow from it, the sums that must hold, and what to expect.
pub fn explain(request: &TimingRequest) -> String {
    let timing = match request.timing() {
        Ok(timing) => timing,
        Err(error) => return format!("{error}\n"),
    };
    let mut out = String::new();
    origin(&mut out, request, &timing);
    intervals(&mut out, request, &timing);
    gates(&mut out, &timing);
    sums(&mut out, &timing);
    expectation(&mut out, &timing);
    out
}

/// Writing to a String cannot fail; the sections below rely on it.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String accepts every write");
    out.push('\n');
}

fn origin(out: &mut String, request: &TimingRequest, timing: &Timing) {
    match request.failover {
        Failover::Fast => line(out, format_args!("failover: fast (a measured preset)")),
        Failover::Normal => line(out, format_args!("failover: normal (a measured preset)")),
        Failover::Relaxed => line(out, format_args!("failover: relaxed (a measured preset)")),
        Failover::Budget(budget) => {
            let spare = commit_allowance(budget);
            line(
                out,
                format_args!(
                    "failover: {} ms (a budget, from the loss of an owner to the next one's announcement)",
                    ms(budget)
                ),
            );
            line(
                out,
                format_args!("  for commits     50 + {}/20 = {}", ms(budget), ms(spare)),
            );
            line(
                out,
                format_args!(
                    "  ttl             ({} - {}) / (1+rho) = {}, down to 10 ms; rho = {RHO_PPM} ppm",
                    ms(budget),
                    ms(spare),
                    ms(timing.ttl)
                ),
            );
            line(out, format_args!("  beat            ttl/6"));
            line(
                out,
                format_args!("  W               ttl/4, renewed every W/3"),
            );
            line(out, format_args!("  closing_after   ttl - beat"));
            line(
                out,
                format_args!(
                    "  gated_...       the same as ttl and closing_after: only `fast` has shorter ones"
                ),
            );
            line(
                out,
                format_args!(
                    "  raft_heartbeat  ttl/6 within 100..500; election 4 and 8 heartbeats"
                ),
            );
            line(
                out,
                format_args!("  address_life    ttl + 1000, up to whole seconds"),
            );
            line(
                out,
                format_args!("  stop            ttl/6 within 500..5000"),
            );
            line(
                out,
                format_args!(
                    "  watchdog        whole seconds, at most 10, that fit the sum below; 0 if none do"
                ),
            );
        }
    }
}

fn intervals(out: &mut String, request: &TimingRequest, timing: &Timing) {
    line(out, format_args!("\nIntervals (ms):"));
    for interval in Interval::ALL {
        let mark = if request.overrides.contains_key(&interval) {
            "*"
        } else {
            " "
        };
        line(
            out,
            format_args!(
                "{mark} {:<24}{:>8}  {}",
                interval.key(),
                ms(interval.of(timing)),
                interval.meaning()
            ),
        );
    }
    if !request.overrides.is_empty() {
        line(
            out,
            format_args!(
                "* set in the configuration; the others are derived from `failover` alone"
            ),
        );
    }
}

/// Which of the intervals a node counts by.
fn gates(out: &mut String, timing: &Timing) {
    line(
        out,
        format_args!(
            "\nWhat ends a lease on a node is its gate (GATE and TTL-MS in haftctl get nodes -o wide; haftctl why node/NAME):"
        ),
    );
    for gate in [GateKind::Kernel, GateKind::Timed] {
        let row = timing.behind(gate);
        line(out, format_args!("  {:<8}{}", gate.word(), gate.meaning()));
        line(
            out,
            format_args!(
                "          its session: ttl {}, closing_after {}",
                ms(row.ttl),
                ms(row.closing_after)
            ),
        );
    }
    line(
        out,
        format_args!(
            "  the agent finds out which gate its machine can have, states it with each incarnation, and nothing in a file chooses it"
        ),
    );
}

fn sums(out: &mut String, timing: &Timing) {
    line(
        out,
        format_args!(
            "\nWhat must hold (ms; reply = {}, lost beats survived = {LOST_BEATS}):",
            ms(REPLY)
        ),
    );
    let bounds: Vec<&str> = Interval::ALL
        .iter()
        .map(|interval| interval.key())
        .chain(["rho_ppm"])
        .collect();
    for check in checks(timing) {
        let mark = if check.holds { "ok " } else { "NO " };
        if check.holds && bounds.contains(&check.rule) {
            continue;
        }
        line(out, format_args!("{mark} {:<44} {}", check.rule, check.sum));
        line(out, format_args!("      {}", check.protects));
    }
}

/// When a `lease` address passes on, by what its guard is attested.
fn evidence(out: &mut String, lifetime: Duration) {
    line(
        out,
        format_args!(
            "  a `lease` address passes on then, plus two commits, where its guard is `intact` (the kernel's gate on pinned \
             links, Linux 6.6)"
        ),
    );
    line(
        out,
        format_args!(
            "  where it is `watched` (an older kernel, or timed elements) {} ms more are waited out: haftctl why vip/NAME",
            ms(lifetime)
        ),
    );
}

fn expectation(out: &mut String, timing: &Timing) {
    let expired = lengthened(timing.ttl);
    let silent = timing.ttl;
    let lifetime = timing.address_life * 2 + Duration::from_secs(1);
    line(out, format_args!("\nWhat to expect:"));
    line(
        out,
        format_args!(
            "  a lost owner has fallen silent by itself at most {} ms after its last acknowledged beat",
            ms(silent)
        ),
    );
    line(
        out,
        format_args!(
            "  its session ends from {} ms after it (ttl*(1+rho)), when a majority has stated that age",
            ms(expired)
        ),
    );
    let row = timing.behind(GateKind::Kernel);
    if row != *timing {
        line(
            out,
            format_args!(
                "  where the node's gate is the kernel's (GATE in haftctl get nodes -o wide), from {} ms after it",
                ms(lengthened(row.ttl))
            ),
        );
    }
    evidence(out, lengthened(lifetime));
    line(
        out,
        format_args!("  a `stonith` address waits for its fence device as well"),
    );
    if timing.watchdog.is_zero() {
        line(
            out,
            format_args!(
                "  isolation `watchdog` is refused: the ttl leaves no room for one second of watchdog"
            ),
        );
    } else {
        let wait = WATCHDOG_SLACK + timing.watchdog / 10;
        line(
            out,
            format_args!(
                "  under isolation `watchdog` the reset of the lost owner is waited for: {} ms more",
                ms(lengthened(wait))
            ),
        );
    }
    line(
        out,
        format_args!(
            "  a lost leader is replaced after {} to {} ms (election_max + election_min..election_max); no session depends on it",
            ms(timing.election_max + timing.election_min),
            ms(timing.election_max * 2)
        ),
    );
}
