//! Who else claims our addresses on the wire, as owners hear it, until it is in the log.
//!
//! A rival is in the log from its first claim until nobody has reported it for [`SILENT`]; at most one entry
//! for each resource in [`EVERY`], whoever takes turns in claiming it. Moves nothing.

use super::draft::Draft;
use super::{View, Wake};
use crate::clock::Moment;
use crate::command::Command;
use crate::ids::{NodeId, ResourceId};
use crate::machine::Claim;
use std::collections::BTreeMap;
use std::time::Duration;

/// A rival that nobody has reported for so long is gone; agents repeat their reports four times as often.
const SILENT: Duration = Duration::from_secs(120);
/// Between two entries about one resource.
const EVERY: Duration = Duration::from_secs(1);

/// The newest report of each resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Rivals {
    heard: BTreeMap<ResourceId, (NodeId, Option<Claim>, Moment)>,
    said: BTreeMap<ResourceId, Moment>,
}

impl Rivals {
    /// Takes a report.
    pub(super) fn on_report(
        &mut self,
        now: Moment,
        node: NodeId,
        resource: ResourceId,
        claim: Option<Claim>,
    ) {
        self.heard.insert(resource, (node, claim, now));
    }

    /// Proposes what the log does not say yet.
    pub(super) fn plan(&mut self, view: &View<'_>, draft: &mut Draft<'_>, wake: &mut Wake) {
        self.said.retain(|_, at| view.now < *at + EVERY);
        self.heard
            .retain(|id, _| view.state.resources.contains_key(id));
        // What another leader was told is repeated to this one, or is over.
        for (id, rival) in &view.state.rivals {
            let fresh = (rival.by, Some(rival.claim.clone()), view.started);
            self.heard.entry(id.clone()).or_insert(fresh);
        }
        for (id, (node, claim, at)) in &self.heard {
            let over = *at + SILENT;
            let claim = claim.as_ref().filter(|_| view.now < over);
            let known = draft.state().rivals.get(id);
            let due = match (claim, known) {
                (Some(claim), Some(known)) => known.claim != *claim,
                (Some(_), None) | (None, Some(_)) => true,
                (None, None) => false,
            };
            // The address may have moved since: what is over is said of whoever is known to have heard it.
            let node = match (claim, known) {
                (None, Some(known)) => known.by,
                (Some(_), _) | (None, None) => *node,
            };
            if claim.is_some() {
                wake.at(over);
            }
            if !due {
                continue;
            }
            if let Some(said) = self.said.get(id) {
                wake.at(*said + EVERY);
                continue;
            }
            self.said.insert(id.clone(), view.now);
            draft.propose(Command::RivalHeard {
                resource: id.clone(),
                node,
                rival: claim.cloned(),
            });
        }
    }
}
