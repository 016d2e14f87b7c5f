//! Announcements as a neighbour sees them, and rivals as the owner hears them.

use crate::netns::{PATIENCE, Wire, eventually};
use crate::probe::{CLIENT_MAC, OWNER_MAC, Probe, advertisement, arp, claims4, claims6};
use haft_agent::kernel::address::Addresses;
use haft_agent::kernel::announce::{Announcer, Rival, RivalWatch};
use haft_agent::kernel::link::Link;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x100);
const ELSE: [u8; 6] = [2, 0, 0, 0, 0, 0x66];

fn own_link(wire: &Wire) -> Link {
    wire.owner
        .run(|| Addresses::open().unwrap().link("own0").unwrap().unwrap())
}

#[test]
fn a_neighbour_captures_both_arp_forms_request_first() {
    let wire = Wire::new();
    let probe = wire.client.run(|| Probe::open("cli0"));
    let link = own_link(&wire);
    wire.owner
        .run(|| Announcer::open(&link).unwrap().announce(V4.into()).unwrap());
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let frame = probe
            .hear(PATIENCE, |f| claims4(f, V4, 1) || claims4(f, V4, 2))
            .expect("both forms arrive");
        heard.push(frame);
    }
    let (request, reply) = (&heard[0], &heard[1]);
    assert_eq!((request[21], reply[21]), (1, 2));
    for frame in &heard {
        assert_eq!(frame[..6], [0xff; 6], "broadcast");
        assert_eq!(frame[22..28], OWNER_MAC, "sender hardware address");
        assert_eq!(frame[38..42], V4.octets(), "target address");
    }
    assert_eq!(reply[32..38], OWNER_MAC, "a reply's target is its sender");
}

#[test]
fn a_neighbour_captures_an_advertisement_that_overrides() {
    let wire = Wire::new();
    let probe = wire.client.run(|| Probe::open("cli0"));
    let link = own_link(&wire);
    wire.owner
        .run(|| Announcer::open(&link).unwrap().announce(V6.into()).unwrap());
    let frame = probe
        .hear(PATIENCE, |f| claims6(f, V6))
        .expect("it arrives");
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1], "to all nodes");
    assert_eq!(frame[21], 255, "hop limit");
    assert_eq!(frame[58], 0x20, "override alone");
    assert_eq!(
        frame[78..86],
        [2, 1, 2, 0, 0, 0, 9, 1],
        "target link-layer address"
    );
}

#[test]
fn an_announcement_moves_a_neighbours_cache_at_once() {
    let wire = Wire::new();
    let link = own_link(&wire);
    for (address, stale) in [
        (IpAddr::from(V4), "10.9.0.100"),
        (IpAddr::from(V6), "fd09::100"),
    ] {
        let entry =
            format!("neigh replace {stale} lladdr 02:00:00:00:00:66 dev cli0 nud reachable");
        wire.client.ip(&entry);
        wire.owner
            .run(|| Announcer::open(&link).unwrap().announce(address).unwrap());
        eventually("the neighbour learns the new owner", || {
            wire.client
                .ip(&format!("neigh show {stale}"))
                .contains("02:00:00:00:09:01")
        });
    }
}

#[test]
fn a_rival_is_heard_counted_and_told_from_others() {
    let wire = Wire::new();
    let probe = wire.client.run(|| Probe::open("cli0"));
    let link = own_link(&wire);
    let mut watch = wire
        .owner
        .run(|| RivalWatch::open(&link, &[V4.into(), V6.into()]).unwrap());
    let other = Ipv4Addr::new(10, 9, 0, 101);
    // Not ours, and not a claim: a question for our address.
    probe.send(&arp(2, ELSE, other, ELSE, other));
    probe.send(&arp(1, ELSE, other, [0; 6], V4));
    probe.send(&arp(2, ELSE, V4, ELSE, V4));
    probe.send(&advertisement(ELSE, V6));
    // The announcer's own frames must not look like a rival's.
    wire.owner
        .run(|| Announcer::open(&link).unwrap().announce(V4.into()).unwrap());
    let mut heard = Vec::new();
    eventually("both claims are heard", || {
        heard.extend(watch.read().unwrap());
        heard.len() >= 2
    });
    let rival = |address| Rival { address, mac: ELSE };
    assert_eq!(heard, [rival(V4.into()), rival(V6.into())]);
    assert_eq!(watch.heard(), 2);
    watch.retarget(&[other.into()]).unwrap();
    probe.send(&arp(2, ELSE, V4, ELSE, V4));
    probe.send(&arp(2, ELSE, other, ELSE, other));
    eventually("the new target is heard", || {
        watch.read().unwrap() == [rival(other.into())]
    });
}

#[test]
fn a_probe_makes_a_previous_owner_answer() {
    let wire = Wire::new();
    wire.client.ip("addr add 10.9.0.100/32 dev cli0");
    wire.client.ip("addr add fd09::100/128 dev cli0 nodad");
    let link = own_link(&wire);
    let both = [IpAddr::from(V4), IpAddr::from(V6)];
    let mut watch = wire.owner.run(|| RivalWatch::open(&link, &both).unwrap());
    let announcer = wire.owner.run(|| Announcer::open(&link).unwrap());
    for address in both {
        eventually("the previous owner answers", || {
            // Asked again: the kernel joins a new address's group in a work queue of its own.
            announcer.probe(address).unwrap();
            watch.read().unwrap().contains(&Rival {
                address,
                mac: CLIENT_MAC,
            })
        });
    }
}

#[test]
fn any_number_of_addresses_can_be_watched() {
    let wire = Wire::new();
    let probe = wire.client.run(|| Probe::open("cli0"));
    let link = own_link(&wire);
    for count in [64_u16, 65, 256] {
        let last = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 8, count);
        let many: Vec<IpAddr> = (1..=count)
            .map(|n| Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 8, n).into())
            .collect();
        let mut watch = wire.owner.run(|| RivalWatch::open(&link, &many).unwrap());
        probe.send(&advertisement(ELSE, last));
        eventually("the last address is watched", || {
            watch
                .read()
                .unwrap()
                .iter()
                .any(|rival| rival.address == last)
        });
    }
}
