//! Owners that come back: paused and resumed, or with a restarted agent. What a machine does whose clocks stood still is
//! measured here, not promised away: under `stonith` nothing may overlap, under `lease` the overlap is bounded.

use std::time::Duration;

use haft_lab::shell;
use haft_lab::sys::Link;

use crate::cluster::PATIENCE;
use crate::stage::Stage;
use crate::table::Outcome;

/// The preset's session ttl, the bound that the documentation states for a `lease` address after a resume.
const TTL: Duration = Duration::from_secs(6);

/// Longer than a session lives, and than a watchdog would wait if it ran.
const LONG: Duration = Duration::from_secs(20);

/// Short enough that no session ends: two beats lost.
const SHORT: Duration = Duration::from_secs(2);

/// Around the moment at which the session ends and the fencing begins: 5.6 to 6 s after the last beat, measured.
const RACES: [Duration; 2] = [Duration::from_millis(5400), Duration::from_millis(5700)];

/// What is seen of a state after it has settled.
const AFTERMATH: Duration = Duration::from_secs(8);

/// A pause shorter than the session: nothing may happen.
pub(super) fn short_pause(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n1", "n1")?;
    let owner = stage.rack.guest("n1")?.clone();
    let before = stage.cluster.ctl.vip("db")?.token;
    owner.pause()?;
    stage.mark("n1, which owns both, is paused")?;
    stage.let_pass(SHORT);
    owner.resume()?;
    stage.mark("n1 goes on")?;
    stage.let_pass(AFTERMATH);
    let after = stage.cluster.wait_active("db")?.token;
    outcome.demand(
        "db kept its owner and token",
        (before == after).into(),
        &format!("{before}, then {after}"),
    );
    finish(stage, outcome)
}

/// Paused, declared lost, resumed before anybody could fence it: every BMC is out of reach.
pub(super) fn resumed(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n1", "n1")?;
    let owner = stage.rack.guest("n1")?.clone();
    let before = stage.cluster.ctl.vip("db")?.token;
    stage.rack.set_management(Link::Down)?;
    stage.mark("no BMC can be reached")?;
    owner.pause()?;
    stage.mark("n1, which owns both, is paused")?;
    let web = stage.cluster.wait_taken_over("web", "n1")?;
    stage.mark(&format!("web is active on {}", web.owner))?;
    stage.let_pass(LONG);
    let stamps = stage.stamps("db")?;
    let alone = stamps.stretches.iter().all(|stretch| stretch.node == "n1");
    let (seen, _) = stage.seen("db")?;
    let quiet = seen
        .timeline
        .iter()
        .all(|span| span.who.iter().all(|who| who == "n1"));
    outcome.demand(
        "db was granted to nobody while its owner could not be observed off",
        (alone && quiet).into(),
        "another node wrote or answered",
    );
    if let Some(line) = stage.cluster.ctl.why("vip/db")?.first() {
        outcome.figure(format!("why vip/db then said: {line}"));
    }
    owner.resume()?;
    let resumed = stage.mark("n1 goes on where it was")?;
    let db = shell::wait_for("db to be granted anew", PATIENCE, || {
        let db = stage.cluster.ctl.vip("db")?;
        Ok((db.state == "Active" && db.token != before).then_some(db))
    })?;
    let took = resumed.elapsed();
    stage.mark(&format!("db is active on {}: {}", db.owner, db.proof))?;
    stage.wait_stamps("db", &db.owner)?;
    outcome.demand(
        "the grant rests on the returned owner's own word",
        (db.proof == "Released" || db.proof == "ProbedClean").into(),
        &format!("{}: {}", db.proof, db.proof_detail),
    );
    let stamps = stage.stamps("db")?;
    let old = stamps.stretches.first().map(|stretch| stretch.last);
    let ran_on = old.map_or(0.0, |last| {
        last.saturating_duration_since(resumed).as_secs_f64()
    });
    outcome.figure(format!(
        "after the resume the old owner wrote for {ran_on:.1} s more; db active again after {:.1} s",
        took.as_secs_f64()
    ));
    stage.rack.set_management(Link::Up)?;
    stage.mark("the BMCs can be reached again")?;
    stage.let_pass(AFTERMATH);
    stage.demand_one_owner(outcome, "db")?;
    stage.demand_not_reset(outcome, &[]);
    Ok(())
}

