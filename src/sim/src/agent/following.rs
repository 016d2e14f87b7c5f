//! How a simulated agent begins a life, and how it follows what the leader says: assignments and the timing.
//!
//! As the real driver: it follows the timing only while no kernel operation is in flight.

use super::{Agent, Live, Phase};
use crate::wire::{Act, Context, Wire};
use haft_engine::clock::Moment;
use haft_engine::command::{Command, VoterSets};
use haft_engine::ids::Incarnation;
use haft_engine::keeper::{Assignment, Carrier, Input, Keeper};
use haft_engine::plant::{self, Bug};
use haft_engine::session::holder::Holder;
use haft_engine::session::retiming::Retiming;
use haft_engine::timing::ClusterTiming;
use std::time::Duration;

impl Agent {
    /// Its incarnation and the longest ttl by which it counts a beat that has not run out (H of rule R2a).
    pub(crate) fn counts_by(&self, now: Moment) -> Option<(Incarnation, Duration)> {
        match &self.phase {
            Phase::Live(live) => Some((live.incarnation, live.holder.counts_by(now))),
            Phase::Probing | Phase::Attaching(_) => None,
        }
    }

    /// Lives under this incarnation from now on.
    pub(super) fn adopt(
        &mut self,
        context: &mut Context<'_>,
        incarnation: Incarnation,
        membership: VoterSets,
        timing: ClusterTiming,
    ) {
        let counted = if plant::is(Bug::AcknowledgeAnyTtl) {
            self.file
        } else {
            timing.timing
        };
        let holder = Holder::new(self.node, incarnation, membership, counted);
        let keeper = Keeper::new(incarnation, counted).behind(self.gate.kind());
        let retiming = Retiming::new(timing);
        self.phase = Phase::Live(Box::new(Live {
            incarnation,
            holder,
            keeper,
            retiming,
        }));
        context.acts.push(Act::Adopted(incarnation));
        self.repeat_at = context.now;
        self.step(context, Input::GuardsAttested(self.gate.attested()));
        self.on_wake(context);
    }

    /// The leader's whole assignment, with the timing that it wants followed.
    pub(super) fn on_assigned(&mut self, context: &mut Context<'_>, assignment: &Assignment) {
        self.learn_addresses(assignment);
        let assignment = assignment.clone();
        if let Phase::Live(live) = &mut self.phase
            && assignment.incarnation == live.incarnation
        {
            live.retiming.on_told(&mut live.holder, assignment.timing);
        }
        self.step(context, Input::Assigned(assignment));
        if self.carrier == Carrier::Down {
            self.tell_carrier(context);
        }
    }

    /// Follows the cluster's timing, while no kernel operation is in flight.
    pub(super) fn follow_timing(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        while !self.in_flight && self.operations.is_empty() {
            let Phase::Live(live) = &mut self.phase else {
                return;
            };
            let Some(input) = live.retiming.follow(now, &mut live.holder, &live.keeper) else {
                break;
            };
            self.step(context, input);
        }
        if let Phase::Live(live) = &mut self.phase
            && let Some(generation) = live.retiming.say(now)
        {
            let command = Command::Retimed {
                node: self.node,
                incarnation: live.incarnation,
                generation,
            };
            context
                .acts
                .push(Act::ToCoordinators(Wire::Report(command)));
        }
    }
}
