//! The parameters of one device, as lines for an agent's stdin.
//!
//! They never become argv or environment, where every user could read them. Names and values are
//! checked once, here, so that no value can smuggle in a line of its own. What the parameters mean is
//! the agent's business.

use thiserror::Error;
use zeroize::Zeroizing;

use crate::agent::report::AWAIT_WORD;
use crate::{Action, Secret};

/// Longest value, in bytes. The contract has no bound; agents read lines into memory.
pub const VALUE_MAX: usize = 4096;
/// Most text sent to one agent, in bytes: half the usual pipe, so that a deaf agent blocks nobody.
pub const TOTAL_MAX: usize = 32 * 1024;

/// One `name=value`.
#[derive(Clone)]
pub struct Parameter {
    name: String,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Plain(String),
    Secret(Secret),
}

/// Checked parameters of one device. Has no `Debug`: some of them are secret.
#[derive(Clone, Default)]
pub struct Parameters {
    list: Vec<Parameter>,
}

/// The parameter by which an agent learns which machine is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostArgument {
    /// This one: `plug`, or the older `port`.
    Named(String),
    /// None: the device has one machine.
    None,
}

/// Why parameters cannot be sent to an agent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParameterError {
    /// A name that the contract cannot carry.
    #[error("parameter name '{name}' may hold only letters, digits, '-' and '_'")]
    BadName {
        /// The name, escaped and cut.
        name: String,
    },
    /// `action` is written by the runner alone.
    #[error("parameter 'action' is chosen by haft for each call; remove it")]
    ActionGiven,
    /// `method=cycle` (fence_ipmilan, fence_sbd and others).
    #[error(
        "'method=cycle' reports success before the machine is off; remove it, haft always asks for off"
    )]
    Cycle,
    /// A value that would break the line format.
    #[error(
        "value of parameter '{name}' holds a line break or NUL, or ends or begins with a blank"
    )]
    BadValue {
        /// The parameter's name.
        name: String,
    },
    /// A value above [`VALUE_MAX`], or all of them above [`TOTAL_MAX`].
    #[error("parameter '{name}' makes the parameters too long")]
    TooLong {
        /// The parameter's name.
        name: String,
    },
    /// The same name twice (`-` and `_` count as one).
    #[error("parameter '{name}' is given twice")]
    Duplicate {
        /// The parameter's name.
        name: String,
    },
}

impl Parameter {
    /// A value that anyone may see.
    ///
    /// # Errors
    /// Bad name or value, or the name `action`.
    pub fn plain(name: &str, value: &str) -> Result<Self, ParameterError> {
        check(name, value)?;
        Ok(Self {
            name: name.to_owned(),
            value: Value::Plain(value.to_owned()),
        })
    }

