//! How a stream to a coordinator ends, and what follows.

use super::ANSWER_WITHIN;
use crate::order::OrderError;
use std::time::Duration;

/// How a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("cannot reach {endpoint}")]
    Dial {
        endpoint: String,
        #[source]
        source: haft_api::client::DialError,
    },
    #[error("{endpoint} did not answer within {ANSWER_WITHIN:?}")]
    Silent { endpoint: String },
    #[error("{endpoint} ended the stream")]
    Status {
        endpoint: String,
        #[source]
        source: Box<tonic::Status>,
    },
    #[error("{endpoint} said something that this version does not understand")]
    Strange {
        endpoint: String,
        #[source]
        source: haft_api::convert::FieldError,
    },
    #[error("the lease thread does not take orders")]
    Orders(#[from] OrderError),
    #[error("{endpoint} does not say by which timing to count; upgrade it")]
    Timeless { endpoint: String },
    #[error("the stream cannot take more reports")]
    Stalled,
}

/// What to do after a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Try the next coordinator.
    Onward,
    /// Attach to the same coordinator anew.
    Again,
    /// Ask again after this long.
    Pause(Duration),
    /// Everything is released and the leader knows, or time is up.
    End,
}
