//! Bounded model check of sessions (R2): the real responder and holder under every order of events.
//!
//! Small worlds, explored exhaustively: whoever acknowledges, seals, states, restarts or joins, and in
//! whatever order, a session that has expired is never one that its node still counts on. The bounds and
//! what they leave out stand with each world; docs/session-proof.md has the argument for the rest.

mod explore;
mod membership;
mod restarts;
mod world;

use explore::explore;
use membership::{Order, Replacement};
use restarts::Restarts;

#[test]
fn an_expired_session_is_never_counted_on_through_restarts_and_truncation() {
    explore(&Restarts::new()).expect_safe();
}

#[test]
fn an_expired_session_is_never_counted_on_while_a_member_is_replaced() {
    for order in [
        Order::ClosingFirst,
        Order::ClosingWhileJoint,
        Order::ClosingLast,
    ] {
        explore(&Replacement::new(order)).expect_safe();
    }
}

/// Each rule of R2 is needed: without it the same exploration finds a session that is both expired and
/// counted on.
#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_session_bug_is_found() {
    use haft_engine::plant::{Bug, set};
    for bug in [
        Bug::CountLeaseFromReceipt,
        Bug::AcknowledgeAfterClosing,
        Bug::ForgetSealAcrossRestart,
        Bug::StateAgeAcrossRestart,
    ] {
        set(Some(bug));
        let report = explore(&Restarts::new());
        set(None);
        report.expect_violation(&format!("{bug:?}"));
    }
}
