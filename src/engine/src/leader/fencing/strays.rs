//! Tries that this leader did not begin: their executors may act until their deadlines (R5, R15).
//!
//! Each counts from when this machine learned of it, on its own clock. Says nothing of what they have done.

use super::{ANSWER_GRACE, is_running};
use crate::clock::{Moment, lengthened};
use crate::command::{Command, FenceAction};
use crate::ids::{NodeId, OrderId};
use crate::leader::draft::Draft;
use crate::leader::{View, Wake};
use crate::state::{FenceOrder, OrderPhase};
use std::collections::BTreeMap;
use std::time::Duration;

/// What this machine has learned of and not begun.
#[derive(Clone, Debug, Default)]
pub(super) struct Strays(BTreeMap<(OrderId, u32), Stray>);

#[derive(Clone, Copy, Debug)]
struct Stray {
    node: NodeId,
    action: FenceAction,
    /// Its total time.
    deadline: Duration,
    learned: Moment,
    /// When its executor can no longer act.
    until: Moment,
}

impl Strays {
    /// Learns of tries; forgets those that the log has no more. `mine` says of a try whether this machine began it.
    pub(super) fn note(
        &mut self,
        view: &View<'_>,
        wake: &mut Wake,
        mine: impl Fn(&FenceOrder, u32) -> bool,
    ) {
        let mut found = BTreeMap::new();
        for order in view.state.orders.values() {
            let running = match order.phase {
                OrderPhase::Running {
                    attempt,
                    executor,
                    deadline,
                    ..
                } if executor != view.own || !mine(order, attempt) => Some((attempt, deadline)),
                OrderPhase::Running { .. }
                | OrderPhase::Intended
                | OrderPhase::Held(_)
                | OrderPhase::Waiting { .. }
                | OrderPhase::Confirmed
                | OrderPhase::Cancelled(_) => None,
            };
            let superseded = order.superseded.iter();
            let superseded = superseded.map(|kept| (kept.attempt, kept.deadline));
            for (attempt, deadline) in running.into_iter().chain(superseded) {
                let known = self.0.get(&(order.id, attempt));
                // One that stands for two by now is counted anew.
                let known = known.filter(|known| known.deadline >= deadline);
                let stray = known.copied().unwrap_or(Stray {
                    node: order.node,
                    action: order.action,
                    deadline,
                    learned: view.now,
                    until: view.now + lengthened(deadline) + ANSWER_GRACE,
                });
                wake.at(stray.until.max(view.now));
                found.insert((order.id, attempt), stray);
            }
        }
        self.0 = found;
    }

    /// Until when one of them may still act on this machine.
    pub(super) fn until(&self, node: NodeId) -> Option<Moment> {
        let of_node = self.0.values().filter(|stray| stray.node == node);
        of_node.map(|stray| stray.until).max()
    }

    /// Until when one of them may still switch this machine off.
    pub(super) fn off_until(&self, node: NodeId) -> Option<Moment> {
        let of_node = self.0.values();
        let of_node =
            of_node.filter(|stray| stray.node == node && stray.action == FenceAction::Off);
        of_node.map(|stray| stray.until).max()
    }

    /// Has the log say which superseded ones are over; returns those over that nobody has taken the place of.
    pub(super) fn overdue(&self, view: &View<'_>, draft: &mut Draft<'_>) -> Vec<(OrderId, u32)> {
        let mut unanswered = Vec::new();
        for ((id, attempt), stray) in &self.0 {
            if view.now < stray.until {
                continue;
            }
            if is_running(view.state, *id, *attempt) {
                unanswered.push((*id, *attempt));
                continue;
            }
            draft.propose(Command::FenceTryOver {
                order: *id,
                attempt: *attempt,
                waited: view.now.since(stray.learned),
            });
        }
        unanswered
    }
}
