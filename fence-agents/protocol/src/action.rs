//! The actions of the contract, by their exact names.
//!
//! There is deliberately no default action here. The field's own library falls back to `reboot` when
//! the action line is missing or malformed (contracts: "default action" trap); ours never does.

use std::fmt;

use thiserror::Error;

/// What an agent is asked to do (fence-agents, doc/FenceAgentAPI.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Power up; for fabric agents, let the node back in.
    On,
    /// Power down and verify. Already off is success.
    Off,
    /// Off and verified, then on. Success means that the off part succeeded.
    Reboot,
    /// Tell the power state: exit 0 is on, 2 is off, 1 is unknown.
    Status,
    /// Is the device reachable with these parameters?
    Monitor,
    /// The plugs that the device has, one per line.
    List,
    /// As `list`, with the power state of each plug.
    ListStatus,
    /// The agent's description as XML; touches no device.
    Metadata,
    /// Check the parameters; touches no device.
    ValidateAll,
}

/// Why a text is not an action.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ActionError {
    /// No action was given at all. Ours refuse to guess.
    #[error("no action given, refusing to guess one; send \"action=NAME\" on stdin or use -o NAME")]
    Missing,
    /// The word is no action of the contract.
    #[error("unrecognised action '{name}'")]
    Unknown {
        /// The word as given, cut to 64 characters, control characters escaped.
        name: String,
    },
}

impl Action {
    /// Every action, in the order in which metadata lists them.
    pub const ALL: [Self; 9] = [
        Self::On,
        Self::Off,
        Self::Reboot,
        Self::Status,
        Self::Monitor,
        Self::List,
        Self::ListStatus,
        Self::Metadata,
        Self::ValidateAll,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Reboot => "reboot",
            Self::Status => "status",
            Self::Monitor => "monitor",
            Self::List => "list",
            Self::ListStatus => "list-status",
            Self::Metadata => "metadata",
            Self::ValidateAll => "validate-all",
        }
    }

    /// Reads a name as the field's library does: case does not matter, `meta-data` is `metadata`,
    /// and `enable` and `disable` are the fabric agents' words for on and off.
    ///
    /// # Errors
    /// [`ActionError::Missing`] for an empty name, [`ActionError::Unknown`] for any other word.
    pub fn parse(name: &str) -> Result<Self, ActionError> {
        if name.is_empty() {
            return Err(ActionError::Missing);
        }
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "meta-data" => return Ok(Self::Metadata),
            "enable" => return Ok(Self::On),
            "disable" => return Ok(Self::Off),
            _ => {}
        }
        Self::ALL
            .into_iter()
            .find(|action| action.name() == lower)
            .ok_or_else(|| ActionError::Unknown {
                name: name
                    .chars()
                    .take(64)
                    .flat_map(char::escape_default)
                    .collect(),
            })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_in_any_case() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.name()), Ok(action));
            assert_eq!(Action::parse(&action.name().to_uppercase()), Ok(action));
        }
        assert_eq!(Action::parse("meta-data"), Ok(Action::Metadata));
    }

    #[test]
    fn an_unknown_or_missing_action_is_never_a_reboot() {
        assert_eq!(Action::parse(""), Err(ActionError::Missing));
        for bad in [" off", "off ", "of", "cycle", "off\u{0}", "reboot now"] {
            assert!(
                matches!(Action::parse(bad), Err(ActionError::Unknown { .. })),
                "{bad:?}"
            );
        }
    }
}
