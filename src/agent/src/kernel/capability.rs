//! The capabilities without which an address cannot be carried: asked once, at the start.
//!
//! An agent that lacks one would be granted addresses that it then cannot announce. Raises nothing and
//! drops nothing.

use rustix::thread::{CapabilitySet, capabilities};
use std::io;

/// What the agent does with each capability that it cannot do without (capabilities(7)).
const NEEDED: [(CapabilitySet, &str, &str); 2] = [
    (
        CapabilitySet::NET_ADMIN,
        "CAP_NET_ADMIN",
        "add addresses and guard them",
    ),
    (
        CapabilitySet::NET_RAW,
        "CAP_NET_RAW",
        "announce addresses and hear who else claims them",
    ),
];

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// The process lacks it.
    #[error("haft-agent lacks {name}, without which it cannot {purpose}")]
    Missing {
        /// As capabilities(7) spells it.
        name: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// The kernel does not say which it has.
    #[error("cannot read this process's capabilities")]
    Unreadable(#[from] io::Error),
}

/// Refuses a thread that lacks a capability.
///
/// # Errors
/// Names the first one that is missing.
pub fn require() -> Result<(), CapabilityError> {
    let held = capabilities(None).map_err(io::Error::from)?.effective;
    missing(held).map_or(Ok(()), |(name, purpose)| {
        Err(CapabilityError::Missing { name, purpose })
    })
}

fn missing(held: CapabilitySet) -> Option<(&'static str, &'static str)> {
    NEEDED
        .iter()
        .find(|(needed, ..)| !held.contains(*needed))
        .map(|(_, name, purpose)| (*name, *purpose))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let all = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
        assert_eq!(missing(all), None);
        let named = |held| missing(held).map(|(name, _)| name);
        assert_eq!(named(CapabilitySet::NET_ADMIN), Some("CAP_NET_RAW"));
        assert_eq!(named(CapabilitySet::NET_RAW), Some("CAP_NET_ADMIN"));
    }
}
