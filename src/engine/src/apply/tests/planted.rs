//! Bugs, most of them of `Bug::BESIDE`, each seen: what they break is noticed by the histories beside this file.

use super::*;
use crate::plant::{self, Bug};
use crate::witness::{self, Challenge, Heard, Lie, Speaker, Witness};

/// Removes what was planted, also when the test fails.
struct Planted;

impl Planted {
    fn new(bug: Bug) -> Planted {
        plant::set(Some(bug));
        Planted
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        plant::set(None);
    }
}

fn lost() -> (Cluster, ResourceId) {
    let mut cluster = Cluster::new();
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    (cluster, id)
}

fn unowned(cluster: &Cluster, id: &ResourceId) -> bool {
    cluster.state.resources[id].ownership == Ownership::Unowned
}

#[test]
fn a_reboot_that_opens_stonith_is_seen() {
    let _planted = Planted::new(Bug::RebootOpensStonith);
    let (mut cluster, id) = lost();
    assert!(matches!(
        cluster.admit(1, 2, Probe::Clean),
        Outcome::Admitted(_)
    ));
    assert!(unowned(&cluster, &id));
}

#[test]
fn a_probe_elsewhere_that_counts_is_seen() {
    let _planted = Planted::new(Bug::ProbeElsewhere);
    let (mut cluster, id) = lost();
    let node = cluster.ids[1];
    if let Some(node) = cluster.state.nodes.get_mut(&node) {
        node.place.network = Some(crate::place::Namespace {
            device: 4,
            inode: 1,
        });
    }
    assert!(matches!(
        cluster.admit(1, 1, Probe::Clean),
        Outcome::Admitted(_)
    ));
    assert!(unowned(&cluster, &id));
}

#[test]
fn a_superseded_try_that_is_forgotten_is_seen() {
    let _planted = Planted::new(Bug::ForgetSuperseded);
    let (mut cluster, _) = lost();
    let order = cluster.fence(1, FenceCause::Orphans);
    cluster.apply(Command::FenceAttempt {
        order,
        attempt: 2,
        executor: cluster.ids[2],
        level: 1,
        deadline: Duration::from_secs(5),
    });
    cluster.verdict(order, 2, Verdict::Confirmed);
    let early = cluster.admit(1, 2, Probe::Clean);
    assert!(matches!(early, Outcome::Admitted(_)), "{early:?}");
}

#[test]
fn a_word_for_a_newer_life_is_seen() {
    let _planted = Planted::new(Bug::VouchForNewest);
    let (mut cluster, id) = lost();
    let word = Command::ConfirmOff {
        node: cluster.ids[1],
        incarnation: Incarnation(1),
        boot: Some(BootId([9; 16])),
        by: "alice".to_owned(),
        reason: "unplugged".to_owned(),
        witnesses: Vec::new(),
        overruled: Vec::new(),
        request: RequestId::default(),
    };
    assert_eq!(cluster.apply(word), Outcome::Done);
    assert!(unowned(&cluster, &id));
}

#[test]
fn a_witness_that_is_ignored_is_seen() {
    let _planted = Planted::new(Bug::IgnoreWitness);
    let (mut cluster, id) = lost();
    let order = cluster.fence(1, FenceCause::Orphans);
    let lie = Lie {
        witness: Witness {
            by: cluster.ids[2],
            speaker: Speaker::Agent,
            boot: BootId([1; 16]),
        },
        devices: Vec::new(),
    };
    cluster.apply(Command::FenceVerdict {
        order,
        attempt: 1,
        verdict: Verdict::Confirmed,
        detail: String::new(),
        lie: Some(lie),
    });
    assert!(unowned(&cluster, &id));
}

#[test]
fn a_late_datagram_that_counts_is_seen() {
    let _planted = Planted::new(Bug::LateWitness);
    let boot = BootId([1; 16]);
    let heard = Heard {
        challenge: Challenge(6),
        witness: Witness {
            by: NodeId(3),
            speaker: Speaker::Agent,
            boot,
        },
    };
    assert!(witness::counts(&heard, Challenge(7), boot));
}
