//! What an agent's metadata tells a caller: its actions, its host argument, unfencing.
//!
//! It scans tags and attributes; it is no XML parser and validates nothing, because agents of the
//! field have shipped XML that no parser takes. What it cannot find is absent.

use super::deadline::Deadline;
use thiserror::Error;

use super::find::AgentPath;
use super::outcome::Outcome;
use super::parameters::{HostArgument, Parameters};
use super::run::{Call, run};
use super::turn::DeviceTurn;
use crate::Action;

/// Whether the cluster must run `on` before the node may join (fabric agents).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnIsUnfencing {
    /// `automatic="1"` or the older `required="1"` on the action `on`.
    Yes,
    /// No such attribute.
    No,
}

/// Where an agent's actions have to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsOn {
    /// Wherever the device can be reached.
    Anywhere,
    /// One of them on the machine that it is about: `on_target="1"`.
    Target,
}

/// The part of an agent's metadata that a caller uses (fenced_commands.c, read_action_metadata).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The agent's name.
    pub name: String,
    /// One line about it.
    pub short: String,
    /// Names of its parameters.
    pub parameters: Vec<String>,
    /// Names of its actions.
    pub actions: Vec<String>,
    /// The parameter that names the machine behind the device: `plug`, or the older `port`.
    pub host_argument: Option<String>,
    /// Whether `on` is unfencing.
    pub on_is_unfencing: OnIsUnfencing,
    /// Where it has to be run.
    pub runs_on: RunsOn,
}

/// Why there is no metadata.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MetadataError {
    /// The agent did not run to a good end.
    #[error("the agent gave no metadata: {reason}")]
    NotGiven {
        /// For people.
        reason: String,
    },
    /// It printed something that is no metadata.
    #[error("the agent's output holds no resource-agent element with actions")]
    NotMetadata,
}

/// Asks an agent for its metadata. No device is touched.
///
/// # Errors
/// See [`MetadataError`].
pub async fn read_metadata(
    turn: &mut DeviceTurn,
    agent: &AgentPath,
    deadline: Deadline,
) -> Result<Metadata, MetadataError> {
    let parameters = Parameters::default();
    let call = Call {
        agent,
        action: Action::Metadata,
        parameters: &parameters,
        deadline,
    };
    let report = run(turn, &call).await;
    match report.outcome {
        Outcome::Done => Metadata::scan(&report.stdout).ok_or(MetadataError::NotMetadata),
        other @ (Outcome::On
        | Outcome::Off
        | Outcome::Failed { .. }
        | Outcome::TimedOut
        | Outcome::NotRunnable { .. }) => Err(MetadataError::NotGiven {
            reason: format!("{other:?}"),
        }),
    }
}

impl Metadata {
    /// Scans the text of an agent; `None` when it names no agent or no action.
    pub fn scan(text: &str) -> Option<Self> {
        let root = tags(text, "resource-agent").next()?;
        let names = |element| tags(text, element).filter_map(|tag| attribute(tag, "name"));
        let parameters: Vec<String> = names("parameter").collect();
        let actions: Vec<String> = names("action").collect();
        let host_argument = ["plug", "port"]
            .into_iter()
            .find(|name| parameters.iter().any(|have| have == name));
        let unfences = tags(text, "action").any(|tag| {
            attribute(tag, "name").as_deref() == Some("on")
                && ["automatic", "required"]
                    .into_iter()
                    .any(|key| attribute(tag, key).as_deref() == Some("1"))
        });
        let on_target =
            tags(text, "action").any(|tag| attribute(tag, "on_target").as_deref() == Some("1"));
        let metadata = Self {
            runs_on: if on_target {
                RunsOn::Target
            } else {
                RunsOn::Anywhere
            },
            name: attribute(root, "name")?,
            short: attribute(root, "shortdesc").unwrap_or_default(),
            host_argument: host_argument.map(str::to_owned),
            on_is_unfencing: if unfences {
                OnIsUnfencing::Yes
            } else {
                OnIsUnfencing::No
            },
            parameters,
            actions,
        };
        (!metadata.actions.is_empty()).then_some(metadata)
    }

    /// How the agent learns which machine is meant.
    pub fn host(&self) -> HostArgument {
        match &self.host_argument {
            Some(name) => HostArgument::Named(name.clone()),
            None => HostArgument::None,
        }
    }

    /// Whether the agent offers an action.
    pub fn offers(&self, action: Action) -> bool {
        self.actions.iter().any(|name| name == action.name())
    }
}

/// The inside of every `<element …>` tag.
fn tags<'a>(text: &'a str, element: &'a str) -> impl Iterator<Item = &'a str> {
    text.split('<').skip(1).filter_map(move |piece| {
        let inside = piece.split('>').next()?.strip_prefix(element)?;
        inside
            .starts_with(|letter: char| letter.is_whitespace())
            .then_some(inside)
    })
}

fn attribute(tag: &str, key: &str) -> Option<String> {
    tag.match_indices(key).find_map(|(at, _)| {
        let before = tag[..at].chars().next_back()?;
        let rest = tag[at + key.len()..]
            .trim_start()
            .strip_prefix('=')?
            .trim_start();
        let quote = rest
            .chars()
            .next()
            .filter(|mark| *mark == '"' || *mark == '\'')?;
        let value = rest[1..].split(quote).next()?;
        before.is_whitespace().then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn actions_host_argument_and_unfencing_are_found() {
        let text = r#"<?xml version="1.0" ?>
            <resource-agent name="fence_x" shortdesc="X" >
            <parameter name="action" unique="0"><getopt mixed="-o"/></parameter>
            <parameter name='port' unique="0"></parameter>
            <actions><action name="on" automatic="1"/><action name="off" /></actions>"#;
        let metadata = Metadata::scan(text).unwrap();
        assert_eq!(metadata.name, "fence_x");
        assert_eq!(metadata.actions, ["on", "off"]);
        assert_eq!(metadata.host_argument.as_deref(), Some("port"));
        assert_eq!(metadata.on_is_unfencing, OnIsUnfencing::Yes);
        assert!(metadata.offers(Action::Off) && !metadata.offers(Action::List));
    }

    #[test]
    fn text_that_is_no_metadata_is_refused() {
        for text in [
            "",
            "<resource-agent>",
            "<resource-agent name=\"x\">",
            "Success: Rebooted",
        ] {
            assert_eq!(Metadata::scan(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_output_makes_the_scanner_panic(text in "(<|>|resource-agent|action|name|=|\"|'| |é){0,40}") {
            let _ = Metadata::scan(&text);
        }
    }
}
