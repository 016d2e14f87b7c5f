//! The agent's actions: from options to exit code and words.
//!
//! It puts settings, driver and plans together and words the result as the field expects. Reboot is
//! off, proven, then on; as the contract has it, the off part alone decides.

use haft_fence_protocol::Action;
use haft_fence_protocol::agent::{Input, Report, edge};

use crate::driver::{Driver, DriverError, ListStates, Listed, tell};
use crate::power::{Goal, Reading, SwitchEnd, SwitchPlan, node_state};
use crate::settings::{Settings, SettingsError};
use crate::spec::AGENT;

/// Runs what the input asks for.
pub fn run(input: &Input) -> Report {
    edge::warned(input, decide(input))
}

fn decide(input: &Input) -> Report {
    let action = match edge::action(&AGENT, input) {
        Ok(action) => action,
        Err(answer) => return answer,
    };
    match prepare(action, input) {
        Ok(settings) => act(action, &settings).unwrap_or_else(|error| failed(&error)),
        Err(error) => Report::failed(&error.to_string()),
    }
}

fn prepare(action: Action, input: &Input) -> Result<Settings, SettingsError> {
    let settings = Settings::read(input)?;
    match action {
        Action::On | Action::Off | Action::Reboot | Action::Status => settings.need_plug()?,
        Action::Monitor
        | Action::List
        | Action::ListStatus
        | Action::Metadata
        | Action::ValidateAll => {}
    }
    Ok(settings)
}

fn act(action: Action, settings: &Settings) -> Result<Report, DriverError> {
    match action {
        // Checked already, and metadata was answered before.
        Action::ValidateAll | Action::Metadata => Ok(Report::success("parameters are valid")),
        Action::List => with_driver(settings, |driver| {
            Ok(list(&driver.list(ListStates::Without)?, settings))
        }),
        Action::ListStatus => with_driver(settings, |driver| {
            Ok(list(&driver.list(ListStates::With)?, settings))
        }),
        Action::Status => with_driver(settings, status),
        // Reachable is all that is asked; where outlets are named, they must be there.
        Action::Monitor => with_driver(settings, |driver| {
            if settings.plugs.is_empty() {
                driver.list(ListStates::Without)?;
            } else {
                driver.meet()?;
                driver.read_power()?;
            }
            Ok(Report::text(String::new()))
        }),
        Action::Off => with_driver(settings, |driver| {
            driver.meet()?;
            Ok(off(driver, settings)?.0)
        }),
        Action::On => with_driver(settings, |driver| {
            driver.meet()?;
            on(driver, settings)
        }),
        Action::Reboot => with_driver(settings, |driver| {
            driver.meet()?;
            reboot(driver, settings)
        }),
    }
}

fn with_driver(
    settings: &Settings,
    act: impl FnOnce(&mut Driver<'_>) -> Result<Report, DriverError>,
) -> Result<Report, DriverError> {
    let mut driver = Driver::open(settings)?;
    driver.delay()?;
    act(&mut driver)
}

fn status(driver: &mut Driver<'_>) -> Result<Report, DriverError> {
    driver.meet()?;
    let round = driver.read_power()?;
    let readings = round.readings();
    match node_state(&readings) {
        Reading::Off => Ok(Report::status_off()),
        Reading::On => {
            let mut report = Report::status_on();
            if readings.iter().any(|reading| *reading != Reading::On) {
                report.stderr = format!(
                    "WARNING: the outlets differ, so the machine counts as on: {}",
                    round.words()
                );
            }
            Ok(report)
        }
        Reading::Unclear => Ok(Report::failed(&format!(
            "the power state is unknown: {}",
            round.words()
        ))),
    }
}

/// `number,name` or `number,name,STATUS` per line, as the field's library prints them.
fn list(outlets: &[Listed], settings: &Settings) -> Report {
    let separator = &settings.separator;
    let mut text = String::new();
    for outlet in outlets {
        // A name must not be able to make up further columns or lines.
        let name: String = outlet
            .name
            .replace(separator.as_str(), " ")
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        text.push_str(&format!("{}{separator}{name}", outlet.label));
        let status = outlet.reading.map(|reading| match reading {
            Reading::On => "ON",
            Reading::Off => "OFF",
            Reading::Unclear => "UNKNOWN",
        });
        if let Some(status) = status {
            text.push_str(separator);
            text.push_str(status);
        }
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str("N/A\n");
    }
    Report::text(text)
}

/// Whether the machine was proven off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OffProven {
    Yes,
    No,
}

fn off(driver: &mut Driver<'_>, settings: &Settings) -> Result<(Report, OffProven), DriverError> {
    Ok(
        match driver.carry_out(SwitchPlan::new(Goal::Off, settings.off_pace))? {
            SwitchEnd::Already => (Report::success("Already OFF"), OffProven::Yes),
            SwitchEnd::Switched => (Report::success("Powered OFF"), OffProven::Yes),
            SwitchEnd::StillOther => (
                Report::failed(&format!(
                    "Timed out waiting to power OFF: {}",
                    driver.last_words()
                )),
                OffProven::No,
            ),
        },
    )
}

fn on(driver: &mut Driver<'_>, settings: &Settings) -> Result<Report, DriverError> {
    Ok(
        match driver.carry_out(SwitchPlan::new(Goal::On, settings.on_pace))? {
            SwitchEnd::Already => Report::success("Already ON"),
            SwitchEnd::Switched => Report::success("Powered ON"),
            SwitchEnd::StillOther => Report::failed(&format!(
                "Timed out waiting to power ON: {}",
                driver.last_words()
            )),
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
