//! An expired session is over: from the moment `Expired` is applied anywhere, the node's own lease has
//! run out on its own clock, and no answer ever extends it again.
//!
//! This is rule R2's whole point, and it fails long before two owners meet.
//! Exempt: a machine whose clocks stand still, or stood still less than one ttl ago.
//! Seen to fail with: CountLeaseFromReceipt, AcknowledgeAfterClosing, ForgetSealAcrossRestart,
//! StateAgeAcrossRestart, LeaderWordForMajority, StateAgeUncommitted.

use super::Violation;
use crate::clock::TrueTime;
use crate::machine::Machine;
use haft_engine::ids::{Incarnation, NodeId};
use std::collections::BTreeSet;

/// Name in reports.
pub(crate) const NAME: &str = "session-end";

/// Incarnations whose sessions have expired.
#[derive(Debug, Default)]
pub(crate) struct Expired {
    lives: BTreeSet<(NodeId, Incarnation)>,
}

impl Expired {
    /// `Expired` was applied for this incarnation of this node.
    pub(crate) fn record(&mut self, node: NodeId, incarnation: Incarnation) {
        self.lives.insert((node, incarnation));
    }

    /// Looks at the agent of `machine`.
    pub(crate) fn check<E>(
        &self,
        now: TrueTime,
        machine: &Machine<E>,
        lease_span: TrueTime,
    ) -> Option<Violation> {
        let (incarnation, end) = machine.agent.running.as_ref()?.lease()?;
        let end = end?;
        if !self.lives.contains(&(machine.node, incarnation))
            || machine.stood_still_within(now, lease_span)
        {
            return None;
        }
        let local = machine.clock.local(now);
        if end <= local {
            return None;
        }
        Some(Violation {
            invariant: NAME,
            at: now,
            seen: format!(
                "incarnation {incarnation} of {} has expired, but its lease lasts {} us more",
                machine.name,
                end.since(local).as_micros()
            ),
        })
    }
}
