//! What the agent does otherwise behind a kernel gate: it tells ends, and a rebuilt filter costs it nothing.

use super::{Agent, Phase};
use crate::barrier::Barrier;
use crate::kernel::Request;
use crate::wire::Context;
use haft_engine::command::Attestation;
use haft_engine::gate::{GateKind, attestation, closes};
use haft_engine::keeper::{Input, Operation};

impl Agent {
    /// The same on a machine with this barrier.
    pub(crate) fn behind(mut self, barrier: Barrier) -> Agent {
        self.barrier = barrier;
        self
    }

    /// What it says of its guard.
    pub(super) fn attested(&self) -> Attestation {
        attestation(self.barrier.found())
    }

    /// The end that a kernel gate is told for this operation, if that is what it means here.
    pub(super) fn gate_request(&self, operation: &Operation) -> Option<Request> {
        let Phase::Live(live) = &self.phase else {
            return None;
        };
        let items = match (self.barrier.kind(), operation) {
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
        if self.barrier.kind() == GateKind::Timed {
            self.step(context, Input::GuardsAttested(Attestation::Broken));
            self.step(context, Input::GuardsAttested(self.attested()));
        }
    }
}
