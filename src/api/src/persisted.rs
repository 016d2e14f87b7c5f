//! Persisted forms: log entries and snapshots as protobuf, engine values on the other side.
//!
//! Decoding is total: anything that is not exactly an entry of ours is a [`PersistedError`], never a
//! guess. Does not store anything; haft-store does.

use crate::pb::log as pb;
use haft_engine::apply::Outcome;
use haft_engine::command::{Command, Entry};
use haft_engine::state::ClusterState;
use prost::Message;

mod command_from;
mod command_into;
mod field;
mod machine;
mod place;
mod spec;
mod state_from;
mod state_into;
mod timing;
mod witness;

/// A stored form that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum PersistedError {
    /// Not protobuf, or truncated.
    #[error("stored {what} is not readable protobuf")]
    Malformed {
        /// Entry or state.
        what: &'static str,
        /// What prost says.
        #[source]
        source: prost::DecodeError,
    },
    /// A field is missing, or holds a value that this version does not know.
    #[error("stored field {field} is missing or unknown to this version")]
    Field {
        /// Name of the field.
        field: &'static str,
    },
}

/// Bytes of one log entry.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let form = pb::Entry {
        stamp_unix_ms: entry.stamp_unix_ms,
        commands: entry.commands.iter().map(command_into::command).collect(),
    };
    form.encode_to_vec()
}

/// Bytes that one command takes in an entry, its frame included.
pub fn command_bytes(command: &Command) -> usize {
    let bytes = command_into::command(command).encoded_len();
    // The field's tag before it, and its length.
    1 + prost::length_delimiter_len(bytes) + bytes
}

/// The entry in these bytes.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, PersistedError> {
    let form = pb::Entry::decode(bytes).map_err(|source| PersistedError::Malformed {
        what: "entry",
        source,
    })?;
    let commands = form
        .commands
        .into_iter()
        .map(command_from::command)
        .collect::<Result<_, _>>()?;
    Ok(Entry {
        stamp_unix_ms: form.stamp_unix_ms,
        commands,
    })
}

/// Bytes of what an entry's commands did, for the proposer.
pub fn encode_outcomes(outcomes: &[Outcome]) -> Vec<u8> {
    pb::Outcomes {
        outcomes: outcomes.iter().map(state_into::outcome).collect(),
    }
    .encode_to_vec()
}

/// What an entry's commands did.
pub fn decode_outcomes(bytes: &[u8]) -> Result<Vec<Outcome>, PersistedError> {
    let form = pb::Outcomes::decode(bytes).map_err(|source| PersistedError::Malformed {
        what: "outcomes",
        source,
    })?;
    form.outcomes.into_iter().map(state_from::outcome).collect()
}

/// Bytes of the whole replicated state.
pub fn encode_state(state: &ClusterState) -> Vec<u8> {
    state_into::state(state).encode_to_vec()
}

/// The state in these bytes.
pub fn decode_state(bytes: &[u8]) -> Result<ClusterState, PersistedError> {
    let form = pb::State::decode(bytes).map_err(|source| PersistedError::Malformed {
        what: "state",
        source,
    })?;
    state_from::state(form)
}

#[cfg(test)]
mod tests;
