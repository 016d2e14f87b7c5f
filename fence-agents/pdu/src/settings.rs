//! The agent's options, checked, as types that the driver can rely on.
//!
//! Names and defaults are those of `fence_apc_snmp`. Secrets may come from stdin, a file or a program. No
//! device is touched.

mod table;

use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

use haft_fence_protocol::Secret;
use haft_fence_protocol::agent::password::{self, PasswordError, Sources};
use haft_fence_protocol::agent::{Input, InputError, Talk, talk};

use crate::oid::OidError;
use crate::outlets::{Description, Plug};
use crate::power::PowerPace;
use crate::session::Credentials;
use crate::usm::{AuthProtocol, AuthSecret, PASSPHRASE_MIN, PrivProtocol, PrivSecret, Protection};
use crate::wire::message::Version;

/// Most outlets of one node. Machines with more than four supplies are rare.
const PLUGS_MAX: usize = 16;
/// Longest user name (RFC 3414, section 2.4).
const USER_MAX: usize = 32;

/// Everything that the driver needs to know.
pub struct Settings {
    /// Address or hostname.
    pub host: String,
    /// UDP port.
    pub port: u16,
    /// Version and secrets.
    pub access: Access,
    /// Outlets of the node, in the order given, without repetition. May be empty.
    pub plugs: Vec<Plug>,
    /// The unit of plugs that were given without one.
    pub unit: Option<u32>,
    /// Which kind of PDU it is.
    pub kind: PduChoice,
    /// Between columns of lists.
    pub separator: String,
    /// The whole action.
    pub timeout: Duration,
    /// Finding the SNMPv3 engine.
    pub login_timeout: Duration,
    /// One question, with its repetitions.
    pub question_timeout: Duration,
    /// Before anything is sent.
    pub delay: Duration,
    /// Before a question is sent again.
    pub repeat_after: Duration,
    /// Reads and commands towards off.
    pub off_pace: PowerPace,
    /// Reads and commands towards on.
    pub on_pace: PowerPace,
    /// Whether steps are told.
    pub talk: Talk,
}

/// How the PDU's objects are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PduChoice {
    /// By asking it what it is.
    Ask,
    /// From a row of the table, or from the user.
    Known(Box<Description>),
}

/// Version and secrets, as often as they are needed.
pub enum Access {
    /// v1 or v2c.
    Community(Version, Secret),
    /// v3.
    User(String, Protection),
}

impl Access {
    /// For a session.
    pub fn credentials(&self) -> Credentials {
        match self {
            Self::Community(version, community) => Credentials::Community {
                version: *version,
                community: Zeroizing::new(community.expose().as_bytes().to_vec()),
            },
            Self::User(name, protection) => Credentials::User {
                name: name.as_bytes().to_vec(),
                protection: protection.clone(),
            },
        }
    }
}

/// Why the options cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// An option of the wrong kind.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A secret that cannot be had.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No address.
    #[error("no address of the PDU given; set ip")]
    NoHost,
    /// An action on no outlet.
    #[error(
        "no outlet given; set plug, for example plug=3 or plug=3,7 for a machine with two supplies"
    )]
    NoPlug,
    /// More than [`PLUGS_MAX`] outlets.
    #[error("plug names more than {PLUGS_MAX} outlets")]
    ManyPlugs,
    /// Version 3 without a name.
    #[error("snmp_version=3 needs username")]
    NoUser,
    /// A name longer than SNMPv3 takes.
    #[error("username is longer than the {USER_MAX} bytes that SNMPv3 takes")]
    LongUser,
    /// A level without the secret that it needs.
    #[error("snmp_sec_level={level} needs {option}")]
    NoSecret {
        /// The level.
        level: &'static str,
        /// The option.
        option: &'static str,
    },
    /// A pass phrase shorter than SNMPv3 takes.
    #[error("{option} is shorter than the {PASSPHRASE_MIN} bytes that SNMPv3 takes")]
    ShortSecret {
        /// The option.
        option: &'static str,
    },
    /// A description of a PDU that is no identifier.
    #[error("{option}: {source}")]
    Oid {
        /// The option.
        option: &'static str,
        /// What is wrong.
        source: OidError,
    },
    /// A description of a PDU that lacks something.
    #[error("a PDU described by outlet_status_oid also needs {option}")]
    Incomplete {
        /// The option.
        option: &'static str,
    },
    /// Both a row and a description.
    #[error("give either pdu or the outlet_ options, not both")]
    TwoKinds,
    /// A description in which on and off are the same.
    #[error("{option} must differ from its counterpart, or on and off are the same")]
    SameForBoth {
        /// The option.
        option: &'static str,
    },
}

