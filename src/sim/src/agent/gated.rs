//! What stands before the agent's addresses: what it attests of it, what it does otherwise behind a kernel gate, and
//! how it follows when that is lost and regained within its life.
//!
//! As the real driver: it looks before each beat, and says what it has found in that beat. It says nothing of it to
//! the leader beside, so that the log holds what was so when the owner began to act. Behind a kernel gate it tells
//! ends, and a rebuilt filter costs it nothing.

use super::{Agent, Phase};
use crate::barrier::Barrier;
use crate::kernel::Request;
use crate::wire::{Act, Context, Hook};
use haft_engine::clock::Moment;
use haft_engine::command::Attestation;
use haft_engine::gate::{Found, GateKind, attestation, closes};
use haft_engine::keeper::{Input, Operation};

/// What stands before its addresses, as it knows it.
#[derive(Debug)]
pub(super) struct Gate {
    barrier: Barrier,
    /// What it finds when it looks.
    pub(super) found: Found,
    /// What it said last, and since when.
    said: (Attestation, Moment),
    told: Told,
}

/// Whether a majority has acknowledged what it says of its guard now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    NotYet,
    Yes,
}

impl Default for Gate {
    fn default() -> Gate {
        let barrier = Barrier::default();
        Gate {
            barrier,
            found: barrier.found(),
            said: (attestation(barrier.found()), Moment(0)),
            told: Told::NotYet,
        }
    }
}

impl Gate {
    pub(super) fn kind(&self) -> GateKind {
        self.barrier.kind()
    }

    /// What it says of its guard.
    pub(super) fn attested(&self) -> Attestation {
        self.said.0
    }
}

impl Agent {
    /// The same on a machine with this barrier, which is found to be worth this now.
    pub(crate) fn behind(mut self, barrier: Barrier, found: Found) -> Agent {
        self.gate = Gate {
            barrier,
            found,
            said: (attestation(found), Moment(0)),
            told: Told::NotYet,
        };
        self
    }

    /// Whether a majority has acknowledged a beat that says that its guard does not stay closed without it.
    pub(crate) fn has_told_of_loss(&self) -> bool {
        self.gate.attested() != Attestation::Intact && self.gate.told == Told::Yes
    }

    /// Looks at the gate, if a beat is due, and follows what has become of it.
    pub(super) fn attest(&mut self, context: &mut Context<'_>) -> Attestation {
        let now = context.now;
        let due = matches!(&self.phase, Phase::Live(live) if now >= live.holder.next_wake());
        let found = attestation(self.gate.found);
        if due && found != self.gate.attested() {
            self.gate.said = (found, now);
            self.gate.told = Told::NotYet;
            self.step(context, Input::GuardsAttested(found));
        }
        self.gate.attested()
    }

    /// The lease was extended: perhaps by a beat that says what is said now. One that is over, as an answer may tell,
    /// is counted by nothing, and shows nothing of what a majority has heard.
    pub(super) fn note_told(&mut self, context: &mut Context<'_>) {
        let Phase::Live(live) = &self.phase else {
            return;
        };
        let counted = live.holder.counts_by(context.now);
        if counted.is_zero() {
            return;
        }
        let (said, since) = self.gate.said;
        let told = live.holder.end().is_some_and(|end| end >= since + counted);
        if told && self.gate.told == Told::NotYet {
            self.gate.told = Told::Yes;
            if said != Attestation::Intact {
                context.acts.push(Act::Hook(Hook::LossTold));
            }
        }
    }

    /// The end that a kernel gate is told for this operation, if that is what it means here.
    pub(super) fn gate_request(&self, operation: &Operation) -> Option<Request> {
        let Phase::Live(live) = &self.phase else {
            return None;
        };
        let items = match (self.gate.kind(), operation) {
            (GateKind::Kernel, Operation::Install(resource, token)) => {
                vec![(resource.clone(), *token)]
            }
            (GateKind::Kernel, Operation::Renew(items)) => items.clone(),
            (GateKind::Kernel | GateKind::Timed, _) => return None,
        };
        let end = closes(live.keeper.lease_end()?);
        let known = items
            .iter()
            .map(|key| Some((*self.addresses.get(key)?, key.1)));
        Some(Request::Open(known.collect::<Option<Vec<_>>>()?, end))
    }

    /// The packet filter was flushed and is rebuilt: timed elements are to be installed anew.
    pub(super) fn on_rebuilt(&mut self, context: &mut Context<'_>) {
        if self.gate.kind() == GateKind::Timed {
            self.step(context, Input::GuardsAttested(Attestation::Broken));
            self.step(context, Input::GuardsAttested(self.gate.attested()));
        }
    }
}
