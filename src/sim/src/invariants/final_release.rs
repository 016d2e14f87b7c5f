//! A release is final: once an agent has said that it has stopped under a token, no kernel acts under
//! that token or a lower one of that resource on that machine again, and nothing answers under it.
//!
//! Seen to fail with: ActAfterRelease.

use super::Violation;
use crate::clock::TrueTime;
use haft_engine::ids::{NodeId, ResourceId, Token};
use std::collections::BTreeMap;

/// Name in reports.
pub(crate) const NAME: &str = "final-release";

/// The highest token that each node has released of each resource.
#[derive(Debug, Default)]
pub(crate) struct Released {
    highest: BTreeMap<(NodeId, ResourceId), Token>,
}

impl Released {
    /// The word was said by this node.
    pub(crate) fn record(&mut self, node: NodeId, resource: ResourceId, token: Token) {
        let highest = self.highest.entry((node, resource)).or_insert(token);
        *highest = (*highest).max(token);
    }

    /// Whether this node said it of this token or a higher one.
    pub(crate) fn covers(&self, node: NodeId, resource: &ResourceId, token: Token) -> bool {
        self.highest
            .get(&(node, resource.clone()))
            .is_some_and(|highest| *highest >= token)
    }

    /// A kernel has just acted for `resource` under `token`.
    pub(crate) fn on_acted(
        &self,
        now: TrueTime,
        node: NodeId,
        resource: &ResourceId,
        token: Token,
    ) -> Option<Violation> {
        self.covers(node, resource, token).then(|| Violation {
            invariant: NAME,
            at: now,
            seen: format!("node {node} acts for {resource} under {token} after its release"),
        })
    }
}
