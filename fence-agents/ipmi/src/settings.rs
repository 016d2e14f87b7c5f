//! The agent's options, checked, as types that the driver can rely on.
//!
//! What would be unsafe to ignore is refused by name. The password may come from stdin, a file or a
//! program; the last two are read here and nowhere else. No device is touched.

use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

use haft_fence_protocol::Secret;
use haft_fence_protocol::agent::password::{self, PasswordError, Sources};
use haft_fence_protocol::agent::report::{AWAIT_WORD, FIRST_OFF_READ_OPTION};
use haft_fence_protocol::agent::{Input, InputError, Talk, talk};

use crate::cipher::Suite;
use crate::power::PowerPace;
use crate::session::Pace;
use crate::wire::message::Restore;
use crate::wire::setup::{Privilege, USER_MAX};

/// Longest password of RMCP+, in bytes (section 22.30).
const PASSWORD_MAX: usize = 20;

/// Everything that the driver needs to know.
pub struct Settings {
    /// Address or hostname.
    pub host: String,
    /// UDP port.
    pub port: u16,
    /// User name, at most 16 bytes.
    pub user: String,
    /// Password, at most 20 bytes.
    pub password: Secret,
    /// Kg.
    pub bmc_key: Option<Zeroizing<Vec<u8>>>,
    /// Cipher suite.
    pub suite: Suite,
    /// Privilege asked for.
    pub privilege: Privilege,
    /// The whole action.
    pub timeout: Duration,
    /// Establishing one session, with all its attempts.
    pub login_timeout: Duration,
    /// One command.
    pub command_timeout: Duration,
    /// Before anything is sent.
    pub delay: Duration,
    /// Packets.
    pub pace: Pace,
    /// Reads and commands towards off.
    pub off_pace: PowerPace,
    /// Reads and commands towards on.
    pub on_pace: PowerPace,
    /// What is said of the first of the two reads that prove off.
    pub first_off_read: FirstOffRead,
    /// When an off begins.
    pub start: Start,
    /// The power restore policy to see to; `None` leaves it alone.
    pub restore: Option<Restore>,
    /// Whether steps are told.
    pub talk: Talk,
}

/// What is said of the first of the two reads that prove off, when it has said off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstOffRead {
    /// Nothing: stdout has what the field's agents say, and no more.
    Silent,
    /// A line of its own, at once.
    Said,
}

/// When an off begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At once.
    Now,
    /// When the word has come; what changes nothing is done before.
    WithWord,
}

/// Why the options cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// An option of the wrong kind.
    #[error(transparent)]
    Input(#[from] InputError),
    /// No address.
    #[error("no address of the BMC given; set ip (or plug together with port_as_ip)")]
    NoHost,
    /// A name longer than IPMI takes.
    #[error("username is longer than the {USER_MAX} bytes that IPMI takes")]
    LongUser,
    /// A password longer than IPMI takes.
    #[error("password is longer than the {PASSWORD_MAX} bytes that IPMI takes")]
    LongPassword,
    /// No password to be had from where it was to come from.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// `method=cycle`.
    #[error("method must be onoff: cycle reports success before the machine is off")]
    Cycle,
    /// `target`.
    #[error(
        "target is not supported: a request meant for another controller would power off this one"
    )]
    Target,
}

