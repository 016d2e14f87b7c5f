//! Events: what people are told, written by `apply` so that every coordinator tells the same story.
//!
//! Reasons are stable CamelCase words that scripts may match; messages may change.

use super::At;
use crate::state::{ClusterState, EVENTS_MAX, Event, Severity};
use std::fmt::Display;

/// Notes something that went as expected.
pub(super) fn note(
    state: &mut ClusterState,
    at: At,
    reason: &str,
    subject: impl Display,
    message: String,
) {
    push(state, at, Severity::Normal, reason, subject, message);
}

/// Notes something that someone should look at.
pub(super) fn warn(
    state: &mut ClusterState,
    at: At,
    reason: &str,
    subject: impl Display,
    message: String,
) {
    push(state, at, Severity::Warning, reason, subject, message);
}

fn push(
    state: &mut ClusterState,
    at: At,
    severity: Severity,
    reason: &str,
    subject: impl Display,
    message: String,
) {
    while state.events.len() >= EVENTS_MAX {
        state.events.pop_front();
    }
    state.events.push_back(Event {
        index: at.index,
        stamp_unix_ms: at.stamp_unix_ms,
        severity,
        reason: reason.to_owned(),
        subject: subject.to_string(),
        message,
    });
}
