//! The dead-man switch against a real kernel and a client on the other end of a wire.
//!
//! Asserts states, never durations: silence after a lapse is waited for with a deadline.

use crate::netns::{Wire, eventually};
use crate::probe::{OWNER_MAC, Probe, advertisement, arp, claims4, claims6};
use haft_agent::kernel::address::Addresses;
use haft_agent::kernel::guard::{
    Attestation, Custody, Guard, GuardWriteError, Life, OpenGuardError, Upkeep,
};
use haft_agent::kernel::link::Link;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 100));
const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x100));
const BOTH: [IpAddr; 2] = [VIP4, VIP6];

/// Long enough that no stall of a busy machine ends it within one test.
fn long() -> Life {
    Life::of(Duration::from_secs(60)).unwrap()
}

/// Ends within a test's patience.
fn short() -> Life {
    Life::of(Duration::from_millis(200)).unwrap()
}

/// A guard in the owner's namespace that manages both addresses, which are on the interface.
fn guarded(wire: &Wire, custody: Custody) -> Guard {
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let link = own_link(&mut addresses);
        let mut guard = Guard::open(custody).unwrap();
        for vip in BOTH {
            guard.manage(vip, &link).unwrap();
            addresses
                .put(vip, link.index, Duration::from_secs(3600))
                .unwrap();
        }
        guard
    })
}

fn own_link(addresses: &mut Addresses) -> Link {
    addresses.link("own0").unwrap().unwrap()
}

fn install(guard: &mut Guard, addresses: &[IpAddr], life: Life) {
    let turn = guard.arm(addresses, life).unwrap();
    let write = guard.prepare_install(turn, addresses, life).unwrap();
    guard.send(&write).unwrap();
}

fn client(wire: &Wire) -> Probe {
    wire.client.run(|| Probe::open("cli0"))
}

/// Waits until the kernel lists no held element of these addresses in any family.
fn await_lapse(wire: &Wire, addresses: &[IpAddr]) {
    eventually("the guard lapses", || {
        let sets = wire.owner.command("nft", "list sets");
        let held = sets.split("set ").filter(|set| set.starts_with("held"));
        let listed: String = held.collect();
        !addresses
            .iter()
            .any(|address| listed.contains(&format!("{address} ")))
    });
}

fn assert_silent(probe: &Probe) {
    for vip in BOTH {
        assert!(!probe.resolves(vip), "{vip} answers resolution");
        assert!(!probe.echoes(vip), "{vip} answers an echo");
    }
}

fn assert_answering(probe: &Probe) {
    for vip in BOTH {
        eventually("the held address resolves", || probe.resolves(vip));
        eventually("the held address echoes", || probe.echoes(vip));
    }
}

#[test]
fn a_managed_address_answers_only_while_it_is_held() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    assert_silent(&probe);
    install(&mut guard, &BOTH, long());
    assert_answering(&probe);
    guard.release(&BOTH).unwrap();
    assert_silent(&probe);
    guard.unmanage(VIP4).unwrap();
    eventually("an address no longer managed answers", || {
        probe.echoes(VIP4)
    });
}

#[test]
fn replies_cease_after_the_last_renewal_with_nobody_left_to_act() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    install(&mut guard, &BOTH, long());
    assert_answering(&probe);
    let turn = guard.turn();
    let renewal = guard.prepare_renew(turn, &BOTH, short()).unwrap();
    guard.send(&renewal).unwrap();
    drop(guard);
    await_lapse(&wire, &BOTH);
    assert_silent(&probe);
}

#[test]
fn a_renewal_keeps_the_address_and_may_be_repeated_without_encoding() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    install(&mut guard, &BOTH, long());
    let mut renewal = guard.prepare_renew(guard.turn(), &BOTH, long()).unwrap();
    for _ in 0..100 {
        renewal.decided_at(guard.turn());
        guard.send(&renewal).unwrap();
    }
    assert_answering(&probe);
}

#[test]
fn a_renewal_delivered_after_the_lapse_revives_nothing() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Watched);
    install(&mut guard, &BOTH, short());
    // Decided in time, then the agent is stopped before it can send.
    let pending = guard.prepare_renew(guard.turn(), &BOTH, long()).unwrap();
    await_lapse(&wire, &BOTH);
    match guard.send(&pending) {
        Err(GuardWriteError::Lapsed { addresses }) => assert_eq!(addresses, BOTH),
        other => panic!("a late renewal was taken: {other:?}"),
    }
    assert_silent(&probe);
}

