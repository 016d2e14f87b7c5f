//! Leadership away from owners (R9), so that one crash does not lose both the owner and the leader.
//!
//! The one exception to quiet: an order to power off this leader's own machine is better executed by another, so
//! leadership is offered away before the first attempt, to one voter after the other, whatever they own, unless an order
//! aims at them as well.
//!
//! Else only while everything is quiet, only to a live voter whose node owns nothing, at most once a minute.
//! Whether that voter is up to date is Raft's knowledge: it is told by `Leader::set_peers`, and the driver
//! refuses a transfer to one that lags.

use super::{Output, View, Wake};
use crate::clock::Moment;
use crate::command::FenceAction;
use crate::ids::NodeId;
use crate::plant::{self, Bug};
use crate::state::{ClusterState, Ownership, Session};
use std::time::Duration;

/// Least time between two transfers in quiet (R9).
const TRANSFER_PAUSE: Duration = Duration::from_secs(60);

/// Time a new leader waits first, so that sessions and orders have shown themselves.
const SETTLE: Duration = Duration::from_secs(2);

/// Whether a fence order aims at the machine on which this leader runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// No.
    Elsewhere,
    /// Yes: it should be executed by another coordinator.
    OwnMachine,
}

/// When leadership was last offered, and to whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Steering {
    /// In quiet.
    last: Option<Moment>,
    /// Because of an order against the own machine. Counted apart: an offer in quiet may have come to nothing, and
    /// the order cannot wait for a minute.
    escape: Option<(Moment, NodeId)>,
}

impl Steering {
    /// Hands leadership on if every condition holds.
    pub(super) fn plan(
        &mut self,
        view: &View<'_>,
        aim: Aim,
        outputs: &mut Vec<Output>,
        wake: &mut Wake,
    ) {
        match aim {
            Aim::OwnMachine => self.escape(view, outputs, wake),
            Aim::Elsewhere => self.withdraw(view, outputs, wake),
        }
    }

    fn withdraw(&mut self, view: &View<'_>, outputs: &mut Vec<Output>, wake: &mut Wake) {
        if !owns(view.state, view.own) || !is_quiet(view) {
            return;
        }
        let ready = match self.last {
            Some(last) => last + TRANSFER_PAUSE,
            None => view.started + SETTLE,
        };
        if view.now < ready {
            wake.at(ready);
            return;
        }
        let target = candidates(view).find(|id| !owns(view.state, *id));
        if let Some(target) = target {
            self.last = Some(view.now);
            outputs.push(Output::TransferTo(target));
        }
    }

    /// Offers again once an offer should have shown, and to somebody else if there is somebody.
    fn escape(&mut self, view: &View<'_>, outputs: &mut Vec<Output>, wake: &mut Wake) {
        if let Some((at, _)) = self.escape {
            let ready = at + view.timing.election_max;
            if view.now < ready {
                wake.at(ready);
                return;
            }
        }
        let tried = self.escape.map(|(_, id)| id);
        let best = candidates(view)
            .filter(|id| !aimed_at(view.state, *id) || plant::is(Bug::EscapeToVictim))
            .min_by_key(|id| (tried == Some(*id), owns(view.state, *id)));
        if let Some(target) = best {
            self.escape = Some((view.now, target));
            wake.at(view.now + view.timing.election_max);
            outputs.push(Output::TransferTo(target));
        }
    }
}

/// Whether an open order to power off aims at the node's machine: its coordinator would hand leadership back at once.
pub(super) fn aimed_at(state: &ClusterState, node: NodeId) -> bool {
    state.orders.values().any(|order| {
        order.phase.is_open() && order.action == FenceAction::Off && order.node == node
    })
}

fn owns(state: &ClusterState, node: NodeId) -> bool {
    state.resources.values().any(|resource| {
        resource
            .ownership
            .holding()
            .is_some_and(|holding| holding.node == node)
    })
}

/// Nobody suspect, nothing moving, no order open, membership not joint.
fn is_quiet(view: &View<'_>) -> bool {
    let sessions = view.state.nodes.values().all(|node| match node.session {
        Session::Open { .. } => !view.is_suspect(node.id),
        Session::Closing { .. } => false,
        Session::Never | Session::Ended { .. } => true,
    });
    let resources = view.state.resources.values().all(|resource| {
        let settled = match resource.ownership {
            Ownership::Unowned | Ownership::Active(_) => true,
            Ownership::Granted(_) | Ownership::Releasing(..) | Ownership::Orphaned(_) => false,
        };
        settled && resource.move_to.is_none() && !resource.deleting
    });
    let orders = view
        .state
        .orders
        .values()
        .all(|order| !order.phase.is_open());
    sessions && resources && orders && view.state.membership.sets.len() == 1
}

/// Live voters but this one.
fn candidates<'a>(view: &'a View<'_>) -> impl Iterator<Item = NodeId> + 'a {
    view.state.membership.all().into_iter().filter(|id| {
        let beats = matches!(
            view.state.nodes.get(id).map(|node| node.session),
            Some(Session::Open { .. })
        ) && !view.is_suspect(*id);
        *id != view.own && beats && view.peers.is_none_or(|live| live.contains(id))
    })
}
