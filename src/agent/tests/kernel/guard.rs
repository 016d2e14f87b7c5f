//! The dead-man switch against a real kernel and a client on the other end of a wire.
//!
//! Asserts states, never durations: silence after a lapse is waited for with a deadline.

use crate::fixture::{
    BOTH, VIP4, VIP6, assert_answering, assert_silent, await_lapse, client, guarded, install, long,
    own_link, short,
};
use crate::netns::{Wire, eventually};
use haft_agent::dismantle::{DismantleError, clear_up};
use haft_agent::kernel::address::Addresses;
use haft_agent::kernel::guard::{
    Attestation, Custody, Guard, GuardWriteError, Life, OpenGuardError, Upkeep,
};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

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
fn a_second_guard_is_refused_while_the_first_lives_whatever_its_tables() {
    for custody in [Custody::Owned, Custody::Watched] {
        let wire = Wire::new();
        let probe = client(&wire);
        let mut first = guarded(&wire, custody);
        install(&mut first, &BOTH, long());
        wire.owner.run(|| {
            for opened in [
                Guard::open(Custody::Owned),
                Guard::open(Custody::Watched),
                Guard::behind_gate(Custody::Owned),
            ] {
                assert!(matches!(opened, Err(OpenGuardError::OwnedElsewhere { .. })));
            }
        });
        // Whoever may change the packet filter takes the tables that are not owned, but not the lock.
        wire.owner.command("nft", "flush ruleset");
        wire.owner.run(|| {
            assert!(matches!(
                Guard::open(Custody::Owned),
                Err(OpenGuardError::OwnedElsewhere { .. })
            ));
        });
        first.tend().unwrap();
        install(&mut first, &BOTH, long());
        assert_answering(&probe);
    }
}

/// Who saves the ruleset while an agent lives, and loads it at boot, makes a lock that is nobody's.
#[test]
fn a_lock_that_nobody_owns_keeps_no_agent_from_starting_and_the_next_from_none() {
    let wire = Wire::new();
    wire.owner.command("nft", "add table inet haft_lock");
    let _first = guarded(&wire, Custody::Owned);
    let second = wire.owner.run(|| Guard::open(Custody::Owned));
    assert!(matches!(second, Err(OpenGuardError::OwnedElsewhere { .. })));
}

#[test]
fn clearing_up_beside_a_living_agent_touches_nothing() {
    for custody in [Custody::Owned, Custody::Watched] {
        let wire = Wire::new();
        let probe = client(&wire);
        let mut first = guarded(&wire, custody);
        install(&mut first, &BOTH, long());
        wire.owner.run(|| {
            let done = clear_up(None);
            assert!(matches!(
                done,
                Err(DismantleError::Open(OpenGuardError::OwnedElsewhere { .. }))
            ));
        });
        assert_eq!(first.attest().unwrap(), Attestation::Intact);
        assert_answering(&probe);
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
fn an_interface_that_vanishes_and_returns_leaves_the_guard_intact() {
    let wire = Wire::new();
    wire.second();
    let mut guard = guarded(&wire, Custody::Owned);
    wire.owner.run(|| {
        let far = Addresses::open().unwrap().link("own1").unwrap().unwrap();
        let elsewhere = IpAddr::from([10, 9, 0, 101]);
        guard.manage(elsewhere, &far).unwrap();
        install(&mut guard, &BOTH, long());
        wire.owner.ip("link del own1");
        assert_eq!(guard.inspect().unwrap(), Attestation::Intact);
        wire.second();
        let returned = Addresses::open().unwrap().link("own1").unwrap().unwrap();
        assert_ne!(returned.index, far.index);
        guard.manage(elsewhere, &returned).unwrap();
        wire.owner.ip("link del own1");
        wire.second();
        let again = Addresses::open().unwrap().link("own1").unwrap().unwrap();
        guard.manage(elsewhere, &again).unwrap();
        assert_eq!(guard.inspect().unwrap(), Attestation::Intact);
        // What is held elsewhere was never touched.
        let renewal = guard.prepare_renew(guard.turn(), &BOTH, long()).unwrap();
        guard.send(&renewal).unwrap();
        wire.owner.ip("link del own0");
        guard.repair().unwrap();
        assert_eq!(guard.inspect().unwrap(), Attestation::Intact);
    });
}
