//! Intents that this leader has proposed together with their first try: since when that try's time counts.

use crate::clock::Moment;
use crate::ids::{Incarnation, LogIndex, NodeId, OrderId};
use crate::leader::View;
use std::time::Duration;

/// A proposal that has not been applied for so long is not counted on any more.
const PROPOSAL_LIFE: Duration = Duration::from_secs(30);

/// When this machine proposed an intent with a first attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intent {
    /// What was applied then: its order comes after that.
    applied: LogIndex,
    proposed: Moment,
}

impl Intent {
    /// At this moment.
    pub(super) fn new(view: &View<'_>) -> Intent {
        Intent {
            applied: view.state.applied,
            proposed: view.now,
        }
    }

    /// When it was proposed.
    pub(super) fn proposed(&self) -> Moment {
        self.proposed
    }

    /// Whether this proposal may be the one that opens the next order against that life: it has opened none, and has not
    /// been on its way for longer than any proposal is.
    pub(super) fn may_come(&self, view: &View<'_>, (node, life): (NodeId, Incarnation)) -> bool {
        let mut later = view.state.orders.range(OrderId(self.applied.0 + 1)..);
        let opened = later.any(|(_, order)| (order.node, order.incarnation) == (node, life));
        !opened && view.now.since(self.proposed) < PROPOSAL_LIFE
    }
}
