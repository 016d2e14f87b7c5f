//! The rights without which there is no gate (capabilities(7)), and those that it does not need.

use super::*;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// What comes of a gate that a thread with these rights alone opens.
fn opens_with(held: CapabilitySet) -> Result<(), String> {
    let (tell, told) = std::sync::mpsc::channel();
    in_own_namespace(move |root| {
        let home = Home::within(root).unwrap();
        let sets = CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).unwrap();
        tell.send(
            Gate::open(home)
                .map(drop)
                .map_err(|error| crate::chain(&error)),
        )
        .unwrap();
    });
    told.recv().unwrap()
}

#[test]
fn a_gate_needs_three_rights_and_no_more() {
    let needed = [
        CapabilitySet::BPF,
        CapabilitySet::NET_ADMIN,
        // Without it the verifier follows what a processor might guess, too, and gives up.
        CapabilitySet::PERFMON,
    ];
    let all = needed
        .into_iter()
        .fold(CapabilitySet::empty(), |all, one| all | one);
    assert_eq!(opens_with(all), Ok(()));
    for lacking in needed {
        let outcome = opens_with(all - lacking);
        assert!(outcome.is_err(), "without {lacking:?}");
    }
}
