//! The agent's actions: from options to exit code and words.
//!
//! It puts settings, driver and plans together and words the result as the field expects. Reboot is
//! off, proven, then on; as the contract has it, the off part alone decides.

use std::time::Instant;

use haft_fence_protocol::Action;
use haft_fence_protocol::agent::edge::Told;
use haft_fence_protocol::agent::report::AWAIT_WORD;
use haft_fence_protocol::agent::{Input, Report, edge};

use crate::driver::{Driver, DriverError, tell};
use crate::power::{Power, SwitchEnd, SwitchPlan};
use crate::settings::{Settings, Start};
use crate::spec::AGENT;
use crate::wire::message::Restore;

/// Runs what the input asks for.
pub fn run(input: &Input) -> Report {
    edge::warned(input, decide(input))
}

fn decide(input: &Input) -> Report {
    let action = match edge::action(&AGENT, input) {
        Ok(action) => action,
        // Of this agent alone, and no action of the contract.
        Err(_) if input.text("action") == Some(AWAIT_WORD) => Action::Off,
        Err(answer) => return answer,
    };
    let settings = match Settings::read(input) {
        Ok(settings) => settings,
        Err(error) => return Report::failed(&error.to_string()),
    };
    act(action, &settings).unwrap_or_else(|error| failed(&error))
}

fn act(action: Action, settings: &Settings) -> Result<Report, DriverError> {
    match action {
        // Checked already, and metadata was answered before.
        Action::ValidateAll | Action::Metadata => Ok(Report::success("parameters are valid")),
        // One machine, which has no name: what the field's library prints.
        Action::List | Action::ListStatus => Ok(Report::text("N/A\n".to_owned())),
        Action::Status => with_driver(settings, |driver| {
            Ok(match driver.read_power()? {
                Power::On => Report::status_on(),
                Power::Off => Report::status_off(),
            })
        }),
        // Reachable is all that is asked. The library answers 0 for a machine that is off, too, and
        // Pacemaker would take anything else for a broken device.
        Action::Monitor => with_driver(settings, |driver| {
            driver.read_power()?;
            let mut report = Report::text(String::new());
            report.stderr = see_to_restore(driver, settings, Keep::Warns);
            Ok(report)
        }),
        Action::Off => with_driver(settings, |driver| {
            let (mut report, proven) = off(driver, settings)?;
            if proven == OffProven::Yes {
                report.stderr = see_to_restore(driver, settings, Keep::IsSilent);
            }
            Ok(report)
        }),
        Action::On => with_driver(settings, |driver| on(driver, settings)),
        Action::Reboot => with_driver(settings, |driver| reboot(driver, settings)),
    }
}

fn with_driver(
    settings: &Settings,
    act: impl FnOnce(&mut Driver<'_>) -> Result<Report, DriverError>,
) -> Result<Report, DriverError> {
    let mut driver = Driver::open(settings)?;
    driver.delay()?;
    let answer = act(&mut driver);
    driver.close();
    answer
}

/// Whether `power_restore=keep` is worth a word about a machine that starts by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Warns,
    IsSilent,
}

/// Sets the power restore policy when another one is wanted, and gives the line for stderr. It comes after
/// the verdict and never changes it.
fn see_to_restore(driver: &mut Driver<'_>, settings: &Settings, keep: Keep) -> String {
    match (settings.restore, driver.restore()) {
        (None, Some(Restore::AlwaysOn)) if keep == Keep::Warns => {
            "WARNING: power restore policy is always-on: a machine that was powered off to isolate it starts \
             again when mains power returns; set power_restore=previous or always-off"
                .to_owned()
        }
        (None, _) => String::new(),
        (Some(wanted), Some(now)) if wanted == now => String::new(),
        (Some(wanted), _) => match driver.set_restore(wanted) {
            Ok(()) => String::new(),
            Err(error) => format!(
                "WARNING: power restore policy was not set to {}: {error}",
                wanted.name()
            ),
        },
    }
}

/// Whether the machine was proven off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OffProven {
    Yes,
    No,
}

fn off(driver: &mut Driver<'_>, settings: &Settings) -> Result<(Report, OffProven), DriverError> {
    let mut plan = SwitchPlan::new(Power::Off, settings.off_pace);
    match settings.start {
        Start::Now => {}
        Start::WithWord => {
            edge::say_awaits_word();
            let found = driver.read_power()?;
            match edge::await_word() {
                Told::Go => {
                    driver.resume();
                    plan.begin_from(Instant::now(), found);
                }
                Told::Nothing => {
                    let report = Report::failed("nobody gave the word to power OFF");
                    return Ok((report, OffProven::No));
                }
            }
        }
    }
    Ok(match driver.carry_out(plan)? {
        SwitchEnd::Already => (Report::success("Already OFF"), OffProven::Yes),
        SwitchEnd::Switched => (Report::success("Powered OFF"), OffProven::Yes),
        SwitchEnd::StillOther => (
            Report::failed("Timed out waiting to power OFF"),
            OffProven::No,
        ),
    })
}

fn on(driver: &mut Driver<'_>, settings: &Settings) -> Result<Report, DriverError> {
    Ok(
        match driver.carry_out(SwitchPlan::new(Power::On, settings.on_pace))? {
            SwitchEnd::Already => Report::success("Already ON"),
            SwitchEnd::Switched => Report::success("Powered ON"),
            SwitchEnd::StillOther => Report::failed("Timed out waiting to power ON"),
        },
    )
}

fn reboot(driver: &mut Driver<'_>, settings: &Settings) -> Result<Report, DriverError> {
    let (report, proven) = off(driver, settings)?;
    if proven == OffProven::No {
        return Ok(report);
    }
    tell(settings.talk, "off is proven, powering on");
    let trouble = match on(driver, settings) {
        Ok(report) => report.stderr,
        Err(error) => failed(&error).stderr,
    };
    // The machine was fenced: that it does not come back is worth a line, not a failure.
    let mut report = Report::success("Rebooted");
    if !trouble.is_empty() {
        report.stderr =
            format!("WARNING: the machine is off but was not powered on again: {trouble}");
    }
    Ok(report)
}

/// The whole chain of an error in one line.
fn failed(error: &DriverError) -> Report {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    Report::failed(&text)
}
