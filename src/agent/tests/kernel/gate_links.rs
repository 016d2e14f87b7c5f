//! The gate on every kind of link that a plain kernel makes, with the agent alive, dead or frozen, against everybody
//! who might open it by accident: who flushes the ruleset, deletes tables, bounces the link, adds the address once
//! more, or takes the gate itself away.
//!
//! Judged from outside. Tagged links and bonds need modules that not every kernel has: there their tests say that they
//! were not run, and `scripts/test-gate` runs them in a guest, where a kernel without them is a failure. Links that come
//! when nobody is there to gate them are in `gate_late`.

use crate::beds::{Bed, Kind, late_wire};
use crate::fixture::{V4, assert_answering, assert_silent, client};
use crate::gate::{FileSystem, Owner};
use crate::netns::{Wire, eventually};
use crate::probe::{OWNER_MAC, Probe, arp, claims4};
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::gate::{Footing, Tended, Ungated};
use std::time::Duration;

/// What has become of the agent when its lease ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It lives, and looks after gate and tables; its lease is over.
    Alive,
    /// Its tables and descriptors went with it.
    Killed,
    /// It holds them, and does nothing.
    Frozen,
}

impl Fate {
    const ALL: [Fate; 3] = [Fate::Alive, Fate::Killed, Fate::Frozen];
}

/// The footings that this kernel has.
pub(crate) fn footings() -> Vec<Footing> {
    let mut footings = vec![Footing::Filters];
    if Footing::of_this_kernel() == Footing::Pinned {
        footings.push(Footing::Pinned);
    }
    footings
}

/// Each fate on each footing.
pub(crate) fn fates() -> Vec<(Fate, Footing)> {
    let both = |footing| Fate::ALL.map(|fate| (fate, footing));
    footings().into_iter().flat_map(both).collect()
}

/// What is left of an owner.
pub(crate) struct Agent {
    fate: Fate,
    owner: Option<Owner>,
}

impl Agent {
    pub(crate) fn meets(fate: Fate, owner: Owner) -> Agent {
        let owner = match fate {
            Fate::Alive | Fate::Frozen => Some(owner),
            Fate::Killed => None,
        };
        Agent { fate, owner }
    }

    /// It does what it does before each beat, if it can.
    pub(crate) fn goes_on(&mut self, bed: &Bed) {
        if let (Fate::Alive, Some(owner)) = (self.fate, &mut self.owner) {
            bed.wire.owner.run(|| owner.look_after_everything());
        }
    }
}

/// What somebody else does who configures the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Disturbance {
    AddressAgain,
    TablesDeleted,
    RulesetFlushed,
    LinkBounced,
}

impl Disturbance {
    const ALL: [Disturbance; 4] = [
        Disturbance::AddressAgain,
        Disturbance::TablesDeleted,
        Disturbance::RulesetFlushed,
        Disturbance::LinkBounced,
    ];

    fn strikes(self, bed: &Bed) {
        let owner = &bed.wire.owner;
        match self {
            Disturbance::AddressAgain => {
                owner.ip(&format!("addr replace 10.9.0.100/24 dev {}", bed.name));
            }
            Disturbance::TablesDeleted => {
                for table in owner.command("nft", "list tables").lines() {
                    // Tables of a process that lives are its own; a kernel refuses this.
                    let words: Vec<&str> = ["delete"]
                        .into_iter()
                        .chain(table.split_whitespace())
                        .collect();
                    owner.try_command("nft", &words);
                }
            }
            Disturbance::RulesetFlushed => owner.try_command("nft", &["flush", "ruleset"]),
            Disturbance::LinkBounced => bounce(bed),
        }
    }
}

fn bounce(bed: &Bed) {
    let (owner, name) = (&bed.wire.owner, bed.name);
    owner.ip(&format!("link set {name} down"));
    owner.ip(&format!("link set {name} up"));
    // IPv6 addresses go with the link's fall, whoever added them.
    owner.ip(&format!("addr replace fd09::100/64 dev {name} nodad"));
    eventually("the link is up again", || {
        let shown = owner.ip(&format!("link show dev {name}"));
        shown.contains("LOWER_UP")
    });
}

fn stays_closed_on(kind: Kind) {
    if !kind.is_there() {
        return;
    }
    for (fate, footing) in fates() {
        let (bed, files) = (Bed::of(kind), FileSystem::new());
        let mut owner = Owner::standing(&bed.wire.owner, &files, bed.name, footing);
        bed.assert_silent("at first");
        owner.open();
        bed.assert_answering("open");
        owner.close();
        let mut agent = Agent::meets(fate, owner);
        bed.assert_silent("at its end");
        for disturbance in Disturbance::ALL {
            disturbance.strikes(&bed);
            let when = format!("{disturbance:?}, with the agent {fate:?}, on {footing:?}");
            bed.assert_silent(&when);
            agent.goes_on(&bed);
        }
        drop(agent);
        bed.assert_silent("when the agent is gone for good");
    }
}