impl Settings {
    /// Checks the options.
    ///
    /// # Errors
    /// See [`SettingsError`]; no message holds a secret.
    pub fn read(input: &Input) -> Result<Self, SettingsError> {
        refuse_unsafe(input)?;
        let user = input.text("username").unwrap_or("").to_owned();
        if user.len() > USER_MAX {
            return Err(SettingsError::LongUser);
        }
        let password = read_password(input)?;
        if password.expose().len() > PASSWORD_MAX {
            return Err(SettingsError::LongPassword);
        }
        let repeat_after =
            Duration::from_millis(input.integer("retry_interval_ms", 10..=60_000, 500)?);
        let off_pace = PowerPace {
            read_spacing: Duration::from_millis(input.integer(
                "off_read_interval_ms",
                0..=60_000,
                10,
            )?),
            wait: input.seconds("power_wait", Duration::ZERO)?,
            change_timeout: input.seconds("power_timeout", Duration::from_secs(20))?,
            commands_max: 1,
        };
        let attempts = input.integer("retry_on", 1..=100, 1)?;
        let port = input.integer("ipport", 1..=65_535, 623)?;
        Ok(Self {
            host: host(input)?,
            port: u16::try_from(port).expect("checked to be at most 65535"),
            user,
            password,
            bmc_key: bmc_key(input)?,
            suite: suite(input)?,
            privilege: privilege(input)?,
            timeout: input.seconds("timeout", Duration::from_secs(60))?,
            login_timeout: input.seconds("login_timeout", Duration::from_secs(5))?,
            command_timeout: input.seconds("shell_timeout", Duration::from_secs(3))?,
            delay: input.seconds("delay", Duration::ZERO)?,
            pace: Pace {
                repeat_after,
                sends_max: 4,
            },
            off_pace,
            on_pace: PowerPace {
                commands_max: u32::try_from(attempts).expect("checked to be at most 100"),
                ..off_pace
            },
            first_off_read: match input.flag(FIRST_OFF_READ_OPTION)? {
                true => FirstOffRead::Said,
                false => FirstOffRead::Silent,
            },
            start: match input.text("action") {
                Some(AWAIT_WORD) => Start::WithWord,
                Some(_) | None => Start::Now,
            },
            restore: restore(input)?,
            talk: talk(input)?,
        })
    }
}

fn refuse_unsafe(input: &Input) -> Result<(), SettingsError> {
    // Old configurations say so because ipmitool needed telling; either answer is fine.
    input.flag("lanplus")?;
    if input.text("target").is_some() {
        return Err(SettingsError::Target);
    }
    match input.text("method") {
        None | Some("onoff") => Ok(()),
        Some(_) => Err(SettingsError::Cycle),
    }
}

fn host(input: &Input) -> Result<String, SettingsError> {
    let name = if input.flag("port_as_ip")? {
        "plug"
    } else {
        "ip"
    };
    input
        .text(name)
        .or(input.text("ip"))
        .map(str::to_owned)
        .ok_or(SettingsError::NoHost)
}

fn suite(input: &Input) -> Result<Suite, InputError> {
    match input.text("cipher") {
        None | Some("3") => Ok(Suite::Three),
        Some("17") => Ok(Suite::Seventeen),
        Some(_) => Err(bad("cipher", "3 or 17")),
    }
}

fn privilege(input: &Input) -> Result<Privilege, InputError> {
    let Some(name) = input.text("privlvl") else {
        return Ok(Privilege::Administrator);
    };
    [
        Privilege::Callback,
        Privilege::User,
        Privilege::Operator,
        Privilege::Administrator,
    ]
    .into_iter()
    .find(|privilege| privilege.name().eq_ignore_ascii_case(name))
    .ok_or_else(|| bad("privlvl", "callback, user, operator or administrator"))
}

fn restore(input: &Input) -> Result<Option<Restore>, InputError> {
    match input.text("power_restore") {
        None | Some("keep") => Ok(None),
        Some(name) => Restore::ALL
            .into_iter()
            .find(|restore| restore.name() == name)
            .map(Some)
            .ok_or_else(|| bad("power_restore", "keep, always-off, previous or always-on")),
    }
}

fn bmc_key(input: &Input) -> Result<Option<Zeroizing<Vec<u8>>>, InputError> {
    let Some(text) = input.text("hexadecimal_kg") else {
        return Ok(None);
    };
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let key: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect();
    match key {
        Some(key) if key.len() <= PASSWORD_MAX => Ok(Some(Zeroizing::new(key))),
        Some(_) | None => Err(bad("hexadecimal_kg", "up to 40 hexadecimal digits")),
    }
}

fn bad(name: &'static str, expected: &str) -> InputError {
    InputError::BadValue {
        name,
        expected: expected.to_owned(),
    }
}

fn read_password(input: &Input) -> Result<Secret, SettingsError> {
    let sources = Sources {
        plain: "password",
        file: "password_file",
        script: "password_script",
    };
    Ok(password::read(input, sources)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
