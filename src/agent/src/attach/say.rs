//! Handing a message to the stream, which has room for so many.
//!
//! Never waits. Knows which messages a stream may do without.

use super::StreamError;
use haft_api::pb::v1;
use haft_api::pb::v1::attach_request::Message as Up;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// What there is no room for ends the stream, and is said again on the next one. A rival is left out instead: whoever
/// hears it reports it again and again, and a flood of claims must not cost the stream that grants depend on.
pub(super) fn say(
    up: &mpsc::Sender<v1::AttachRequest>,
    message: v1::AttachRequest,
) -> Result<(), StreamError> {
    match up.try_send(message) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(message)) if matches!(message.message, Some(Up::Rival(_))) => Ok(()),
        Err(TrySendError::Full(_) | TrySendError::Closed(_)) => Err(StreamError::Stalled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_that_finds_no_room_ends_no_stream() {
        let (up, mut stream) = mpsc::channel(1);
        let rival = || v1::AttachRequest {
            message: Some(Up::Rival(v1::RivalReport::default())),
        };
        let active = || v1::AttachRequest {
            message: Some(Up::Active(v1::ActiveReport::default())),
        };
        assert!(say(&up, rival()).is_ok());
        assert!(say(&up, rival()).is_ok(), "left out");
        assert!(matches!(say(&up, active()), Err(StreamError::Stalled)));
        assert!(stream.try_recv().is_ok());
        assert!(say(&up, active()).is_ok());
        drop(stream);
        assert!(matches!(say(&up, rival()), Err(StreamError::Stalled)));
    }
}
