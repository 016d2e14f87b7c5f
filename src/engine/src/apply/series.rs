//! A leader that is deaf to one node closes and reopens its session again and again; people are told once.
//!
//! Whether a closing goes on with a series is read off the events themselves: the last one about the node says that it
//! was reopened, a short while ago by the stamps of the entries. Decides about events only.

use super::At;
use crate::state::ClusterState;

/// A series is told of again after so long, on entry stamps.
const TOLD_EVERY_MS: u64 = 600_000;

/// The event that ends the first round of a series.
pub(super) const REOPENED: &str = "SessionReopened";

/// Whether a closing or reopening of `subject` only goes on with what has been told.
pub(super) fn goes_on(state: &ClusterState, at: At, subject: &str) -> bool {
    let last = state
        .events
        .iter()
        .rev()
        .find(|event| event.subject == subject);
    last.is_some_and(|event| {
        event.reason == REOPENED
            && at.stamp_unix_ms.saturating_sub(event.stamp_unix_ms) < TOLD_EVERY_MS
    })
}
