//! The option table of an agent, from which parsing, metadata and help all follow.
//!
//! It states names and kinds. It holds no values and gives no defaults to anybody but the reader of
//! the metadata: the agent's own settings type is where a default takes effect.

/// What sort of value an option takes (lib/metadata.rng, `content@type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that must never be printed.
    Secret,
    /// 1, yes, on, true or 0, no, off, false; on argv a flag without value.
    Boolean,
    /// A whole number.
    Integer,
    /// Seconds, possibly with a fraction.
    Seconds,
    /// One of these words.
    Select(&'static [&'static str]),
}

/// Whether an agent can work without the option (`parameter@required`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The agent works without it.
    Optional,
    /// The agent refuses to start without it.
    Required,
}

/// One option of an agent.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Canonical name with underscores, as on stdin.
    pub name: &'static str,
    /// Older name, still accepted; metadata lists it as deprecated.
    pub old_name: Option<&'static str>,
    /// Short option letter on argv.
    pub letter: Option<char>,
    /// Word for the value in help, `ip` in `--ip=[ip]`. Unused for booleans.
    pub value_word: &'static str,
    /// Kind of the value.
    pub kind: Kind,
    /// Default as shown in metadata.
    pub default: Option<&'static str>,
    /// Whether metadata calls it required.
    pub need: Need,
    /// One line for people.
    pub summary: &'static str,
}

impl OptionSpec {
    /// Whether `given` (with `-` and `_` interchangeable) is this option's name, new or old.
    pub fn answers_to(&self, given: &str) -> bool {
        same_name(self.name, given) || self.old_name.is_some_and(|old| same_name(old, given))
    }

    /// The long option as on argv, `--off-read-interval-ms`.
    pub fn long(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }
}

fn same_name(ours: &str, given: &str) -> bool {
    ours.len() == given.len()
        && ours
            .bytes()
            .zip(given.bytes())
            .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

/// An action as metadata names it, with its attributes.
#[derive(Clone, Copy, Debug)]
pub struct ActionSpec {
    /// Name of the action.
    pub name: &'static str,
    /// `automatic="0"` or `"1"` on `on`: whether the cluster unfences with it by itself.
    pub automatic: Option<&'static str>,
}

/// Everything that metadata says about an agent.
#[derive(Clone, Copy, Debug)]
pub struct AgentSpec {
    /// Executable name.
    pub name: &'static str,
    /// One line.
    pub short: &'static str,
    /// A paragraph.
    pub long: &'static str,
    /// Options in the order shown.
    pub options: &'static [OptionSpec],
    /// Actions in the order shown.
    pub actions: &'static [ActionSpec],
}

impl AgentSpec {
    /// The option that answers to `given`.
    pub fn option(&self, given: &str) -> Option<&'static OptionSpec> {
        self.options.iter().find(|option| option.answers_to(given))
    }

    /// The option with this argv letter.
    pub fn option_by_letter(&self, letter: char) -> Option<&'static OptionSpec> {
        self.options
            .iter()
            .find(|option| option.letter == Some(letter))
    }
}