/// Whether an address is open when somebody has taken the gate itself away.
fn opens_without_the_gate(fate: Fate, footing: Footing) -> bool {
    match (fate, footing) {
        // Put back with the next look.
        (Fate::Alive, Footing::Pinned | Footing::Filters) => false,
        // Its descriptors keep the programs on their links.
        (Fate::Frozen, Footing::Pinned) => false,
        // Nothing else does; and nothing keeps a filter.
        (Fate::Killed, Footing::Pinned) | (Fate::Killed | Fate::Frozen, Footing::Filters) => true,
    }
}

/// The limit that docs/isolation.md states, and what the second layer makes of it: it knows the gated links and no
/// ends, so that what stood on them is open, and a link that comes then is closed.
fn without_the_gate_on(kind: Kind) {
    if !kind.is_there() {
        return;
    }
    for (fate, footing) in fates() {
        let (bed, files) = (Bed::of(kind), FileSystem::new());
        let mut owner = Owner::standing(&bed.wire.owner, &files, bed.name, footing);
        owner.open();
        bed.assert_answering("open");
        owner.close();
        let mut agent = Agent::meets(fate, owner);
        bed.assert_silent("at its end");
        files.unpin_everything();
        if footing == Footing::Filters {
            bed.assert_silent("filters need no pins");
            take_qdiscs_away(&bed.wire);
        }
        agent.goes_on(&bed);
        let when = format!("without the gate, with the agent {fate:?}, on {footing:?}");
        if opens_without_the_gate(fate, footing) {
            bed.assert_answering(&when);
        } else {
            bed.assert_silent(&when);
        }
        let late = late_wire(&bed.wire);
        assert_silent(&late);
    }
}

/// Every clsact qdisc, as whoever deletes it without asking whose it is.
fn take_qdiscs_away(wire: &Wire) {
    for line in wire.owner.command("tc", "qdisc show").lines() {
        let mut words = line.split_whitespace();
        if let (Some("clsact"), Some(link)) = (words.nth(1), words.nth(2)) {
            wire.owner
                .command("tc", &format!("qdisc del dev {link} clsact"));
        }
    }
}

#[test]
fn a_wire_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Wire);
}

#[test]
fn a_bridge_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Bridge);
}

#[test]
fn a_macvlan_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Macvlan);
}

#[test]
fn a_macvlan_on_a_bridge_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::MacvlanOnBridge);
}

#[test]
fn an_overlay_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Vxlan);
}

#[test]
fn a_tagged_link_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Vlan);
}

#[test]
fn a_link_with_two_tags_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::DoubleVlan);
}

#[test]
fn a_bond_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Bond);
}

#[test]
fn a_tunnel_without_ethernet_headers_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Tunnel);
}

#[test]
fn the_machines_own_loopback_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Loopback);
}

#[test]
fn what_a_router_owns_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Routed);
}

#[test]
fn who_takes_the_gate_away_from_a_wire_opens_what_it_closed_unless_an_agent_holds_it() {
    without_the_gate_on(Kind::Wire);
}

#[test]
fn who_takes_the_gate_away_from_a_bridge_opens_what_it_closed_unless_an_agent_holds_it() {
    without_the_gate_on(Kind::Bridge);
}

#[test]
fn who_takes_the_gate_away_from_a_macvlan_opens_what_it_closed_unless_an_agent_holds_it() {
    without_the_gate_on(Kind::Macvlan);
}

#[test]
fn who_takes_the_gate_away_from_a_macvlan_on_a_bridge_opens_what_it_closed_unless_an_agent_holds_it()
 {
    without_the_gate_on(Kind::MacvlanOnBridge);
}

#[test]
fn who_takes_the_gate_away_from_an_overlay_opens_what_it_closed_unless_an_agent_holds_it() {
    without_the_gate_on(Kind::Vxlan);
}

#[test]
fn who_takes_the_gate_away_from_a_tagged_link_opens_what_it_closed_unless_an_agent_holds_it() {
    without_the_gate_on(Kind::Vlan);
}

#[test]
fn who_takes_the_gate_away_from_a_link_with_two_tags_opens_what_it_closed_unless_an_agent_holds_it()
{
    without_the_gate_on(Kind::DoubleVlan);
}

#[test]
fn who_takes_the_gate_away_from_a_bond_opens_what_it_closed_unless_an_agent_holds_it() {
    without_the_gate_on(Kind::Bond);
}