#[test]
fn a_plain_addition_would_revive_a_lapsed_guard() {
    // The reason for the rule above: the same late write as an addition opens the address.
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Watched);
    install(&mut guard, &[VIP4], short());
    await_lapse(&wire, &[VIP4]);
    for family in ["inet", "arp", "netdev"] {
        let element = format!("add element {family} haft held4 {{ 10.9.0.100 timeout 60s }}");
        wire.owner.command("nft", &element);
    }
    eventually("the addition opens the address", || probe.echoes(VIP4));
}

#[test]
fn an_installation_delivered_after_the_armed_life_opens_nothing() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    let turn = guard.arm(&BOTH, short()).unwrap();
    let pending = guard.prepare_install(turn, &BOTH, long()).unwrap();
    eventually("the armed elements lapse", || {
        !wire
            .owner
            .command("nft", "list set inet haft armed4")
            .contains("10.9.0.100")
    });
    assert!(matches!(
        guard.send(&pending),
        Err(GuardWriteError::Lapsed { .. })
    ));
    assert_silent(&probe);
    install(&mut guard, &BOTH, long());
    assert_answering(&probe);
}

#[test]
fn a_write_decided_before_a_release_is_refused() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    install(&mut guard, &BOTH, long());
    let pending = guard.prepare_renew(guard.turn(), &BOTH, long()).unwrap();
    guard.release(&[VIP6]).unwrap();
    assert!(matches!(
        guard.send(&pending),
        Err(GuardWriteError::Superseded { address: VIP6 })
    ));
    assert!(!probe.echoes(VIP6));
}

#[test]
fn one_lapsed_address_fails_the_whole_write_and_is_named() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    install(&mut guard, &[VIP4], long());
    install(&mut guard, &[VIP6], short());
    await_lapse(&wire, &[VIP6]);
    let turn = guard.turn();
    let both = guard.prepare_renew(turn, &BOTH, long()).unwrap();
    match guard.send(&both) {
        Err(GuardWriteError::Lapsed { addresses }) => assert_eq!(addresses, [VIP6]),
        other => panic!("expected the lapsed address, got {other:?}"),
    }
    let rest = guard.prepare_renew(turn, &[VIP4], long()).unwrap();
    guard.send(&rest).unwrap();
    assert!(!probe.echoes(VIP6));
    eventually("the other address is held", || probe.echoes(VIP4));
}

#[test]
fn a_full_batch_of_addresses_is_installed_renewed_and_lapses_by_name() {
    let wire = Wire::new();
    let many: Vec<IpAddr> = (0..=255)
        .map(|n| match n % 2 {
            0 => IpAddr::from([10, 9, 7, n]),
            _ => IpAddr::from(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 7, u16::from(n))),
        })
        .collect();
    wire.owner.run(|| {
        let link = own_link(&mut Addresses::open().unwrap());
        let mut guard = Guard::open(Custody::Owned).unwrap();
        for address in &many {
            guard.manage(*address, &link).unwrap();
        }
        install(&mut guard, &many, long());
        let renewal = guard.prepare_renew(guard.turn(), &many, long()).unwrap();
        guard.send(&renewal).unwrap();
        guard.release(&many).unwrap();
        let late = guard.prepare_renew(guard.turn(), &many, long()).unwrap();
        match guard.send(&late) {
            Err(GuardWriteError::Lapsed { addresses }) => assert_eq!(addresses.len(), 256),
            other => panic!("released addresses were renewed: {other:?}"),
        }
        let too_many = [many.clone(), vec![VIP4]].concat();
        assert!(matches!(
            guard.prepare_renew(guard.turn(), &too_many, long()),
            Err(GuardWriteError::BatchSize { count: 257 })
        ));
        assert_eq!(guard.inspect().unwrap(), Attestation::Intact);
    });
}

#[test]
fn a_foreign_flush_is_noticed_and_repaired_closed() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Watched);
    install(&mut guard, &BOTH, long());
    assert_eq!(guard.attest().unwrap(), Attestation::Intact);
    wire.owner.command("nft", "flush ruleset");
    assert!(matches!(
        guard.attest().unwrap(),
        Attestation::Broken { .. }
    ));
    let renewal = guard.prepare_renew(guard.turn(), &BOTH, long()).unwrap();
    assert!(guard.send(&renewal).is_err(), "a renewal without tables");
    assert!(matches!(guard.tend().unwrap(), Upkeep::Repaired { .. }));
    assert_eq!(guard.tend().unwrap(), Upkeep::Intact);
    assert_silent(&probe);
    install(&mut guard, &BOTH, long());
    assert_answering(&probe);
}

