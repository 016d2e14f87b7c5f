//! Links that come when no agent is there to gate them, or one that does nothing, and the address with them.
//!
//! The second layer knows the links that are gated and lets the address pass on no other. What comes above a gated link
//! (a bridge that takes it for a port, a macvlan) sends and hears through the gate beneath. A link of its own that comes
//! when the agent is dead and somebody has flushed the ruleset is open: docs/isolation.md states that limit, and here it
//! is seen.

use crate::beds::{Bed, Kind, late_wire};
use crate::fixture::{BOTH, assert_answering, assert_silent, client};
use crate::gate::{FileSystem, Owner};
use crate::gate_links::{Agent, Fate, fates};
use crate::netns::{Wire, eventually};
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::gate::Tended;
use haft_agent::kernel::guard::Custody;
use haft_engine::clock::Moment;

/// Whether somebody has flushed the ruleset before the link comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ruleset {
    Kept,
    Flushed,
}

/// Whether frames of such a link pass one that was there, and so its gate.
fn is_above_a_gated_link(kind: Kind) -> bool {
    match kind {
        Kind::Bridge | Kind::Macvlan | Kind::Vlan | Kind::DoubleVlan => true,
        Kind::Wire | Kind::Vxlan | Kind::Tunnel => false,
        Kind::MacvlanOnBridge | Kind::Bond | Kind::Loopback | Kind::Routed => {
            unreachable!("not tried as a late link")
        }
    }
}

/// Whether a flush takes the tables away: those of a process that lives are its own where the kernel has such tables.
fn are_gone((fate, custody): (Fate, Custody), ruleset: Ruleset) -> bool {
    match (ruleset, fate, custody) {
        (Ruleset::Kept, _, _) | (Ruleset::Flushed, Fate::Alive, _) => false,
        (Ruleset::Flushed, Fate::Frozen, Custody::Owned) => false,
        (Ruleset::Flushed, Fate::Killed, _) => true,
        (Ruleset::Flushed, Fate::Frozen, Custody::Watched) => true,
    }
}

fn comes_late(kind: Kind) {
    if !kind.is_there() {
        return;
    }
    for (fate, footing) in fates() {
        for ruleset in [Ruleset::Kept, Ruleset::Flushed] {
            let (mut bed, files) = (Bed::of(Kind::Wire), FileSystem::new());
            let mut owner = Owner::standing(&bed.wire.owner, &files, bed.name, footing);
            owner.open();
            bed.assert_answering("open");
            owner.close();
            let gone = are_gone((fate, owner.guard.custody()), ruleset);
            let mut agent = Agent::meets(fate, owner);
            if ruleset == Ruleset::Flushed {
                bed.wire.owner.try_command("nft", &["flush", "ruleset"]);
                agent.goes_on(&bed);
            }
            bed.moves_to(kind);
            let when = format!("late, with the agent {fate:?}, on {footing:?}, {ruleset:?}");
            if gone && !is_above_a_gated_link(kind) {
                bed.assert_answering(&when);
                continue;
            }
            bed.assert_silent(&when);
            agent.goes_on(&bed);
            bed.assert_silent(&when);
        }
    }
}

#[test]
fn a_wire_that_comes_late_is_closed_by_the_second_layer() {
    comes_late(Kind::Wire);
}

#[test]
fn an_overlay_that_comes_late_is_closed_by_the_second_layer() {
    comes_late(Kind::Vxlan);
}

#[test]
fn a_tunnel_that_comes_late_is_closed_by_the_second_layer() {
    comes_late(Kind::Tunnel);
}

#[test]
fn a_bridge_that_takes_a_gated_link_is_closed_by_the_gate_of_its_port() {
    comes_late(Kind::Bridge);
}

#[test]
fn a_macvlan_that_comes_late_is_closed_by_the_gate_beneath() {
    comes_late(Kind::Macvlan);
}

#[test]
fn a_tagged_link_that_comes_late_is_closed_by_the_gate_beneath() {
    comes_late(Kind::Vlan);
}

#[test]
fn a_link_with_two_tags_that_comes_late_is_closed_by_the_gate_beneath() {
    comes_late(Kind::DoubleVlan);
}

#[test]
fn a_link_that_comes_while_the_agent_is_frozen_is_closed_by_the_second_layer() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let mut owner = Owner::new(&wire, &files);
    assert!(owner.gate.renew(&BOTH, Moment(u64::MAX)));
    let probe = late_wire(&wire);
    // Its lease runs, and still nothing answers where no gate stands.
    assert_silent(&probe);
    assert_answering(&client(&wire));
    wire.owner.run(|| {
        eventually("it wakes, and gates the link", || {
            matches!(owner.gate.tend(boot_now()), Tended::Links)
        });
    });
    owner.close();
    owner.guard.set_gated(&owner.gate.gated()).unwrap();
    assert_silent(&probe);
}
