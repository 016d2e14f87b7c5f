//! The first words on a stream: who this is, where it runs, what its machine has, and whether anything of an earlier
//! life is left. Decides nothing.

use super::{Attach, AttachTask, Standing, StreamError, Up};
use crate::lease::probe_form;
use haft_api::convert::timing_into;
use haft_api::pb::v1;
use haft_engine::command::Probe;
use haft_engine::gate::GateKind;
use haft_engine::ids::Incarnation;
use haft_engine::place::Namespace;
use tokio::sync::mpsc;

/// The greeting of a life, or of an agent that asks for one (incarnation 0).
pub(super) fn hello(
    attach: &Attach,
    incarnation: Incarnation,
    probe: Probe,
    sight: v1::Machine,
) -> v1::AttachRequest {
    let place = attach.place;
    let namespace = |found: Namespace| v1::Namespace {
        device: found.device,
        inode: found.inode,
    };
    v1::AttachRequest {
        message: Some(Up::Hello(v1::Hello {
            boot_id: attach.boot.0.to_vec(),
            incarnation: incarnation.0,
            probe: probe_form(probe).into(),
            counts_by_log: cfg!(not(feature = "without-timing")),
            file: Some(timing_into(&attach.config.timing)),
            sight: Some(sight),
            machine: place.machine.map_or_else(Vec::new, |uuid| uuid.to_vec()),
            network: place.network.map(namespace),
            mounts: place.mounts.map(namespace),
            gate: match place.gate {
                GateKind::Timed => v1::Gate::Unspecified,
                GateKind::Kernel => v1::Gate::Kernel,
            }
            .into(),
        })),
    }
}

impl AttachTask {
    /// Says of the newest life, on the stream that named it, whether anything is still held.
    pub(super) fn settle(
        &self,
        newest: &v1::Newest,
        up: &mpsc::Sender<v1::AttachRequest>,
    ) -> Result<(), StreamError> {
        let probe = match self.standing {
            Standing::Idle(probe) => probe,
            Standing::Living(_) | Standing::Busy => Probe::Unclean,
        };
        let settled = v1::Settled {
            incarnation: newest.incarnation,
            probe: probe_form(probe).into(),
        };
        let message = Some(Up::Settled(settled));
        up.try_send(v1::AttachRequest { message })
            .map_err(|_| StreamError::Stalled)
    }
}