#[test]
fn who_takes_the_gate_away_from_a_tunnel_without_ethernet_headers_opens_what_it_closed_unless_an_agent_holds_it()
 {
    without_the_gate_on(Kind::Tunnel);
}

#[test]
fn who_takes_the_gate_away_from_the_machines_own_loopback_opens_what_it_closed_unless_an_agent_holds_it()
 {
    without_the_gate_on(Kind::Loopback);
}

#[test]
fn who_takes_the_gate_away_from_what_a_router_owns_opens_what_it_closed_unless_an_agent_holds_it() {
    without_the_gate_on(Kind::Routed);
}

/// A claim of the address by ARP behind these tags, all of them in the frame.
fn tagged_claim(tags: &[[u8; 4]]) -> Vec<u8> {
    let plain = arp(1, OWNER_MAC, V4, [0; 6], V4);
    let mut frame = plain[..12].to_vec();
    frame.extend(tags.concat());
    frame.extend(&plain[12..]);
    frame
}

#[test]
fn a_tag_in_the_frame_hides_no_claim_on_the_link_below() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let mut owner = Owner::new(&wire, &files);
    let raw = wire.owner.run(|| Probe::open("own0"));
    // The outer tag is beside the frame when the client reads it, the inner one still in it.
    let one = [0x81, 0, 0, 7];
    let two = [0x88, 0xa8, 0, 5];
    for (tags, left) in [(&[one][..], 0), (&[two, one], 4)] {
        let claim = tagged_claim(tags);
        let heard = || {
            raw.try_send(&claim);
            let wanted = |frame: &[u8]| {
                let mut bare = frame.get(..12).unwrap_or(&[]).to_vec();
                bare.extend(frame.get(12 + left..).unwrap_or(&[]));
                claims4(&bare, V4, 1)
            };
            probe.hear(Duration::from_millis(150), wanted).is_some()
        };
        owner.close();
        assert!(!heard(), "closed, and a claim behind {tags:x?} goes out");
        owner.open();
        eventually("open, the claim goes out", heard);
    }
    owner.close();
    drop(owner);
    wire.owner.command("nft", "flush ruleset");
    raw.try_send(&tagged_claim(&[one]));
    let claimed = |frame: &[u8]| claims4(frame, V4, 1);
    let heard = probe.hear(Duration::from_millis(150), claimed);
    assert!(heard.is_none(), "the agent is dead, and its claim goes out");
}

#[test]
fn a_bond_is_gated_at_the_master_and_stays_closed_over_each_of_its_ports() {
    if !Kind::Bond.is_there() {
        return;
    }
    let (bed, files) = (Bed::of(Kind::Bond), FileSystem::new());
    let (wire, name, probe) = (&bed.wire, bed.name, client(&bed.wire));
    let second = wire.client.run(|| Probe::open("cli1"));
    let mut owner = Owner::on(wire, &files, name);
    for (link, standing) in owner.gate.report() {
        match link {
            "own0" | "own1" => assert!(
                matches!(&standing, Err(Ungated::PortOf { kind }) if kind == "bond"),
                "{link}: {standing:?}"
            ),
            _ => assert_eq!(standing, Ok(()), "{link}"),
        }
    }
    owner.open();
    assert_answering(&probe);
    owner.close();
    drop(owner);
    wire.owner.command("nft", "flush ruleset");
    assert_silent(&probe);
    wire.owner.ip("link set own0 down");
    eventually("the other port carries the bond", || {
        let shown = wire.owner.ip("-d link show dev bond0");
        shown.contains("active_slave own1")
    });
    assert_silent(&second);
}

#[test]
fn a_clsact_qdisc_that_somebody_deletes_is_back_while_the_agent_lives() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let mut owner = Owner::standing(&wire.owner, &files, "own0", Footing::Filters);
    let settle = |owner: &mut Owner, what: &str, wanted: fn(&Tended) -> bool| {
        wire.owner.run(|| {
            eventually(what, || wanted(&owner.gate.tend(boot_now())));
        });
    };
    settle(&mut owner, "what the gate did itself is read", |told| {
        *told == Tended::Intact
    });
    assert_silent(&probe);
    wire.owner.command("tc", "qdisc del dev own0 clsact");
    settle(&mut owner, "the gate is missed", |told| {
        matches!(told, Tended::Repaired { .. })
    });
    assert_silent(&probe);
    // With the agent dead nobody misses it, which is why such a gate is attested as watched.
    drop(owner);
    assert_silent(&probe);
    wire.owner.command("tc", "qdisc del dev own0 clsact");
    wire.owner.command("nft", "flush ruleset");
    assert_answering(&probe);
}
