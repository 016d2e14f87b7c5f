//! Quarantine spares most: an entry puts no node into quarantine beyond a quarter of the nodes, or beyond two below a
//! majority of the voters, but for one; and never the last one with an open session (R5a, hazards R28).
//!
//! Reckoned anew here, from the members and the rule's words. What is lost or cordoned after that is no fault of it.
//! Seen to fail with: QuarantineAll.

use super::Violation;
use crate::clock::TrueTime;
use haft_engine::state::{ClusterState, Node, Session};

/// Name in reports.
pub(crate) const NAME: &str = "quarantine-spares";

/// Looks at the state that an entry has made; `before` were in quarantine.
pub(crate) fn check(now: TrueTime, state: &ClusterState, before: u64) -> Option<Violation> {
    let quarantined = state.nodes.values().filter(|node| node.quarantined).count() as u64;
    if quarantined <= before {
        return None;
    }
    let nodes = state.nodes.len() as u64;
    let majority = state.membership.all().len() as u64 / 2 + 1;
    let most = (nodes / 4).min(majority.saturating_sub(2)).max(1);
    let serves = |node: &&Node| !node.quarantined && matches!(node.session, Session::Open { .. });
    let why = if quarantined > most {
        format!("{quarantined} of {nodes} nodes are in quarantine, more than {most}")
    } else if !state.resources.is_empty() && state.nodes.values().filter(serves).count() == 0 {
        "the last node with a session was put into quarantine".to_owned()
    } else {
        return None;
    };
    Some(Violation {
        invariant: NAME,
        at: now,
        seen: why,
    })
}
