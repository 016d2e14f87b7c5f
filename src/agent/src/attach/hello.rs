//! The first word on a stream: who this is, and what its machine has. Decides nothing.

use super::{Attach, Up};
use crate::lease::probe_form;
use haft_api::convert::timing_into;
use haft_api::pb::v1;
use haft_engine::command::Probe;
use haft_engine::ids::Incarnation;

/// The greeting of a life, or of an agent that asks for one (incarnation 0).
pub(super) fn hello(
    attach: &Attach,
    incarnation: Incarnation,
    probe: Probe,
    sight: v1::Machine,
) -> v1::AttachRequest {
    v1::AttachRequest {
        message: Some(Up::Hello(v1::Hello {
            boot_id: attach.boot.0.to_vec(),
            incarnation: incarnation.0,
            probe: probe_form(probe).into(),
            counts_by_log: cfg!(not(feature = "without-timing")),
            file: Some(timing_into(&attach.config.timing)),
            machine: Some(sight),
        })),
    }
}
