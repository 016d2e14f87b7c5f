//! What owners report, until it is in the log: acting, or stopped for good (R6).
//!
//! Believes nothing by itself: `apply` binds each report to token and life. A report is kept until the
//! state shows it or can show it no more, so a lost proposal loses no report.

use super::draft::Draft;
use super::placement::Placement;
use super::{Report, View};
use crate::apply::Outcome;
use crate::command::{Command, Difficulty};
use crate::ids::{Incarnation, NodeId, ResourceId, Token};
use crate::state::{ClusterState, Holding, Node, Ownership};
use std::collections::BTreeMap;

/// The newest report of each kind for each resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    activated: BTreeMap<ResourceId, Command>,
    released: BTreeMap<ResourceId, Command>,
    armed: BTreeMap<ResourceId, Command>,
    troubled: BTreeMap<ResourceId, Command>,
    retimed: BTreeMap<NodeId, Command>,
}

impl Reports {
    /// Keeps a report; anything but the two commands that owners may send is dropped.
    pub(super) fn on_report(&mut self, report: Report) {
        match report {
            Report::Activated(command) => {
                if let Command::Activated { resource, .. } = &command {
                    self.activated.insert(resource.clone(), command);
                }
            }
            Report::Released(command) => {
                if let Command::Released { resource, .. } = &command {
                    self.released.insert(resource.clone(), command);
                }
            }
            Report::Armed(command) => {
                if let Command::WatchdogArmed { resource, .. } = &command {
                    self.armed.insert(resource.clone(), command);
                }
            }
            Report::Troubled(command) => {
                if let Command::Troubled { resource, .. } = &command {
                    self.troubled.insert(resource.clone(), command);
                }
            }
            Report::Retimed(command) => {
                if let Command::Retimed { node, .. } = &command {
                    self.retimed.insert(*node, command);
                }
            }
        }
    }

    /// Proposes what the state does not show yet.
    pub(super) fn plan(
        &mut self,
        view: &View<'_>,
        draft: &mut Draft<'_>,
        busy: bool,
        placement: &mut Placement,
    ) {
        // In the order in which an owner says them, so that they can travel in one entry.
        for kept in [&mut self.armed, &mut self.activated, &mut self.troubled] {
            kept.retain(|id, command| !is_shown(view.state, id, command));
            kept.retain(|id, command| {
                // Already in flight.
                if is_shown(draft.state(), id, command) {
                    return true;
                }
                keep(&draft.propose(command.clone()), busy)
            });
        }
        self.retimed.retain(|id, command| {
            !counts_by(view.state, *id, command)
                && (counts_by(draft.state(), *id, command)
                    || keep(&draft.propose(command.clone()), busy))
        });
        self.released.retain(|id, command| {
            let outcome = draft.propose(command.clone());
            if outcome == Outcome::Done {
                placement.note_release(view, id);
            }
            keep(&outcome, busy)
        });
    }
}

/// An accepted report is kept until it is refused with nothing in flight: then the state has moved on.
fn keep(outcome: &Outcome, busy: bool) -> bool {
    match outcome {
        Outcome::Refused(_) => busy,
        Outcome::Done
        | Outcome::Registered(_)
        | Outcome::Admitted(_)
        | Outcome::Granted(_)
        | Outcome::Ordered(_)
        | Outcome::Written(_) => true,
    }
}

/// Whether the state already holds that the agent counts by what it says.
fn counts_by(state: &ClusterState, node: NodeId, command: &Command) -> bool {
    let Command::Retimed { generation, .. } = command else {
        return false;
    };
    let terms = state.nodes.get(&node).and_then(|node| node.terms);
    terms.is_some_and(|terms| terms.generation == *generation)
}

/// Whether the state already says what a report says, or more.
fn is_shown(state: &ClusterState, id: &ResourceId, command: &Command) -> bool {
    let Some(resource) = state.resources.get(id) else {
        return false;
    };
    let held = |holding: &Holding, token: &Token, incarnation: &Incarnation| {
        holding.token == *token && holding.incarnation == *incarnation
    };
    match (command, &resource.ownership) {
        (
            Command::Activated {
                token,
                incarnation,
                guard,
                address_life,
                ..
            },
            Ownership::Active(holding) | Ownership::Releasing(holding, _),
        ) => {
            // A lifetime beyond the session's is taken for the session's.
            let longest = state.nodes.get(&holding.node).map(Node::judged);
            let life = longest.map_or(*address_life, |judged| {
                judged.address_life.min(*address_life)
            });
            held(holding, token, incarnation)
                && holding.guard == *guard
                && holding.address_life >= life
        }
        (
            Command::WatchdogArmed {
                token,
                incarnation,
                period,
                ..
            },
            Ownership::Granted(holding)
            | Ownership::Active(holding)
            | Ownership::Releasing(holding, _),
        ) => held(holding, token, incarnation) && holding.watchdog >= Some(*period),
        (
            Command::Troubled {
                token,
                difficulty,
                why,
                ..
            },
            _,
        ) => resource.trouble.as_ref().is_some_and(|trouble| {
            trouble.token == *token
                && (trouble.difficulty == Difficulty::Stop
                    || trouble.difficulty == *difficulty && trouble.why == *why)
        }),
        (_, _) => false,
    }
}
