//! What owners report, until it is in the log: acting, or stopped for good (R6).
//!
//! Believes nothing by itself: `apply` binds each report to token and life. A report is kept until the
//! state shows it or can show it no more, so a lost proposal loses no report. Texts are cut here as `apply` cuts
//! them, so that a report and what the state shows of it can be compared.

use super::draft::{Draft, Overflow};
use super::placement::Placement;
use super::{Report, View};
use crate::apply::Outcome;
use crate::command::{Command, Difficulty};
use crate::ids::{Incarnation, NodeId, ResourceId, Token};
use crate::state::{ClusterState, Holding, Node, Ownership, Progress};
use crate::text::{WHY_MAX, bounded};
use std::collections::BTreeMap;

/// The newest report of each kind of one resource, in the order in which an owner says them.
#[derive(Clone, Debug, Default)]
struct Said {
    armed: Option<Command>,
    begun: Option<Command>,
    activated: Option<Command>,
    troubled: Option<Command>,
    released: Option<Command>,
}

impl Said {
    fn is_empty(&self) -> bool {
        let kinds = [
            &self.armed,
            &self.begun,
            &self.activated,
            &self.troubled,
            &self.released,
        ];
        kinds.into_iter().all(Option::is_none)
    }
}

/// What owners have said.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    said: BTreeMap<ResourceId, Said>,
    retimed: BTreeMap<NodeId, Command>,
}

impl Reports {
    /// Keeps a report; anything but what its kind carries is dropped, and so is what concerns nothing that exists.
    pub(super) fn on_report(&mut self, state: &ClusterState, report: Report) {
        match report {
            Report::Activated(command) => {
                if let Command::Activated { resource, .. } = &command
                    && let Some(said) = self.said_of(state, resource)
                {
                    said.activated = Some(command);
                }
            }
            Report::Released(command) => {
                if let Command::Released { resource, .. } = &command
                    && let Some(said) = self.said_of(state, resource)
                {
                    said.released = Some(command);
                }
            }
            Report::Armed(command) => {
                if let Command::WatchdogArmed { resource, .. } = &command
                    && let Some(said) = self.said_of(state, resource)
                {
                    said.armed = Some(command);
                }
            }
            Report::Begun(command) => {
                if let Command::Begun { resource, .. } = &command
                    && let Some(said) = self.said_of(state, resource)
                {
                    said.begun = Some(command);
                }
            }
            Report::Troubled(mut command) => {
                if let Command::Troubled { resource, why, .. } = &mut command
                    && let Some(said) = self.said_of(state, resource)
                {
                    *why = bounded(why, WHY_MAX);
                    said.troubled = Some(command);
                }
            }
            Report::Retimed(command) => {
                if let Command::Retimed { node, .. } = &command {
                    self.retimed.insert(*node, command);
                }
            }
        }
    }

    fn said_of(&mut self, state: &ClusterState, resource: &ResourceId) -> Option<&mut Said> {
        let exists = state.resources.contains_key(resource);
        exists.then(|| self.said.entry(resource.clone()).or_default())
    }

    /// Proposes what the state does not show yet: of those first that have let go, since others wait for that.
    pub(super) fn plan(
        &mut self,
        view: &View<'_>,
        draft: &mut Draft<'_>,
        busy: bool,
        placement: &mut Placement,
    ) {
        let (first, rest): (Vec<_>, Vec<_>) = self
            .said
            .iter_mut()
            .partition(|(_, said)| said.released.is_some());
        for (id, said) in first.into_iter().chain(rest) {
            // Together, so that they can travel in one entry.
            for kept in [
                &mut said.armed,
                &mut said.begun,
                &mut said.activated,
                &mut said.troubled,
            ] {
                if kept
                    .as_ref()
                    .is_some_and(|command| !is_wanted(view, draft, id, command, busy))
                {
                    *kept = None;
                }
            }
            let Some(command) = &said.released else {
                continue;
            };
            let outcome = draft.propose(command.clone());
            if outcome == Outcome::Done {
                placement.note_release(view, id);
            }
            if !keep(&outcome, busy, draft) {
                said.released = None;
            }
        }
        self.said.retain(|_, said| !said.is_empty());
        self.retimed.retain(|id, command| {
            if counts_by(view.state, *id, command) {
                return false;
            }
            if counts_by(draft.state(), *id, command) {
                return true;
            }
            let outcome = draft.propose(command.clone());
            keep(&outcome, busy, draft)
        });
    }
}

/// Proposes a report unless the state shows it or an entry in flight carries it; whether it is to be kept.
fn is_wanted(
    view: &View<'_>,
    draft: &mut Draft<'_>,
    id: &ResourceId,
    command: &Command,
    busy: bool,
) -> bool {
    if is_shown(view.state, id, command) {
        return false;
    }
    if is_shown(draft.state(), id, command) {
        return true;
    }
    let outcome = draft.propose(command.clone());
    keep(&outcome, busy, draft)
}

/// An accepted report is kept until it is refused with nothing in flight: then the state has moved on.
fn keep(outcome: &Outcome, busy: bool, draft: &Draft<'_>) -> bool {
    match outcome {
        Outcome::Refused(_) => busy || draft.overflow() == Overflow::Yes,
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
            Command::Begun {
                token, incarnation, ..
            },
            Ownership::Granted(holding)
            | Ownership::Active(holding)
            | Ownership::Releasing(holding, _),
        ) => held(holding, token, incarnation) && holding.progress == Progress::Begun,
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
