//! Which plugs a device has, from an agent's `list`.
//!
//! Read as Pacemaker reads it (fenced_commands.c, parse_host_list), because agents print what that takes:
//! separators are blanks, commas, semicolons and the two characters `\\n`; a line that complains about an
//! "invalid" or "variable" something is no list; "on" and "off" are states, not plugs. It cannot tell a
//! plug from its alias, and need not: either may be what a node is called there. States are not read
//! here, since a state in a list is no off read.

use std::collections::BTreeSet;

use super::deadline::Deadline;
use thiserror::Error;

use super::find::AgentPath;
use super::outcome::Outcome;
use super::parameters::Parameters;
use super::run::{Call, run};
use super::turn::DeviceTurn;
use crate::Action;

/// Names kept of one device. The largest power strips have 48 outlets; a hypervisor lists its guests.
pub const PLUGS_MAX: usize = 4096;

/// The names that a device lists: plugs and their aliases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plugs {
    names: BTreeSet<String>,
}

/// Why there is no list.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PlugsError {
    /// The agent did not run to a good end. A list of an earlier call is still the best that is known.
    #[error("the device listed nothing: {reason}")]
    NotGiven {
        /// For people.
        reason: String,
    },
}

/// Asks a device for its plugs.
///
/// # Errors
/// See [`PlugsError`].
pub async fn read_plugs(
    turn: &mut DeviceTurn,
    agent: &AgentPath,
    parameters: &Parameters,
    deadline: Deadline,
) -> Result<Plugs, PlugsError> {
    let call = Call {
        agent,
        action: Action::List,
        parameters,
        deadline,
    };
    let report = run(turn, &call).await;
    let reason = match report.outcome {
        Outcome::Done => return Ok(Plugs::scan(&report.stdout)),
        Outcome::On | Outcome::Off => "the agent answered another question".to_owned(),
        Outcome::Failed { reason, .. } => reason,
        Outcome::TimedOut => "no answer before the deadline".to_owned(),
        Outcome::NotRunnable { why } => why,
    };
    Err(PlugsError::NotGiven { reason })
}

impl Plugs {
    /// Reads what `list` printed.
    pub fn scan(text: &str) -> Self {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
        let text = text.replace("\\n", "\n");
        let names = text
            .lines()
            .filter(|line| !line.contains("invalid") && !line.contains("variable"))
            .flat_map(|line| line.split([' ', '\t', '\r', ',', ';']))
            .filter(|word| !word.is_empty() && word.chars().all(is_name))
            .filter(|word| !["on", "off"].contains(&word.to_ascii_lowercase().as_str()))
            .take(PLUGS_MAX)
            .map(str::to_owned)
            .collect();
        Self { names }
    }

    /// Whether the device lists this name. Case counts not, as in Pacemaker.
    pub fn contains(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(name))
    }

    /// Every name, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        Plugs::scan(text).iter().map(str::to_owned).collect()
    }

    #[test]
    fn lists_of_the_field_are_read_as_pacemaker_reads_them() {
        for (text, expected) in [
            ("1,node1\n2,node2\n", &["1", "2", "node1", "node2"][..]),
            ("1,node1,ON\n2,node2,OFF\n", &["1", "2", "node1", "node2"]),
            ("n1 n2;n3\tn4", &["n1", "n2", "n3", "n4"]),
            ("n1\\nn2", &["n1", "n2"]),
            ("invalid option plug\nn1\nunknown variable foo", &["n1"]),
            ("web-1.example.org_x\n", &["web-1.example.org_x"]),
            ("<b>n1</b>\nn2", &["n2"]),
            ("", &[]),
        ] {
            assert_eq!(names(text), expected, "{text:?}");
        }
        assert!(Plugs::scan("Node1").contains("node1"));
    }

    proptest! {
        #[test]
        fn no_output_gives_a_name_that_a_line_could_not_carry(text in "\\PC{0,200}|(on|off|,|;|\\\\n|\n|invalid|n1| ){0,50}") {
            for name in names(&text) {
                prop_assert!(!name.is_empty() && name != "on" && name != "off");
                prop_assert!(crate::caller::Parameter::plain("plug", &name).is_ok() || name.len() > 4096);
            }
        }
    }
}