/// Paused for about as long as a session lives, and resumed while its fencing may be under way, done, or not needed.
/// Whatever comes first: one owner of `db`.
pub(super) fn race(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    for pause in RACES {
        stage.begin("n1", "n1")?;
        let owner = stage.rack.guest("n1")?.clone();
        owner.pause()?;
        let paused = stage.mark("n1, which owns both, is paused")?;
        stage.let_pass(pause);
        // It may be off by now: then there is nothing to resume.
        let resumed = owner.resume().is_ok();
        stage.mark("n1 goes on, if it still can")?;
        stage.let_pass(AFTERMATH);
        let db = stage.wait_served("db")?;
        let cut = owner.last_cut().filter(|cut| *cut > paused);
        let ended = match (resumed, cut) {
            (_, None) => "not fenced".to_owned(),
            (true, Some(cut)) => format!(
                "fenced {:.1} s after its pause, after its resume",
                (cut - paused).as_secs_f64()
            ),
            (false, Some(cut)) => format!(
                "fenced {:.1} s after its pause, before its resume",
                (cut - paused).as_secs_f64()
            ),
        };
        outcome.figure(format!(
            "paused {:.1} s: {ended}; db on {}",
            pause.as_secs_f64(),
            db.owner
        ));
        stage.demand_one_owner(outcome, "db")?;
        stage.demand_not_reset(outcome, &["n1"]);
    }
    Ok(())
}

/// The honest limit of `lease`: a machine whose clocks stood still believes in its lease for a while. Measured, and the
/// proof that the judges see two owners when there are two.
pub(super) fn lease_overlap(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n1", "n2")?;
    let owner = stage.rack.guest("n1")?.clone();
    stage.rack.pause_unheard(&owner)?;
    stage.mark("n1, which owns web alone, is paused")?;
    let web = stage.cluster.wait_taken_over("web", "n1")?;
    stage.wait_stamps("web", &web.owner)?;
    stage.mark(&format!("web is active on {}", web.owner))?;
    stage.rack.resume_heard(&owner)?;
    let resumed = stage.mark("n1 goes on where it was")?;
    stage.cluster.ctl.wait_online("n1", PATIENCE)?;
    stage.let_pass(AFTERMATH);
    let (seen, report) = stage.seen("web")?;
    let stamps = stage.stamps("web")?;
    let last = stamps.stale.iter().map(|one| one.at).max();
    let wrote = last.map_or(0.0, |last| {
        last.saturating_duration_since(resumed).as_secs_f64()
    });
    outcome.figure(format!(
        "after the resume two answered for web for {:.2} s, and the old owner wrote for {wrote:.2} s ({} stale stamps)",
        seen.two_owners_ms / 1000.0,
        stamps.stale.len()
    ));
    outcome.demand(
        "the judges saw two owners, as there were",
        (!stamps.stale.is_empty() && !stamps.clean()).into(),
        "no stale stamp was seen",
    );
    outcome.demand(
        "the overlap on the wire is at most one ttl",
        (seen.two_owners_ms <= ms(TTL)).into(),
        &format!("{:.0} ms", seen.two_owners_ms),
    );
    let end = report.duration_ms - 1000.0;
    let lately = seen.timeline.iter().filter(|span| span.to_ms >= end);
    let one = lately
        .flat_map(|span| &span.who)
        .all(|who| *who == web.owner);
    outcome.demand(
        "then one owner again",
        one.into(),
        "others answered in the last second",
    );
    stage.demand_one_owner(outcome, "db")?;
    stage.demand_not_reset(outcome, &[]);
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// haft-agent is killed and its init starts it again a second later, on the same boot.
pub(super) fn agent_restarted(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.begin("n2", "n2")?;
    let owner = stage.rack.guest("n2")?.clone();
    let before = stage.cluster.ctl.sessions()?.get("n2").copied();
    owner.sh("kill -9 $(pidof haft-agent)")?;
    let killed = stage.mark("n2, which owns both: haft-agent killed; its init starts it again")?;
    shell::wait_for("n2's agent to hold a session again", PATIENCE, || {
        let running = owner.sh("pidof haft-agent").is_ok();
        let now = stage.cluster.ctl.sessions()?.get("n2").copied();
        Ok((running && now.is_some() && now != before).then_some(()))
    })?;
    let back = killed.elapsed();
    let db = stage.wait_served("db")?;
    let web = stage.wait_served("web")?;
    outcome.figure(format!(
        "a new session after {:.1} s; db then on {} ({}), web on {} ({})",
        back.as_secs_f64(),
        db.owner,
        db.proof,
        web.owner,
        web.proof
    ));
    finish(stage, outcome)
}

fn finish(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    stage.demand_one_owner(outcome, "web")?;
    stage.demand_one_owner(outcome, "db")?;
    stage.demand_not_reset(outcome, &[]);
    Ok(())
}
