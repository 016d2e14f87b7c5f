//! No storm: an order is tried at a pace that a device and its administrator can bear, however often leadership changes.
//!
//! A leader pauses between tries and adopts each try once; tries that come faster mean that leaders hand an order round
//! without end, and every try fills the log.
//! Seen to fail before the fix with orders against two voters, whose machines kept offering
//! each other leadership.

use super::Violation;
use crate::clock::{SECOND, TrueTime};
use haft_engine::ids::OrderId;
use haft_engine::state::ClusterState;
use std::collections::BTreeMap;

/// Name in reports.
pub(crate) const NAME: &str = "calm";

/// Tries that elections, crashes and levels may cost at once.
const AT_ONCE: u64 = 30;

/// Since when each order is there.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    since: BTreeMap<OrderId, TrueTime>,
}

impl Pace {
    /// Looks at the orders after an entry.
    pub(crate) fn check(&mut self, now: TrueTime, state: &ClusterState) -> Option<Violation> {
        self.since.retain(|id, _| state.orders.contains_key(id));
        for order in state.orders.values() {
            let since = *self.since.entry(order.id).or_insert(now);
            let seconds = (now - since) / SECOND;
            if u64::from(order.attempts) > AT_ONCE + seconds {
                return Some(Violation {
                    invariant: NAME,
                    at: now,
                    seen: format!(
                        "order {} against node {} was tried {} times within {seconds} s",
                        order.id, order.node, order.attempts
                    ),
                });
            }
        }
        None
    }
}
