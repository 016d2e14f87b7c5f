//! The try that will come if a session that is being closed ends: said once for each closing, so that what changes
//! nothing can be done before the order.
//!
//! It is bounded: where many sessions close at once, it is this machine that is deaf, or a storm that has other worries.
//! A closing may still be taken back, and the order decides anew whether, how and by whom the machine is isolated:
//! nothing here is one.

use super::levels::{Purpose, first_level, level_at};
use crate::ids::{Incarnation, LogIndex, NodeId};
use crate::leader::{Foreseen, Output, View};
use crate::spec::Isolation;
use crate::state::Session;
use std::collections::{BTreeMap, BTreeSet};

/// Closings in force above which nothing is foreseen.
const CLOSINGS_MAX: usize = 4;

/// Closings in force that something has been said of, or had not to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Foresight(BTreeSet<LogIndex>);

impl Foresight {
    /// Says what newly closing sessions are likely to lead to.
    pub(super) fn look(&mut self, view: &View<'_>, outputs: &mut Vec<Output>) {
        let nodes = view.state.nodes.values();
        let closings: BTreeMap<LogIndex, (NodeId, Incarnation)> = nodes
            .filter_map(|node| match node.session {
                Session::Closing {
                    incarnation,
                    closing,
                } => Some((closing, (node.id, incarnation))),
                Session::Never | Session::Open { .. } | Session::Ended { .. } => None,
            })
            .collect();
        self.0.retain(|closing| closings.contains_key(closing));
        let few = closings.len() <= CLOSINGS_MAX;
        for (closing, node) in closings {
            if self.0.insert(closing) && few {
                outputs.extend(foresee(view, node).map(Output::Foresee));
            }
        }
    }
}

fn foresee(view: &View<'_>, (node, incarnation): (NodeId, Incarnation)) -> Option<Foreseen> {
    let state = view.state;
    let ordered = |order: &crate::state::FenceOrder| order.phase.is_open() && order.node == node;
    let leaves = state.resources.values().any(|resource| {
        resource.ownership.holding().is_some_and(|holding| {
            holding.node == node
                && holding.isolation == Isolation::Stonith
                && holding.may_have_acted()
        })
    });
    if node == view.own || !leaves || state.orders.values().any(ordered) {
        return None;
    }
    let number = first_level(state, node, Purpose::Isolate)?;
    let level = level_at(state, node, number)?;
    let device = level.devices.first()?;
    let waits = level.delay + state.devices.get(device)?.spec.delay;
    // Who waits before it acts has time enough.
    waits.is_zero().then(|| Foreseen {
        node,
        incarnation,
        device: device.clone(),
        until: view.now + view.judged(node).ttl * 2,
    })
}
