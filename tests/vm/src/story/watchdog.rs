//! The watchdog alone, without haft: what Debian's kernel and the emulated i6300esb really do. What isolation by
//! watchdog rests on is shown here first.

use std::time::{Duration, Instant};

use anyhow::Context;
use haft_lab::bmc::Power;
use haft_lab::shell;

use crate::cluster::PATIENCE;
use crate::guest::Guest;
use crate::qmp::Event;
use crate::stage::Stage;
use crate::table::Outcome;

/// The watchdog's period, in whole seconds.
const PERIOD: u64 = 8;
/// What an emulated timer and our reading of the event may add.
const SLACK: Duration = Duration::from_secs(2);
/// How long the guest is paused: well beyond the period.
const PAUSE: Duration = Duration::from_secs(20);
/// How long it runs with an armed watchdog before it is paused.
const BEFORE: Duration = Duration::from_secs(2);

/// Opens the watchdog with a known period and never pets it.
fn arm(guest: &Guest) -> anyhow::Result<Instant> {
    guest.sh(&format!(
        "rmmod i6300esb && insmod /lib/modules/*-i6300esb.ko heartbeat={PERIOD}\n\
         (exec 3>/dev/watchdog; sleep 1000) >/dev/null 2>&1 </dev/null &"
    ))?;
    Ok(Instant::now())
}

fn wait_bite(guest: &Guest, since: Instant) -> anyhow::Result<Event> {
    shell::wait_for("the watchdog to bite", PATIENCE, || {
        Ok(guest.event("WATCHDOG", since))
    })
}

/// The plain guest, booted with an untouched watchdog.
fn boot(stage: &Stage) -> anyhow::Result<String> {
    let guest = &stage.rack.plain;
    guest.power_on()?;
    guest.wait_booted(PATIENCE)?;
    guest.boot_id()
}

/// A guest that opened its watchdog and pets it no more is reset.
pub(super) fn bites(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let first = boot(stage)?;
    let guest = &stage.rack.plain;
    let armed = arm(guest)?;
    let bite = wait_bite(guest, armed)?;
    let took = bite.at - armed;
    outcome.figure(format!(
        "period {PERIOD} s, reset {:.1} s after it was opened",
        took.as_secs_f64()
    ));
    outcome.demand(
        "the machine is reset",
        (bite.detail["action"] == "reset").into(),
        &bite.detail.to_string(),
    );
    outcome.demand(
        "within its period",
        (took <= Duration::from_secs(PERIOD) + SLACK).into(),
        &format!("{took:?}"),
    );
    let second = shell::wait_for("a new boot", PATIENCE, || {
        Ok(guest.boot_id().ok().filter(|id| *id != first))
    });
    outcome.demand(
        "it comes back as a new boot",
        second.is_ok().into(),
        "it did not",
    );
    Ok(())
}

/// A paused guest's watchdog pauses too: the overlap that `watchdog` isolation cannot exclude.
pub(super) fn pauses(stage: &mut Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    boot(stage)?;
    let guest = &stage.rack.plain;
    let armed = arm(guest)?;
    stage.let_pass(BEFORE);
    guest.pause()?;
    let ran = armed.elapsed();
    stage.let_pass(PAUSE);
    outcome.demand(
        "no reset while it is paused",
        guest.event("WATCHDOG", armed).is_none().into(),
        "it was reset",
    );
    guest.resume()?;
    let resumed = Instant::now();
    let bite = wait_bite(guest, armed)?;
    let ran_on = bite
        .at
        .checked_duration_since(resumed)
        .context("reset before it was resumed")?;
    outcome.figure(format!(
        "period {PERIOD} s: ran {:.1} s, was paused {} s, ran {:.1} s more before its reset",
        ran.as_secs_f64(),
        PAUSE.as_secs(),
        ran_on.as_secs_f64()
    ));
    outcome.demand(
        "the time it ran in all is within the period",
        (ran + ran_on <= Duration::from_secs(PERIOD) + SLACK).into(),
        &format!("{:?}", ran + ran_on),
    );
    guest.power_off()
}
