//! The wire: BER and the messages of SNMP v1, v2c and v3.
//!
//! Bytes in, values out, and back. It checks shapes only; whether a message answers a question of ours is
//! for [`crate::session`], and whether it is genuine for [`crate::usm`].

pub mod ber;
pub mod message;
pub mod v3;

use thiserror::Error;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// They end too early, or an element is longer than what holds it.
    #[error("truncated")]
    Truncated,
    /// A length in a form that SNMP does not use, or too large.
    #[error("bad length")]
    BadLength,
    /// Another kind of element than belongs there.
    #[error("unexpected element")]
    UnexpectedElement,
    /// A number that does not fit.
    #[error("number out of range")]
    OutOfRange,
    /// Not an object identifier.
    #[error("bad object identifier")]
    BadOid,
    /// Something follows where nothing should.
    #[error("trailing bytes")]
    Trailing,
    /// More variables than asked for by anybody.
    #[error("too many variables")]
    TooMany,
}
