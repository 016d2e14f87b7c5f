//! Rule R14: under `stonith` and `watchdog` no address is put before the log says that its owner begins; and nobody is
//! ordered off for what never began.
//!
//! That an owner which has not begun may be taken for one that has stopped rests on the first of these, which is why
//! `evidence` leaves what it may still begin to be judged here.
//! Seen to fail with: ActBeforeBegun, ActWithoutWatchdog; WithdrawBegun is caught by `evidence`.

use super::Violation;
use crate::clock::TrueTime;
use haft_engine::apply::Outcome;
use haft_engine::command::{Command, FenceAction, FenceCause};
use haft_engine::ids::{NodeId, ResourceId, Token};
use haft_engine::spec::Isolation;
use haft_engine::state::ClusterState;
use std::collections::BTreeSet;

/// Name in reports.
pub(crate) const NAME: &str = "begun";

/// Under which tokens the log lets its owner begin.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    said: BTreeSet<(ResourceId, Token)>,
}

impl Begun {
    /// An accepted command.
    pub(crate) fn record(&mut self, command: &Command) {
        if let Command::Begun {
            resource, token, ..
        }
        | Command::WatchdogArmed {
            resource, token, ..
        } = command
        {
            self.said.insert((resource.clone(), *token));
        }
    }

    /// A kernel has just put the address of `resource` under `token`.
    pub(crate) fn on_put(
        &self,
        now: TrueTime,
        node: NodeId,
        (resource, token): (&ResourceId, Token),
        isolation: Option<Isolation>,
    ) -> Option<Violation> {
        match isolation {
            Some(Isolation::Stonith | Isolation::Watchdog) => {}
            Some(Isolation::Lease) | None => return None,
        }
        let said = self.said.contains(&(resource.clone(), token));
        (!said).then(|| Violation {
            invariant: NAME,
            at: now,
            seen: format!("node {node} acts for {resource} under {token} before the log says so"),
        })
    }

    /// An order to power off was accepted: something that has begun must need it.
    pub(crate) fn on_ordered(
        &self,
        now: TrueTime,
        state: &ClusterState,
        command: &Command,
        outcome: &Outcome,
    ) -> Option<Violation> {
        // A repeated intent is answered with the order that is open already; what that was for may be over.
        let Outcome::Ordered(order) = outcome else {
            return None;
        };
        if order.0 != state.applied.0 {
            return None;
        }
        let Command::FenceIntent {
            node,
            action: FenceAction::Off,
            cause,
            ..
        } = command
        else {
            return None;
        };
        match cause {
            FenceCause::Orphans | FenceCause::StopFailed { .. } => {}
            // A witness speaks against a verdict; what its machine held was orphaned before that.
            FenceCause::Witnessed
            | FenceCause::AfterFence
            | FenceCause::Unfence
            | FenceCause::Administrator { .. } => {
                return None;
            }
        }
        let needed = state.resources.values().any(|row| {
            let holding = row.ownership.holding();
            holding.is_some_and(|holding| {
                holding.node == *node && self.said.contains(&(row.id.clone(), holding.token))
            })
        });
        (!needed).then(|| Violation {
            invariant: NAME,
            at: now,
            seen: format!("node {node} is ordered off for nothing that it has begun"),
        })
    }
}
