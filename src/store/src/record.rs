//! The protobuf forms on disk, generated from `proto/haft/internal/v1/record.proto`.
//!
//! Only forms; conversions to the types of this crate are in `form`.

include!(concat!(env!("OUT_DIR"), "/haft.internal.v1.rs"));
