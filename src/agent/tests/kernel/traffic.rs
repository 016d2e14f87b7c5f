//! Which traffic the guard's rules stop, and which they must not.
//!
//! Raw frames, NAT, forwarding, loopback, other interfaces, and the node as a client.

use crate::fixture::{BOTH, V4, V6, VIP4, VIP6, client, guarded, install, long, own_link};
use crate::netns::{Wire, eventually};
use crate::probe::{
    CLIENT_MAC, OWNER_MAC, Probe, advertisement, arp, claims4, claims6, echo_request, is_echo_reply,
};
use haft_agent::kernel::address::Addresses;
use haft_agent::kernel::guard::{Custody, Guard};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

#[test]
fn raw_announcements_leave_only_while_the_address_is_held() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    let raw = wire.owner.run(|| Probe::open("own0"));
    let (v4, v6) = (V4, V6);
    let marker = Ipv4Addr::new(10, 9, 0, 77);
    let announce = || {
        for operation in [1, 2] {
            // A packet socket may be told that a frame was dropped; that is the point here.
            raw.try_send(&arp(operation, OWNER_MAC, v4, OWNER_MAC, v4));
        }
        raw.try_send(&advertisement(OWNER_MAC, v6));
        raw.send(&arp(1, OWNER_MAC, marker, [0; 6], marker));
    };
    announce();
    let first = probe.hear(crate::netns::PATIENCE, |frame| {
        claims4(frame, v4, 1)
            || claims4(frame, v4, 2)
            || claims6(frame, v6)
            || claims4(frame, marker, 1)
    });
    assert!(
        claims4(&first.unwrap(), marker, 1),
        "an unheld address was announced"
    );
    install(&mut guard, &BOTH, long());
    announce();
    let heard = |wanted: &dyn Fn(&[u8]) -> bool| {
        let again = || announce();
        again();
        probe.hear(crate::netns::PATIENCE, wanted).is_some()
    };
    assert!(
        heard(&|f| claims4(f, v4, 1))
            && heard(&|f| claims4(f, v4, 2))
            && heard(&|f| claims6(f, v6))
    );
}

#[test]
fn a_node_without_the_address_stays_a_client_of_it() {
    // The other machine has the address; ours manages it and does not hold it.
    let wire = Wire::new();
    wire.client.ip("addr add 10.9.0.100/32 dev cli0");
    wire.client.ip("addr add fd09::100/128 dev cli0 nodad");
    let _guard = wire.owner.run(|| {
        let link = own_link(&mut Addresses::open().unwrap());
        let mut guard = Guard::open(Custody::Owned).unwrap();
        for vip in BOTH {
            guard.manage(vip, &link).unwrap();
        }
        guard
    });
    for vip in BOTH {
        wire.client.run(|| {
            let listener = std::net::TcpListener::bind((vip, 7)).unwrap();
            wire.owner.run(|| {
                std::net::TcpStream::connect_timeout(&(vip, 7).into(), crate::netns::PATIENCE)
                    .unwrap_or_else(|failed| panic!("{vip} is out of reach: {failed}"))
            });
            drop(listener);
        });
    }
}

#[test]
fn a_lapsed_address_is_silent_on_loopback_too() {
    let wire = Wire::new();
    let mut guard = guarded(&wire, Custody::Owned);
    let reach = |vip: IpAddr| {
        wire.owner.run(|| {
            let _listener = std::net::TcpListener::bind((vip, 0)).unwrap();
            let target = _listener.local_addr().unwrap();
            std::net::TcpStream::connect_timeout(&target, Duration::from_millis(300)).is_ok()
        })
    };
    for vip in BOTH {
        assert!(!reach(vip), "{vip} answers over loopback");
    }
    install(&mut guard, &BOTH, long());
    for vip in BOTH {
        eventually("the held address answers over loopback", || reach(vip));
    }
}

