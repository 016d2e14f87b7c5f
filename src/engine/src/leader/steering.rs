//! Leadership away from owners (R9), so that one crash does not lose both the owner and the leader.
//!
//! The one exception to quiet: an order to power off this leader's own machine is better executed by another,
//! so leadership is offered away before the first attempt.
//!
//! Only while everything is quiet, only to a live voter whose node owns nothing, at most once a minute.
//! Whether that voter is up to date is Raft's knowledge: it is told by `Leader::set_peers`, and the driver
//! refuses a transfer to one that lags.

use super::{Output, View, Wake};
use crate::clock::Moment;
use crate::ids::NodeId;
use crate::state::{ClusterState, Ownership, Session};
use std::time::Duration;

/// Least time between two transfers (R9).
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

/// When leadership was last handed on.
#[derive(Clone, Debug, Default)]
pub(super) struct Steering {
    last: Option<Moment>,
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
        let wanted = match aim {
            Aim::OwnMachine => true,
            Aim::Elsewhere => owns(view.state, view.own) && is_quiet(view),
        };
        if !wanted {
            return;
        }
        let ready = match (self.last, aim) {
            (Some(last), _) => last + TRANSFER_PAUSE,
            (None, Aim::Elsewhere) => view.started + SETTLE,
            (None, Aim::OwnMachine) => view.started,
        };
        if view.now < ready {
            wake.at(ready);
            return;
        }
        if let Some(target) = target(view) {
            self.last = Some(view.now);
            outputs.push(Output::TransferTo(target));
        }
    }
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

/// A live voter whose node owns nothing.
fn target(view: &View<'_>) -> Option<NodeId> {
    view.state
        .membership
        .all()
        .into_iter()
        .filter(|id| *id != view.own && !owns(view.state, *id))
        .find(|id| {
            let beats = matches!(
                view.state.nodes.get(id).map(|node| node.session),
                Some(Session::Open { .. })
            ) && !view.is_suspect(*id);
            beats && view.peers.is_none_or(|live| live.contains(id))
        })
}
