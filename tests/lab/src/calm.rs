//! `haft-lab calm`: a cluster that nothing is done to, on a machine whose processors are all busy.
//!
//! A short lease must not cost sessions where nobody is lost. Threads that only compute, as many as there are
//! processors, compete with every daemon for the given time; then each node must live under the incarnation that it
//! began with, and the address must still be held under the first token. Says besides what the events and the judge
//! saw; how fast anything is is not asked.

use std::time::{Duration, Instant};

use crate::busy::Busy;
use crate::cluster::{Cluster, LEASE, PATIENCE, PROGRAMS, Preset};
use crate::lab::{Lab, own_directory};
use crate::say::print;
use crate::shell;

/// The judge is asked this often, so that its end is noticed.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Lets the cluster run for `span`; the exit code is 0 only if no session and no address changed hands.
///
/// # Errors
/// The cluster cannot be formed, or no longer answers.
pub fn run(preset: Preset, span: Duration) -> anyhow::Result<u8> {
    let lab = Lab::open(&own_directory()?, &PROGRAMS)?;
    let cluster = Cluster::form_at(lab.site("h", 1, "n")?, preset, None)?;
    cluster.apply_vip(LEASE)?;
    let mut judge = cluster.site.judge(cluster.targets())?;
    cluster.wait_whole()?;
    let first = shell::wait_for("the address to be active", PATIENCE, || {
        Ok(Some(cluster.ctl.vip(LEASE)?).filter(|status| status.state == "Active"))
    })?;
    judge.wait_owner(LEASE, &first.owner, PATIENCE)?;
    let sessions = cluster.ctl.sessions()?;
    let known = cluster.ctl.events()?.last().map_or(0, |event| event.index);
    judge.begin()?;
    let busy = Busy::on_every_processor();
    let end = Instant::now() + span;
    while Instant::now() < end {
        judge.now()?;
        std::thread::sleep(ASK_EVERY);
    }
    drop(busy);
    let report = judge.report()?;
    cluster.wait_whole()?;
    let last = cluster.ctl.vip(LEASE)?;
    let now = cluster.ctl.sessions()?;
    let lost: Vec<&String> = sessions
        .iter()
        .filter(|(node, incarnation)| now.get(*node) != Some(*incarnation))
        .map(|(node, _)| node)
        .collect();
    for event in cluster.ctl.events()? {
        if event.index > known {
            print(&format!("event {}: {}", event.reason, event.message));
        }
    }
    let seen = &report.targets[LEASE];
    print(&format!(
        "{} at preset {}, every processor busy: {} of {} sessions lost, owner {} then {}, token {} then {}; {:.0} ms with two owners, longest silence {:.0} ms, judge's worst stall {:.1} ms",
        humane(span),
        preset.word(),
        lost.len(),
        sessions.len(),
        first.owner,
        last.owner,
        first.token,
        last.token,
        seen.two_owners_ms,
        seen.longest_gap_ms,
        report.worst_stall_ms,
    ));
    let calm = lost.is_empty() && first.token == last.token && seen.two_owners_ms <= 0.0;
    Ok(u8::from(!calm))
}

fn humane(span: Duration) -> String {
    format!("{} min {} s", span.as_secs() / 60, span.as_secs() % 60)
}