#[test]
fn destination_nat_does_not_carry_packets_past_the_guard() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    for line in [
        "add table ip other",
        "add chain ip other pre { type nat hook prerouting priority -100 ; }",
        "add rule ip other pre ip daddr 10.9.0.100 dnat to 10.9.0.1",
    ] {
        wire.owner.command("nft", line);
    }
    assert!(!probe.echoes(VIP4), "translated although not held");
    install(&mut guard, &[VIP4], long());
    eventually("translated while held", || probe.echoes(VIP4));
}

#[test]
fn an_unheld_address_is_silent_on_the_machines_other_interfaces_too() {
    // Linux answers for any local address on any interface, and only one has an egress chain.
    let wire = Wire::new();
    wire.second();
    let near = client(&wire);
    let far = wire.client.run(|| Probe::open("cli1"));
    let mut guard = guarded(&wire, Custody::Owned);
    let answered = |vip: IpAddr| {
        far.send(&echo_request(vip));
        // The way back leads over the first wire.
        near.hear(Duration::from_millis(150), |frame| {
            is_echo_reply(frame, vip)
        })
        .is_some()
    };
    // Translated, the packet's last destination is an address that nothing guards.
    for line in [
        "add table ip other",
        "add chain ip other pre { type nat hook prerouting priority -100 ; }",
        "add rule ip other pre ip daddr 10.9.0.100 dnat to 10.9.0.1",
    ] {
        wire.owner.command("nft", line);
    }
    assert!(!far.resolves(VIP4) && !answered(VIP4));
    assert!(!far.resolves(VIP6) && !answered(VIP6));
    install(&mut guard, &BOTH, long());
    eventually("held, it resolves there", || far.resolves(VIP4));
    eventually("held, it answers there", || answered(VIP4));
}

#[test]
fn a_node_without_the_address_still_learns_who_has_it() {
    let wire = Wire::new();
    let probe = client(&wire);
    wire.owner
        .ip("neigh replace 10.9.0.100 lladdr 02:00:00:00:00:66 dev own0 nud reachable");
    wire.owner
        .ip("neigh replace fd09::100 lladdr 02:00:00:00:00:66 dev own0 nud reachable");
    let _guard = wire.owner.run(|| {
        let link = own_link(&mut Addresses::open().unwrap());
        let mut guard = Guard::open(Custody::Owned).unwrap();
        for vip in BOTH {
            guard.manage(vip, &link).unwrap();
        }
        guard
    });
    // The request form is sender and target at once; the reply form is not needed for this.
    probe.send(&arp(1, CLIENT_MAC, V4, [0; 6], V4));
    probe.send(&advertisement(CLIENT_MAC, V6));
    for vip in BOTH {
        eventually("the claim moves the neighbour entry", || {
            wire.owner
                .ip(&format!("neigh show {vip}"))
                .contains("02:00:00:00:09:02")
        });
    }
}

#[test]
fn a_forwarding_node_does_not_pass_on_what_neighbours_send_it_for_an_unheld_address() {
    let wire = Wire::new();
    let probe = client(&wire);
    // The address is not here any more, but a neighbour's cache still points here.
    let mut guard = guarded(&wire, Custody::Owned);
    wire.owner.ip("addr del 10.9.0.100/32 dev own0");
    wire.owner.command("sysctl", "-qw net.ipv4.ip_forward=1");
    wire.owner.ip("link add behind type veth peer name beyond");
    wire.owner.ip("link set behind up");
    wire.owner.ip("link set beyond up");
    wire.owner.ip("route add 10.9.0.100/32 dev behind");
    let behind = wire.owner.run(|| Probe::open("beyond"));
    wire.owner
        .ip("neigh add 10.9.0.100 lladdr 02:00:00:00:00:77 dev behind");
    let forwarded = |frame: &[u8]| frame[12..14] == [8, 0] && frame[30..34] == [10, 9, 0, 100];
    probe.echoes(VIP4);
    assert!(behind.hear(Duration::from_millis(100), forwarded).is_none());
    guard.unmanage(VIP4).unwrap();
    eventually("forwarded once nothing guards it", || {
        probe.echoes(VIP4);
        behind.hear(Duration::from_millis(100), forwarded).is_some()
    });
}
