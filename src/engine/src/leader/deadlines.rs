//! How long an owner may take to begin and to stop (R14). A deadline opens nothing: it withdraws what has not begun,
//! asks back what has, and ends the session of whoever says nothing of its stop, after which evidence decides.
//!
//! Counted on this leader's clock from when it first saw the state of affairs applied; a new leader counts anew, since
//! agents have to find it first. An owner that tells its trouble is given the time that agents give themselves.

use super::draft::Draft;
use super::placement::Placement;
use super::{View, Wake};
use crate::apply::Outcome;
use crate::clock::{Moment, Timing};
use crate::command::{Command, Difficulty, RelinquishCause};
use crate::ids::{NodeId, ResourceId, Token};
use crate::plant::{self, Bug};
use crate::spec::Isolation;
use crate::state::{Holding, Ownership, Resource, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest patience of an agent with what fails to start, in ttl (64), and some: by then it has handed it back.
const TROUBLED_TTLS: u32 = 80;

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// That the owner acts.
    Start,
    /// That it has stopped.
    Stop,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    token: Token,
    stage: Stage,
    since: Moment,
}

/// What is waited for, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    waits: BTreeMap<ResourceId, Wait>,
}

impl Deadlines {
    /// Proposes what follows from deadlines that have passed; the nodes whose sessions are to end.
    pub(super) fn plan(
        &mut self,
        view: &View<'_>,
        draft: &mut Draft<'_>,
        placement: &mut Placement,
        wake: &mut Wake,
    ) -> BTreeSet<NodeId> {
        self.note(view);
        let mut mute = BTreeSet::new();
        for (id, wait) in &self.waits {
            let Some(resource) = draft.state().resources.get(id).cloned() else {
                continue;
            };
            let Some(holding) = resource.ownership.holding() else {
                continue;
            };
            if holding.token != wait.token {
                continue;
            }
            let patience = patience(&view.judged(holding.node), &resource, holding, wait.stage);
            let due = wait.since + patience;
            if view.now < due {
                wake.at(due);
                continue;
            }
            let acted = holding.may_have_acted() && !plant::is(Bug::WithdrawBegun);
            match (wait.stage, acted, holding.isolation) {
                // Planted: as before there were deadlines.
                (Stage::Start, _, _) if plant::is(Bug::GrantToDeaf) => {}
                (Stage::Start | Stage::Stop, false, _) => {
                    let withdraw = Command::Withdraw {
                        resource: id.clone(),
                        token: holding.token,
                    };
                    if draft.propose(withdraw) == Outcome::Done {
                        placement.avoid(view, id, holding.node);
                    }
                }
                (Stage::Start, true, _) => ask_back(view, draft, placement, id, holding),
                // What cannot be proven stopped is fenced (R7); that needs no end of the session.
                (Stage::Stop, true, Isolation::Stonith) => {
                    accuse(draft, &resource, holding, patience);
                }
                (Stage::Stop, true, Isolation::Lease | Isolation::Watchdog) => {
                    if !plant::is(Bug::WaitForMute) {
                        mute.insert(holding.node);
                    }
                }
            }
        }
        mute
    }

    fn note(&mut self, view: &View<'_>) {
        let resources = &view.state.resources;
        self.waits.retain(|id, wait| {
            let now = resources.get(id).and_then(awaited);
            now == Some((wait.token, wait.stage))
        });
        for (id, resource) in resources {
            if let Some((token, stage)) = awaited(resource) {
                let since = view.now;
                self.waits.entry(id.clone()).or_insert(Wait {
                    token,
                    stage,
                    since,
                });
            }
        }
    }
}

fn awaited(resource: &Resource) -> Option<(Token, Stage)> {
    match &resource.ownership {
        Ownership::Granted(holding) => Some((holding.token, Stage::Start)),
        Ownership::Releasing(holding, _) => Some((holding.token, Stage::Stop)),
        Ownership::Unowned | Ownership::Active(_) | Ownership::Orphaned(_) => None,
    }
}

/// An owner's own word about this holding.
fn has_said(resource: &Resource, holding: &Holding, difficulty: Difficulty) -> bool {
    resource
        .trouble
        .as_ref()
        .is_some_and(|trouble| trouble.token == holding.token && trouble.difficulty == difficulty)
}

fn patience(timing: &Timing, resource: &Resource, holding: &Holding, stage: Stage) -> Duration {
    // After a change of leader, or a broken stream, an agent needs an election time or two to be heard again.
    let reach = timing.election_max * 2;
    match stage {
        Stage::Start if has_said(resource, holding, Difficulty::Start) => {
            timing.ttl * TROUBLED_TTLS
        }
        Stage::Start => timing.stop + timing.ttl * 4 + reach,
        Stage::Stop if holding.isolation == Isolation::Stonith => timing.stop * 4 + timing.ttl * 2,
        // It is not mute; but nobody is kept waiting for ever.
        Stage::Stop if has_said(resource, holding, Difficulty::Stop) => timing.ttl * TROUBLED_TTLS,
        Stage::Stop => timing.stop * 4 + timing.ttl * 2 + reach,
    }
}

fn ask_back(
    view: &View<'_>,
    draft: &mut Draft<'_>,
    placement: &mut Placement,
    id: &ResourceId,
    holding: &Holding,
) {
    let session = draft.state().nodes.get(&holding.node);
    let open = session.is_some_and(|node| matches!(node.session, Session::Open { .. }));
    if !open {
        return;
    }
    let relinquish = Command::Relinquish {
        resource: id.clone(),
        token: holding.token,
        cause: RelinquishCause::Overdue,
    };
    if draft.propose(relinquish) == Outcome::Done {
        placement.avoid(view, id, holding.node);
    }
}

fn accuse(draft: &mut Draft<'_>, resource: &Resource, holding: &Holding, patience: Duration) {
    if has_said(resource, holding, Difficulty::Stop) {
        return;
    }
    draft.propose(Command::Troubled {
        resource: resource.id.clone(),
        token: holding.token,
        incarnation: holding.incarnation,
        difficulty: Difficulty::Stop,
        why: format!("no word of its stop within {} ms", patience.as_millis()),
    });
}
