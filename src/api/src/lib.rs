//! haft-api: everything that crosses a process boundary, in one crate.
//!
//! Generated protobuf and gRPC code ([`pb`]), conversions between it and haft-engine ([`convert`]), the
//! persisted forms ([`persisted`]), the beat datagram ([`beat`]), who is at the other end ([`trust`]), typed
//! errors on the wire ([`status`]) and the client ([`client`]). Decides nothing and stores nothing.

pub mod beat;
pub mod challenge;
pub mod client;
pub mod convert;
pub mod persisted;
mod redacted;
pub mod status;
pub mod trust;

/// Generated code.
pub mod pb {
    /// Package `haft.v1`: the API.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::too_many_lines,
        clippy::unwrap_used,
        clippy::allow_attributes_without_reason,
        reason = "generated; documented in proto/haft/v1"
    )]
    pub mod v1 {
        tonic::include_proto!("haft.v1");
    }
    /// Package `haft.log.v1`: persisted forms.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::too_many_lines,
        clippy::unwrap_used,
        clippy::allow_attributes_without_reason,
        reason = "generated; documented in proto/haft/log/v1"
    )]
    pub mod log {
        tonic::include_proto!("haft.log.v1");
    }
}
