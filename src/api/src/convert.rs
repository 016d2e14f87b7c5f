//! Between the engine's values and the API's messages.
//!
//! `…_into` never fails; `…_from` checks only what the type cannot hold (admission is `apply`'s) and names
//! the field. One file per subject.

mod evidence;
mod fence_device;
mod fence_topology;
mod machine;
mod node;
mod session;
mod timing;
mod virtual_ip;
mod witness;

pub use evidence::{event_into, evidence_into, order_into};
pub use fence_device::{device_from, device_into, device_spec_into};
pub use fence_topology::{topology_from, topology_into, topology_spec_into};
pub use machine::{machine_from, machine_into, rival_from, rival_into, tunnel_into};
pub use node::{NodeView, Silence, after_fence_into, node_from, node_into};
pub use session::{
    active_from, admitted_by, age_from, age_into, armed_from, assigned_by, assignment_from,
    assignment_into, begun_from, ended_by, failed_from, membership_from, membership_into,
    released_from, report_active, report_armed, report_begun, report_failed, report_released,
};
pub use timing::{report_retimed, timing_from, timing_into, versioned_from, versioned_into};
pub use virtual_ip::{vip_from, vip_into, vip_spec_from, vip_spec_into};
pub use witness::{witness_from, witness_into};

use crate::pb::v1;
use haft_engine::ids::{Epoch, Generation, LogIndex, ResourceId, Token};
use haft_engine::spec::Domains;

/// A message's field cannot become a value of the engine.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Path of the field, for instance `spec.address`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub fix: String,
}

pub(crate) fn wrong(
    field: &'static str,
    problem: impl Into<String>,
    fix: impl Into<String>,
) -> FieldError {
    FieldError {
        field,
        problem: problem.into(),
        fix: fix.into(),
    }
}

/// `vip/web` as a resource; other kinds do not exist yet.
pub fn resource_from(text: &str) -> Result<ResourceId, FieldError> {
    match text.split_once('/') {
        Some(("vip" | "virtualip" | "VirtualIP", name)) if !name.is_empty() => {
            Ok(ResourceId::vip(name))
        }
        _ => Err(wrong(
            "resource",
            format!("{text:?} names no resource"),
            "write vip/NAME",
        )),
    }
}

/// A precondition as the engine takes it. Empty: none.
pub fn expected_from(version: &str) -> Result<Option<Generation>, FieldError> {
    if version.is_empty() {
        return Ok(None);
    }
    version
        .parse()
        .map(|number| Some(Generation(number)))
        .map_err(|_| {
            wrong(
                "options.expected_resource_version",
                "not a version",
                "send back metadata.resource_version as you read it",
            )
        })
}

/// A request id as the engine takes it. Empty: none.
pub fn request_id_from(bytes: &[u8]) -> Result<haft_engine::ids::RequestId, FieldError> {
    if bytes.is_empty() {
        return Ok(haft_engine::ids::RequestId::default());
    }
    bytes
        .try_into()
        .map(haft_engine::ids::RequestId)
        .map_err(|_| {
            wrong(
                "options.request_id",
                "not 16 bytes",
                "send 16 random bytes, or none",
            )
        })
}

/// Declared domains as the API says them; none if neither is.
pub fn domains_into(domains: &Domains) -> Option<v1::Domains> {
    (*domains != Domains::default()).then(|| v1::Domains {
        power: domains.power.clone().unwrap_or_default(),
        network: domains.network.clone().unwrap_or_default(),
    })
}

/// Declared domains as the engine takes them.
pub(crate) fn domains_from(domains: Option<v1::Domains>) -> Domains {
    let domains = domains.unwrap_or_default();
    let declared = |name: String| (!name.is_empty()).then_some(name);
    Domains {
        power: declared(domains.power),
        network: declared(domains.network),
    }
}

pub(crate) fn token_text(token: Token) -> String {
    if token == Token::default() {
        String::new()
    } else {
        token.to_string()
    }
}

pub(crate) fn token_of(epoch: u32, index: u64) -> Token {
    Token {
        epoch: Epoch(epoch),
        index: LogIndex(index),
    }
}
