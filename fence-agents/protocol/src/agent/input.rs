//! Reading what an agent was told: `name=value` lines on stdin, or options on argv.
//!
//! Any argument at all switches to argv and stdin is not read, as in the field's library. Unknown
//! names are warned about and ignored, because Pacemaker passes parameters of its own. Values are
//! kept as [`Secret`]s, since a table cannot know which unknown thing is a password; a warning never
//! repeats a value. Nothing is checked for sense here: that is the agent's settings type.

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;

use crate::Secret;
use crate::action::{Action, ActionError};
use crate::agent::options::{AgentSpec, Kind, OptionSpec};

/// Longest input read from stdin, in bytes. Pacemaker sends well under 4 KiB.
pub const STDIN_MAX: usize = 64 * 1024;

/// Names that callers send for their own purposes and that no agent need declare.
/// `nodename` comes with every targeted call of Pacemaker (st_actions.c, make_args).
const QUIETLY_IGNORED: [&str; 1] = ["nodename"];

/// What an agent was told, before any meaning is given to it.
pub struct Input {
    values: BTreeMap<&'static str, Secret>,
    /// Lines for stderr: unknown names and risky habits. They hold no values.
    pub warnings: Vec<String>,
}

/// Why input cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InputError {
    /// Not UTF-8, or longer than [`STDIN_MAX`].
    #[error("parameters on stdin are not usable text (UTF-8, at most {STDIN_MAX} bytes)")]
    NotText,
    /// An argv option that the agent does not have.
    #[error("unknown option '{name}'; use -h for usage")]
    UnknownOption {
        /// The option's name without any value.
        name: String,
    },
    /// An argv option without its value.
    #[error("option '{name}' needs a value; use -h for usage")]
    MissingValue {
        /// The option's name.
        name: String,
    },
    /// A word that is no option.
    #[error("stray word at position {position} on the command line; use -h for usage")]
    StrayWord {
        /// Position, counted from 1.
        position: usize,
    },
    /// A value of the wrong kind.
    #[error("option '{name}' must be {expected}")]
    BadValue {
        /// The option's canonical name.
        name: &'static str,
        /// What would be right.
        expected: String,
    },
    /// The action is missing or no action.
    #[error(transparent)]
    Action(#[from] ActionError),
}

/// Parses the whole of stdin (fence-agents, `_parse_input_stdin`): the last duplicate wins, empty
/// lines and lines beginning with `#` are skipped, one pair of double quotes around a value goes.
///
/// # Errors
/// [`InputError::NotText`] when the bytes are not text or too many.
pub fn read_stdin(spec: &AgentSpec, bytes: &[u8]) -> Result<Input, InputError> {
    if bytes.len() > STDIN_MAX {
        return Err(InputError::NotText);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| InputError::NotText)?;
    let mut input = Input {
        values: BTreeMap::new(),
        warnings: Vec::new(),
    };
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            // The text of such a line may be the tail of a password: it is not repeated.
            input.warn(format!("ignoring line {} without '='", index + 1));
            continue;
        };
        match spec.option(name) {
            Some(option) => input.put(option, unquote(value)),
            None if QUIETLY_IGNORED.contains(&name) => {}
            None => input.warn(format!("ignoring unknown option '{}'", printable(name))),
        }
    }
    Ok(input)
}

/// Parses argv without the program's name: `-a host`, `-ahost`, `--ip host`, `--ip=host`, bundled
/// flags such as `-Pv`.
///
/// # Errors
/// Unknown options, missing values and stray words. Unlike on stdin these are typed by a person, who
/// is better served by a refusal.
pub fn read_argv(spec: &AgentSpec, arguments: &[String]) -> Result<Input, InputError> {
    let mut input = Input {
        values: BTreeMap::new(),
        warnings: Vec::new(),
    };
    let mut words = arguments.iter().enumerate();
    while let Some((index, word)) = words.next() {
        let mut next = || words.next().map(|(_, value)| value.as_str());
        if let Some(long) = word.strip_prefix("--") {
            read_long(spec, &mut input, long, &mut next)?;
        } else if let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            read_letters(spec, &mut input, letters, &mut next)?;
        } else {
            return Err(InputError::StrayWord {
                position: index + 1,
            });
        }
    }
    Ok(input)
}

