//! What a replica says of itself after a restart.

use super::*;
use crate::consensus::MembershipView;
use haft_engine::clock::Timing;
use haft_engine::ids::NodeId;
use haft_engine::session::responder::{Responder, Restart};
use haft_store::PeerId;

fn machine() -> Machine {
    let responder = Responder::new(NodeId(1), Timing::FAST, boot_now(), Restart::Fresh);
    Machine::new(Replica::default(), SharedResponder::new(responder))
}

#[test]
fn a_membership_older_than_the_snapshot_takes_nothing_back() {
    let mut original = machine();
    original.passed(LogPosition { term: 1, index: 90 });
    let snapshot = original.snapshot();
    let mut restored = machine();
    restored
        .restore(None, &snapshot, &mut Vec::new())
        .expect("our own snapshot");
    let membership = MembershipView {
        at: Some(LogPosition { term: 1, index: 7 }),
        configs: vec![[PeerId(1)].into()],
        peers: std::collections::BTreeMap::new(),
    };
    restored.membership_changed(&membership);
    assert_eq!(restored.replica.state().applied, LogIndex(90));
    assert_eq!(*restored.replica.applied().borrow(), LogIndex(90));
    original.membership_changed(&membership);
    assert_eq!(original.snapshot(), restored.snapshot(), "replicas differ");
}