impl Settings {
    /// Checks the options.
    ///
    /// # Errors
    /// See [`SettingsError`]; no message holds a secret.
    pub fn read(input: &Input) -> Result<Self, SettingsError> {
        let repeat_after =
            Duration::from_millis(input.integer("retry_interval_ms", 10..=60_000, 500)?);
        let off_pace = PowerPace {
            read_spacing: Duration::from_millis(input.integer(
                "off_read_interval_ms",
                0..=60_000,
                50,
            )?),
            wait: input.seconds("power_wait", Duration::ZERO)?,
            change_timeout: input.seconds("power_timeout", Duration::from_secs(20))?,
            commands_max: 1,
        };
        let attempts = input.integer("retry_on", 1..=100, 1)?;
        let port = input.integer("ipport", 1..=65_535, 161)?;
        let unit = match input.text("switch") {
            None => None,
            Some(_) => u32::try_from(input.integer("switch", 0..=u64::from(u32::MAX), 1)?).ok(),
        };
        Ok(Self {
            host: input.text("ip").ok_or(SettingsError::NoHost)?.to_owned(),
            port: u16::try_from(port).expect("checked to be at most 65535"),
            access: access(input)?,
            plugs: plugs(input)?,
            unit,
            kind: table::choice(input)?,
            separator: input.text("separator").unwrap_or(",").to_owned(),
            timeout: input.seconds("timeout", Duration::from_secs(60))?,
            login_timeout: input.seconds("login_timeout", Duration::from_secs(5))?,
            question_timeout: input.seconds("shell_timeout", Duration::from_secs(3))?,
            delay: input.seconds("delay", Duration::ZERO)?,
            repeat_after,
            off_pace,
            on_pace: PowerPace {
                commands_max: u32::try_from(attempts).expect("checked to be at most 100"),
                ..off_pace
            },
            talk: talk(input)?,
        })
    }

    /// Wants at least one outlet, for actions on one.
    ///
    /// # Errors
    /// [`SettingsError::NoPlug`].
    pub fn need_plug(&self) -> Result<(), SettingsError> {
        if self.plugs.is_empty() {
            Err(SettingsError::NoPlug)
        } else {
            Ok(())
        }
    }
}

fn plugs(input: &Input) -> Result<Vec<Plug>, SettingsError> {
    let separator = input.text("plug_separator").unwrap_or(",");
    let mut plugs = Vec::new();
    for part in input.text("plug").unwrap_or("").split(separator) {
        let plug = Plug::parse(part.trim());
        if !part.trim().is_empty() && !plugs.contains(&plug) {
            plugs.push(plug);
        }
    }
    if plugs.len() > PLUGS_MAX {
        return Err(SettingsError::ManyPlugs);
    }
    Ok(plugs)
}

fn access(input: &Input) -> Result<Access, SettingsError> {
    let version = match input.text("snmp_version") {
        None | Some("1") => Version::V1,
        Some("2c" | "2C" | "2") => Version::V2c,
        Some("3") => Version::V3,
        Some(_) => return Err(bad("snmp_version", "1, 2c or 3").into()),
    };
    if version == Version::V3 {
        return user(input);
    }
    let community = Sources {
        plain: "community",
        file: "community_file",
        script: "community_script",
    };
    let community = password::read(input, community)?;
    // The default of fence_apc_snmp, and of the PDUs that it was written for.
    let community = community.unwrap_or_else(|| Secret::new("private".to_owned()));
    Ok(Access::Community(version, community))
}

