//! The first word on a stream: who this is, and what its machine has. Decides nothing.

use crate::lease::probe_form;
use haft_api::pb::v1;
use haft_api::pb::v1::attach_request::Message as Up;
use haft_engine::command::Probe;
use haft_engine::ids::{BootId, Incarnation};

/// The greeting of a life, or of an agent that asks for one (incarnation 0).
pub(super) fn hello(
    boot: BootId,
    incarnation: Incarnation,
    probe: Probe,
    sight: v1::Machine,
) -> v1::AttachRequest {
    v1::AttachRequest {
        message: Some(Up::Hello(v1::Hello {
            boot_id: boot.0.to_vec(),
            incarnation: incarnation.0,
            probe: probe_form(probe).into(),
            machine: Some(sight),
        })),
    }
}
