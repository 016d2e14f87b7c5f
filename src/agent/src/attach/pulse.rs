//! Notices a stream that has gone silent: pings, and counts what stays unanswered. Judges no session.

use super::ANSWER_WITHIN;
use haft_api::pb::v1;
use haft_api::pb::v1::attach_request::Message as Up;
use haft_engine::clock::Timing;
use std::time::Duration;
use tokio::time::Instant;

/// Notices a leader that takes our reports and says nothing, sooner than TCP would. Begins with the
/// admission, which may take an earlier session's whole end.
#[derive(Debug)]
pub(super) struct Pulse {
    interval: Duration,
    next: Instant,
    nonce: u64,
    answered: u64,
}

/// Pings without an answer after which the stream is given up.
const UNANSWERED_MAX: u64 = 3;

impl Pulse {
    pub(super) fn new(timing: &Timing) -> Pulse {
        let interval = timing.raft_heartbeat.max(Duration::from_millis(100));
        let patience = timing.ttl * 4 + timing.election_max * 2 + ANSWER_WITHIN;
        Pulse {
            interval,
            next: Instant::now() + patience,
            // Past that patience without an admission the stream is lost.
            nonce: UNANSWERED_MAX,
            answered: 0,
        }
    }

    pub(super) fn start(&mut self) {
        self.nonce = 0;
        self.answered = 0;
        self.next = Instant::now() + self.interval;
    }

    pub(super) fn due(&self) -> Instant {
        self.next
    }

    pub(super) fn is_lost(&self) -> bool {
        self.nonce >= self.answered + UNANSWERED_MAX
    }

    pub(super) fn ping(&mut self) -> v1::AttachRequest {
        self.nonce += 1;
        self.next = Instant::now() + self.interval;
        v1::AttachRequest {
            message: Some(Up::Ping(v1::Ping { nonce: self.nonce })),
        }
    }

    pub(super) fn heard(&mut self) {
        self.answered = self.nonce;
    }
}