fn user(input: &Input) -> Result<Access, SettingsError> {
    let name = input.text("username").ok_or(SettingsError::NoUser)?;
    if name.len() > USER_MAX {
        return Err(SettingsError::LongUser);
    }
    let auth = password::read(
        input,
        Sources {
            plain: "password",
            file: "password_file",
            script: "password_script",
        },
    )?;
    let privacy = password::read(
        input,
        Sources {
            plain: "snmp_priv_passwd",
            file: "snmp_priv_passwd_file",
            script: "snmp_priv_passwd_script",
        },
    )?;
    let level = match input.text("snmp_sec_level") {
        // A secret is given to be used.
        None => match (&auth, &privacy) {
            (_, Some(_)) => Level::AuthPriv,
            (Some(_), None) => Level::Auth,
            (None, None) => Level::Nothing,
        },
        Some(name) => Level::parse(name)?,
    };
    let protection = match level {
        Level::Nothing => Protection::None,
        Level::Auth => Protection::Auth(auth_secret(input, level, auth)?),
        Level::AuthPriv => Protection::AuthPriv(
            auth_secret(input, level, auth)?,
            PrivSecret {
                protocol: priv_protocol(input)?,
                passphrase: passphrase("snmp_priv_passwd", level, privacy)?,
            },
        ),
    };
    Ok(Access::User(name.to_owned(), protection))
}

#[derive(Clone, Copy)]
enum Level {
    Nothing,
    Auth,
    AuthPriv,
}

impl Level {
    const ALL: [Self; 3] = [Self::Nothing, Self::Auth, Self::AuthPriv];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "noAuthNoPriv",
            Self::Auth => "authNoPriv",
            Self::AuthPriv => "authPriv",
        }
    }

    fn parse(name: &str) -> Result<Self, InputError> {
        Self::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| bad("snmp_sec_level", "noAuthNoPriv, authNoPriv or authPriv"))
    }
}

fn auth_secret(
    input: &Input,
    level: Level,
    secret: Option<Secret>,
) -> Result<AuthSecret, SettingsError> {
    Ok(AuthSecret {
        protocol: auth_protocol(input)?,
        passphrase: passphrase("password", level, secret)?,
    })
}

fn passphrase(
    option: &'static str,
    level: Level,
    secret: Option<Secret>,
) -> Result<Zeroizing<Vec<u8>>, SettingsError> {
    let level = level.name();
    let secret = secret.ok_or(SettingsError::NoSecret { level, option })?;
    let bytes = Zeroizing::new(secret.expose().as_bytes().to_vec());
    if bytes.len() < PASSPHRASE_MIN {
        return Err(SettingsError::ShortSecret { option });
    }
    Ok(bytes)
}

/// The names of net-snmp; the default, too, is its own.
fn auth_protocol(input: &Input) -> Result<AuthProtocol, InputError> {
    let name = input.text("snmp_auth_prot").unwrap_or("MD5");
    Ok(match name.to_ascii_uppercase().replace('-', "").as_str() {
        "MD5" => AuthProtocol::Md5,
        "SHA" | "SHA1" => AuthProtocol::Sha1,
        "SHA224" => AuthProtocol::Sha224,
        "SHA256" => AuthProtocol::Sha256,
        "SHA384" => AuthProtocol::Sha384,
        "SHA512" => AuthProtocol::Sha512,
        _ => {
            return Err(bad(
                "snmp_auth_prot",
                "MD5, SHA, SHA-224, SHA-256, SHA-384 or SHA-512",
            ));
        }
    })
}

fn priv_protocol(input: &Input) -> Result<PrivProtocol, InputError> {
    let name = input.text("snmp_priv_prot").unwrap_or("DES");
    Ok(match name.to_ascii_uppercase().replace('-', "").as_str() {
        "DES" => PrivProtocol::Des,
        "AES" | "AES128" => PrivProtocol::Aes128,
        "AES192" => PrivProtocol::Aes192,
        "AES256" => PrivProtocol::Aes256,
        "AES192C" => PrivProtocol::Aes192Reeder,
        "AES256C" => PrivProtocol::Aes256Reeder,
        _ => {
            return Err(bad(
                "snmp_priv_prot",
                "DES, AES, AES-192, AES-256, AES-192-C or AES-256-C",
            ));
        }
    })
}

fn bad(name: &'static str, expected: &str) -> InputError {
    InputError::BadValue {
        name,
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests;
