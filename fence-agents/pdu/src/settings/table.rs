//! Which kind of PDU: a row of the table by name, the user's own description, or ask the PDU.
//!
//! A description is complete or refused; nothing about a PDU is guessed from half of one.

use haft_fence_protocol::agent::{Input, InputError};

use super::{PduChoice, SettingsError, bad};
use crate::oid::Pattern;
use crate::outlets::{Command, Description, ROWS, Row};

const STATUS: &str = "outlet_status_oid";
const CONTROL: &str = "outlet_control_oid";
const OFF: &str = "outlet_off_oid";
const ON: &str = "outlet_on_oid";
const NAMES: &str = "outlet_name_oid";
const SAYS_ON: &str = "outlet_status_on";
const SAYS_OFF: &str = "outlet_status_off";
const COMMAND_ON: &str = "outlet_command_on";
const COMMAND_OFF: &str = "outlet_command_off";

pub(super) fn choice(input: &Input) -> Result<PduChoice, SettingsError> {
    let described = [
        STATUS,
        CONTROL,
        OFF,
        ON,
        NAMES,
        SAYS_ON,
        SAYS_OFF,
        COMMAND_ON,
        COMMAND_OFF,
    ]
    .into_iter()
    .any(|option| input.text(option).is_some());
    match (input.text("pdu"), described) {
        (None | Some("auto"), false) => Ok(PduChoice::Ask),
        (Some(name), false) => match Row::by_name(name) {
            Some(row) => Ok(PduChoice::Known(Box::new(row.description()))),
            None => {
                let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
                Err(bad("pdu", &format!("auto or one of {}", names.join(", "))).into())
            }
        },
        (None | Some("auto"), true) => Ok(PduChoice::Known(Box::new(description(input)?))),
        (Some(_), true) => Err(SettingsError::TwoKinds),
    }
}

fn description(input: &Input) -> Result<Description, SettingsError> {
    let status = pattern(input, STATUS)?.ok_or(SettingsError::Incomplete { option: STATUS })?;
    let control = pattern(input, CONTROL)?;
    let object = |option| {
        pattern(input, option)?
            .or_else(|| control.clone())
            .ok_or(SettingsError::Incomplete { option: CONTROL })
    };
    let description = Description {
        name: "as described by the options".to_owned(),
        off: Command {
            object: object(OFF)?,
            value: number(input, COMMAND_OFF)?,
        },
        on: Command {
            object: object(ON)?,
            value: number(input, COMMAND_ON)?,
        },
        names: pattern(input, NAMES)?,
        says_on: number(input, SAYS_ON)?,
        says_off: number(input, SAYS_OFF)?,
        default_unit: 1,
        status,
    };
    if description.says_on == description.says_off {
        return Err(SettingsError::SameForBoth { option: SAYS_OFF });
    }
    if description.on == description.off {
        return Err(SettingsError::SameForBoth {
            option: COMMAND_OFF,
        });
    }
    Ok(description)
}

fn pattern(input: &Input, option: &'static str) -> Result<Option<Pattern>, SettingsError> {
    input
        .text(option)
        .map(Pattern::parse)
        .transpose()
        .map_err(|source| SettingsError::Oid { option, source })
}

fn number(input: &Input, option: &'static str) -> Result<i64, SettingsError> {
    let text = input
        .text(option)
        .ok_or(SettingsError::Incomplete { option })?;
    // An INTEGER of SNMP has 32 bits (RFC 2578, section 7.1.1).
    let number: Option<i32> = text.parse().ok();
    number.map(i64::from).ok_or_else(|| {
        let error: InputError = bad(option, "a whole number of 32 bits");
        error.into()
    })
}