fn read_long<'a>(
    spec: &AgentSpec,
    input: &mut Input,
    word: &'a str,
    next: &mut dyn FnMut() -> Option<&'a str>,
) -> Result<(), InputError> {
    let (name, inline) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    let option = spec.option(name).ok_or_else(|| InputError::UnknownOption {
        name: format!("--{}", printable(name)),
    })?;
    let value = match (option.kind, inline) {
        (_, Some(value)) => value,
        (Kind::Boolean, None) => "1",
        (_, None) => next().ok_or_else(|| InputError::MissingValue {
            name: option.long(),
        })?,
    };
    input.put_from_argv(option, value);
    Ok(())
}

fn read_letters<'a>(
    spec: &AgentSpec,
    input: &mut Input,
    letters: &'a str,
    next: &mut dyn FnMut() -> Option<&'a str>,
) -> Result<(), InputError> {
    for (at, letter) in letters.char_indices() {
        let option = spec
            .option_by_letter(letter)
            .ok_or_else(|| InputError::UnknownOption {
                name: format!("-{}", letter.escape_default()),
            })?;
        if option.kind == Kind::Boolean {
            input.put_from_argv(option, "1");
            continue;
        }
        let rest = &letters[at + letter.len_utf8()..];
        let value = if rest.is_empty() {
            next().ok_or_else(|| InputError::MissingValue {
                name: format!("-{letter}"),
            })?
        } else {
            rest
        };
        input.put_from_argv(option, value);
        return Ok(());
    }
    Ok(())
}

impl Input {
    /// The value of an option by its canonical name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(Secret::expose)
            .filter(|value| !value.is_empty())
    }

    /// The value as a secret, for passing on.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.values
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    /// The action.
    ///
    /// # Errors
    /// Missing or unknown: there is no default, on purpose.
    pub fn action(&self) -> Result<Action, InputError> {
        Ok(Action::parse(self.text("action").unwrap_or(""))?)
    }

    /// A boolean: whether it was given as true.
    ///
    /// # Errors
    /// [`InputError::BadValue`] for anything but the eight words of the contract.
    pub fn flag(&self, name: &'static str) -> Result<bool, InputError> {
        let Some(value) = self.text(name) else {
            return Ok(false);
        };
        match value.to_ascii_lowercase().as_str() {
            "1" | "yes" | "on" | "true" => Ok(true),
            "0" | "no" | "off" | "false" => Ok(false),
            _ => Err(bad(name, "one of 1, yes, on, true, 0, no, off, false")),
        }
    }

    /// A whole number within `bounds`, or the default.
    ///
    /// # Errors
    /// [`InputError::BadValue`] when it is no number or out of bounds.
    pub fn integer(
        &self,
        name: &'static str,
        bounds: std::ops::RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, InputError> {
        let Some(value) = self.text(name) else {
            return Ok(default);
        };
        value
            .parse()
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                bad(
                    name,
                    &format!("a whole number from {} to {}", bounds.start(), bounds.end()),
                )
            })
    }

    /// Seconds, with up to three decimals and an optional trailing `s`, or the default.
    ///
    /// # Errors
    /// [`InputError::BadValue`] when it is no number or above one day.
    pub fn seconds(&self, name: &'static str, default: Duration) -> Result<Duration, InputError> {
        let Some(value) = self.text(name) else {
            return Ok(default);
        };
        parse_seconds(value)
            .ok_or_else(|| bad(name, "seconds from 0 to 86400, for example 5 or 0.25"))
    }

    fn put(&mut self, option: &OptionSpec, value: &str) {
        self.values
            .insert(option.name, Secret::new(value.to_owned()));
    }

    fn put_from_argv(&mut self, option: &OptionSpec, value: &str) {
        if option.kind == Kind::Secret {
            self.warn(format!(
                "{} on the command line is visible to every user of this machine; prefer stdin or a file",
                option.long()
            ));
        }
        self.put(option, value);
    }

    fn warn(&mut self, text: String) {
        // A caller that sends a thousand unknown names needs to hear of the first few.
        if self.warnings.len() < 32 {
            self.warnings.push(text);
        }
    }
}

fn bad(name: &'static str, expected: &str) -> InputError {
    InputError::BadValue {
        name,
        expected: expected.to_owned(),
    }
}

fn unquote(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value)
}

fn printable(name: &str) -> String {
    name.chars()
        .take(40)
        .flat_map(char::escape_default)
        .collect()
}

fn parse_seconds(text: &str) -> Option<Duration> {
    let text = text.strip_suffix('s').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let millis: u64 = format!("{fraction:0<3}").parse().ok()?;
    (whole <= 86_400).then(|| Duration::from_millis(whole * 1000 + millis))
}

#[cfg(test)]
mod tests;
