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
use membership::{Named, Order, Replacement};
use restarts::{Bounds, Restarts};

/// Long enough to seal, state, restart twice and outlive the silence after it; and two beats that cross a
/// truncation; and an earlier leader's closing at the same index.
const BOUNDS: [Bounds; 3] = [
    Bounds {
        beats: 1,
        restarts: 2,
        truncations: 0,
        strays: 0,
        ticks: 2,
    },
    Bounds {
        beats: 2,
        restarts: 0,
        truncations: 1,
        strays: 0,
        ticks: 2,
    },
    Bounds {
        beats: 2,
        restarts: 0,
        truncations: 0,
        strays: 1,
        ticks: 2,
    },
];

#[test]
fn an_expired_session_is_never_counted_on_through_restarts_and_truncation() {
    for bounds in BOUNDS {
        assert!(
            explore(&Restarts::new(bounds)).expect_safe() > 0,
            "nothing was tested"
        );
    }
}

#[test]
fn an_expired_session_is_never_counted_on_while_a_member_is_replaced() {
    let mut telling = 0;
    for order in [Order::First, Order::WhileJoint, Order::Last] {
        for named in [Named::Old, Named::Joint, Named::New] {
            telling += explore(&Replacement::new(order, named)).expect_safe();
        }
    }
    assert!(telling > 0, "nothing was tested");
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
        Bug::StateAgeUncommitted,
    ] {
        set(Some(bug));
        let found = BOUNDS
            .iter()
            .any(|bounds| explore(&Restarts::new(*bounds)).is_violated());
        set(None);
        assert!(found, "{bug:?} was not found");
    }
}