    /// A value that must not be seen; it is also taken out of the agent's captured output.
    ///
    /// # Errors
    /// Bad name or value, or the name `action`.
    pub fn secret(name: &str, value: Secret) -> Result<Self, ParameterError> {
        check(name, value.expose())?;
        Ok(Self {
            name: name.to_owned(),
            value: Value::Secret(value),
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn text(&self) -> &str {
        match &self.value {
            Value::Plain(text) => text,
            Value::Secret(secret) => secret.expose(),
        }
    }
}

impl Parameters {
    /// Checks the whole list.
    ///
    /// # Errors
    /// Duplicate names, or more than [`TOTAL_MAX`] bytes.
    pub fn new(list: Vec<Parameter>) -> Result<Self, ParameterError> {
        let mut total = 0;
        for (index, parameter) in list.iter().enumerate() {
            total += parameter.name.len() + parameter.text().len() + 2;
            if total > TOTAL_MAX {
                return Err(ParameterError::TooLong {
                    name: parameter.name.clone(),
                });
            }
            let canonical = parameter.name.replace('-', "_");
            if list[..index]
                .iter()
                .any(|earlier| earlier.name.replace('-', "_") == canonical)
            {
                return Err(ParameterError::Duplicate {
                    name: parameter.name.clone(),
                });
            }
        }
        Ok(Self { list })
    }

    /// These parameters aimed at one machine, as Pacemaker writes them (st_actions.c, make_args):
    /// `nodename` always, and the host argument unless it is set already or is "dynamic". A `plug` such
    /// as `2,3` names several plugs; agents of the field's library act on all of them.
    ///
    /// # Errors
    /// A name or plug that no line can carry, or too much text.
    pub fn aimed_at(
        &self,
        node: &str,
        plug: &str,
        argument: &HostArgument,
    ) -> Result<Self, ParameterError> {
        let mut list: Vec<Parameter> = self
            .list
            .iter()
            .filter(|one| one.name != "nodename")
            .cloned()
            .collect();
        list.push(Parameter::plain("nodename", node)?);
        if let HostArgument::Named(name) = argument {
            let canonical = |given: &str| given.replace('-', "_");
            let same = |one: &Parameter| canonical(&one.name) == canonical(name);
            list.retain(|one| !(same(one) && one.text() == "dynamic"));
            if !list.iter().any(same) {
                list.push(Parameter::plain(name, plug)?);
            }
        }
        Self::new(list)
    }

    /// The text for stdin: `action=` first and exact, because an agent that does not see it falls
    /// back to `reboot`.
    pub(crate) fn stdin_text(&self, action: Action) -> Zeroizing<Vec<u8>> {
        self.text([("action", action.name())], [])
    }

    /// The text for stdin with `options` behind the parameters, where they have the last word.
    pub(crate) fn stdin_text_with<const N: usize>(
        &self,
        action: Action,
        options: [(&str, &str); N],
    ) -> Zeroizing<Vec<u8>> {
        self.text([("action", action.name())], options)
    }

    /// The text for an agent that is to begin when told: its action comes last, since the word follows.
    pub(crate) fn stdin_text_when_told<const N: usize>(
        &self,
        options: [(&str, &str); N],
    ) -> Zeroizing<Vec<u8>> {
        self.text(options, [("action", AWAIT_WORD)])
    }

    fn text<const F: usize, const L: usize>(
        &self,
        first: [(&str, &str); F],
        last: [(&str, &str); L],
    ) -> Zeroizing<Vec<u8>> {
        let own = self.list.iter().map(|one| (one.name.as_str(), one.text()));
        let lines = first.into_iter().chain(own).chain(last);
        let size = lines
            .clone()
            .map(|(name, value)| name.len() + value.len() + 2);
        // Sized beforehand: a growing buffer would leave copies of secrets behind.
        let mut text = Zeroizing::new(Vec::with_capacity(size.sum()));
        for (name, value) in lines {
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        text
    }

    /// The secret values, for redaction.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.list
            .iter()
            .filter_map(|parameter| match &parameter.value {
                Value::Plain(_) => None,
                Value::Secret(secret) => Some(secret),
            })
    }
}

fn check(name: &str, value: &str) -> Result<(), ParameterError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(legal) {
        let name = name
            .chars()
            .take(40)
            .flat_map(char::escape_default)
            .collect();
        return Err(ParameterError::BadName { name });
    }
    let name = name.to_owned();
    if name.eq_ignore_ascii_case("action") {
        return Err(ParameterError::ActionGiven);
    }
    if name.eq_ignore_ascii_case("method") && value.eq_ignore_ascii_case("cycle") {
        return Err(ParameterError::Cycle);
    }
    if value.len() > VALUE_MAX {
        return Err(ParameterError::TooLong { name });
    }
    // The field's library trims each line, so a blank at the end would silently vanish. The other
    // control characters split lines for some readers of text.
    if value.chars().any(char::is_control) || value.ends_with(' ') || value.starts_with(' ') {
        return Err(ParameterError::BadValue { name });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_line_comes_first_and_exact() {
        let parameters = Parameters::new(vec![
            Parameter::plain("ip", "::1").unwrap(),
            Parameter::secret("password", Secret::new("s=3 t".to_owned())).unwrap(),
        ])
        .ok()
        .unwrap();
        let text = parameters.stdin_text(Action::Off);
        assert_eq!(text.as_slice(), b"action=off\nip=::1\npassword=s=3 t\n");
        let text = parameters.stdin_text_with(Action::On, [("quiet", "1")]);
        let expected = b"action=on\nip=::1\npassword=s=3 t\nquiet=1\n";
        assert_eq!(text.as_slice(), expected);
        let text = parameters.stdin_text_when_told([("quiet", "1")]);
        let expected = b"quiet=1\nip=::1\npassword=s=3 t\naction=await-word\n";
        assert_eq!(text.as_slice(), expected);
        assert_eq!(text.capacity(), expected.len(), "it has not grown");
    }

    #[test]
    fn a_value_cannot_carry_a_second_line() {
        for value in ["a\naction=reboot", "a\r", "a\0", " a", "a ", "\u{85}"] {
            let answer = Parameter::plain("ip", value).err();
            assert_eq!(
                answer,
                Some(ParameterError::BadValue {
                    name: "ip".to_owned()
                }),
                "{value:?}"
            );
        }
    }

    #[test]
    fn aiming_sets_node_and_plug_unless_they_are_set() {
        let lines = |parameters: &Parameters| {
            let text = parameters.stdin_text(Action::Off).to_vec();
            String::from_utf8(text).unwrap()
        };
        let plug = HostArgument::Named("plug".to_owned());
        let base = |given: &[(&str, &str)]| {
            let list = given.iter().map(|(n, v)| Parameter::plain(n, v).unwrap());
            Parameters::new(list.collect()).ok().unwrap()
        };
        for (given, argument, expected) in [
            (
                &[("ip", "h")][..],
                &plug,
                "action=off\nip=h\nnodename=n1\nplug=2,3\n",
            ),
            (&[("plug", "7")], &plug, "action=off\nplug=7\nnodename=n1\n"),
            (
                &[("plug", "dynamic")],
                &plug,
                "action=off\nnodename=n1\nplug=2,3\n",
            ),
            (
                &[("nodename", "x")],
                &HostArgument::None,
                "action=off\nnodename=n1\n",
            ),
        ] {
            let aimed = base(given).aimed_at("n1", "2,3", argument).ok().unwrap();
            assert_eq!(lines(&aimed), expected);
        }
        let smuggled = base(&[]).aimed_at("n1", "1\naction=on", &plug);
        assert!(matches!(smuggled, Err(ParameterError::BadValue { .. })));
    }

    #[test]
    fn names_are_checked_and_action_is_refused() {
        for name in ["", "a b", "a=b", "é", "#x"] {
            assert!(matches!(
                Parameter::plain(name, "x"),
                Err(ParameterError::BadName { .. })
            ));
        }
        assert!(matches!(
            Parameter::plain("Action", "on"),
            Err(ParameterError::ActionGiven)
        ));
        assert_eq!(
            Parameter::plain("method", "Cycle").err(),
            Some(ParameterError::Cycle)
        );
        assert!(Parameter::plain("method", "onoff").is_ok());
        let twice = vec![
            Parameter::plain("power-wait", "1").unwrap(),
            Parameter::plain("power_wait", "2").unwrap(),
        ];
        assert!(matches!(
            Parameters::new(twice),
            Err(ParameterError::Duplicate { .. })
        ));
        let long = "x".repeat(VALUE_MAX + 1);
        assert!(matches!(
            Parameter::plain("a", &long),
            Err(ParameterError::TooLong { .. })
        ));
        let many = (0..9)
            .map(|n| Parameter::plain(&format!("p{n}"), &"x".repeat(VALUE_MAX)).unwrap())
            .collect();
        assert!(matches!(
            Parameters::new(many),
            Err(ParameterError::TooLong { .. })
        ));
    }
}