#[test]
fn every_kind_of_foreign_change_breaks_the_attestation() {
    for change in [
        "delete table arp haft",
        "flush chain inet haft output",
        "insert rule inet haft input accept",
        "delete element netdev haft managed4 { 10.9.0.100 }",
        "add table inet haft { flags dormant ; }",
    ] {
        let wire = Wire::new();
        let mut guard = guarded(&wire, Custody::Watched);
        wire.owner.command("nft", change);
        assert!(
            matches!(guard.attest().unwrap(), Attestation::Broken { .. }),
            "unnoticed: {change}"
        );
        guard.repair().unwrap();
        assert_eq!(
            guard.inspect().unwrap(),
            Attestation::Intact,
            "after: {change}"
        );
        assert_silent(&client(&wire));
    }
}

#[test]
fn a_foreign_table_of_another_name_leaves_the_guard_intact() {
    let wire = Wire::new();
    let mut guard = guarded(&wire, Custody::Watched);
    wire.owner.command("nft", "add table inet other");
    assert_eq!(guard.attest().unwrap(), Attestation::Intact);
    assert_eq!(guard.inspect().unwrap(), Attestation::Intact);
}

#[test]
fn owned_tables_survive_a_foreign_flush_and_their_owner() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    if guard.custody() == Custody::Watched {
        // Before Linux 6.9 there is nothing to own persistently; the fallback is tested above.
        assert!(
            wire.owner
                .command("nft", "list tables")
                .contains("inet haft")
        );
        return;
    }
    install(&mut guard, &BOTH, long());
    wire.owner.command("nft", "flush ruleset");
    assert_eq!(guard.attest().unwrap(), Attestation::Intact);
    assert_answering(&probe);
    guard.release(&BOTH).unwrap();
    drop(guard);
    assert!(
        wire.owner
            .command("nft", "list tables")
            .contains("inet haft")
    );
    assert_silent(&probe);
}

#[test]
fn a_second_guard_is_refused_while_the_first_owns_the_tables() {
    let wire = Wire::new();
    let first = guarded(&wire, Custody::Owned);
    if first.custody() == Custody::Owned {
        wire.owner.run(|| {
            assert!(matches!(
                Guard::open(Custody::Owned),
                Err(OpenGuardError::OwnedElsewhere { .. })
            ));
        });
    }
}

#[test]
fn a_restarted_guard_adopts_what_was_managed_and_holds_nothing() {
    for (before, after) in [
        (Custody::Owned, Custody::Owned),
        (Custody::Watched, Custody::Owned),
        (Custody::Owned, Custody::Watched),
    ] {
        let wire = Wire::new();
        let probe = client(&wire);
        let mut first = guarded(&wire, before);
        install(&mut first, &BOTH, long());
        drop(first);
        // Another test's child may, until it calls exec, still share the first guard's socket.
        let mut reopened = None;
        eventually("the tables can be taken over", || {
            reopened = wire.owner.run(|| Guard::open(after).ok());
            reopened.is_some()
        });
        let mut second = reopened.unwrap();
        assert_eq!(second.managed().collect::<Vec<_>>(), BOTH);
        assert_silent(&probe);
        assert_eq!(second.inspect().unwrap(), Attestation::Intact);
        install(&mut second, &BOTH, long());
        assert_answering(&probe);
    }
}

#[test]
fn raw_announcements_leave_only_while_the_address_is_held() {
    let wire = Wire::new();
    let probe = client(&wire);
    let mut guard = guarded(&wire, Custody::Owned);
    let raw = wire.owner.run(|| Probe::open("own0"));
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (VIP4, VIP6) else {
        unreachable!("the constants say so")
    };
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

#[test]
fn lives_that_the_kernel_would_take_for_eternity_are_refused() {
    for refused in [
        Duration::ZERO,
        Duration::from_millis(9),
        Duration::from_secs(61),
    ] {
        assert!(Life::of(refused).is_err());
    }
}

#[test]
fn an_interface_that_vanishes_leaves_the_guard_intact() {
    let wire = Wire::new();
    let mut guard = guarded(&wire, Custody::Owned);
    wire.owner.ip("link del own0");
    wire.owner.run(|| {
        assert_eq!(guard.inspect().unwrap(), Attestation::Intact);
        guard.repair().unwrap();
        assert_eq!(guard.inspect().unwrap(), Attestation::Intact);
    });
}
