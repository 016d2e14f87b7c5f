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

/// Without mitigations of what a processor guesses the verifier does not follow it, whoever asks.
fn has_mitigations() -> bool {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap();
    !line
        .split_whitespace()
        .any(|word| word == "mitigations=off")
}

#[test]
fn a_gate_needs_three_rights_and_no_more() {
    // The verifier follows what a processor might guess, too, unless told by PERFMON, and gives up on the program.
    let all = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    assert_eq!(opens_with(all), Ok(()));
    let mut needed = vec![CapabilitySet::BPF, CapabilitySet::NET_ADMIN];
    if has_mitigations() {
        needed.push(CapabilitySet::PERFMON);
    }
    for lacking in needed {
        let outcome = opens_with(all - lacking);
        assert!(outcome.is_err(), "without {lacking:?}");
    }
}
