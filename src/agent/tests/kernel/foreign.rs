//! Addresses that somebody else has put on the machine: never adopted, changed or removed (R13), and what an
//! interface that cannot carry an address leads to.

use crate::fixture::{BOTH, VIP4, VIP6, client};
use crate::lease::{World, assignment, assignment_of, beside_a_lease, token};
use crate::netns::{Wire, eventually};
use crate::probe::{CLIENT_MAC, Probe};
use haft_agent::kernel::address::{Addresses, Assigned, Keeper, PROTOCOL, Removal, Term};
use haft_agent::kernel::address::{Marks, Origin, WriteAddressError};
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::link::LinkIndex;
use haft_agent::order::Notice;
use haft_engine::clock::Timing;
use haft_engine::command::Difficulty;
use haft_engine::ids::ResourceId;
use haft_engine::keeper::{Output, Want};
use haft_engine::machine::Claim;
use std::net::IpAddr;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn term() -> Term {
    let now = boot_now();
    Term {
        now,
        valid: HOUR,
        until: now + HOUR,
    }
}

fn index(addresses: &mut Addresses, name: &str) -> LinkIndex {
    addresses.link(name).unwrap().unwrap().index
}

/// What an administrator types.
fn by_hand(wire: &Wire, address: IpAddr, prefix: u8, link: &str) {
    let nodad = if address.is_ipv6() { "nodad" } else { "" };
    wire.owner
        .ip(&format!("addr add {address}/{prefix} dev {link} {nodad}"));
}

fn copies(addresses: &mut Addresses, wanted: IpAddr) -> Vec<Assigned> {
    let mut found = addresses.all().unwrap();
    found.retain(|found| found.address == wanted);
    found
}

#[test]
fn an_address_that_an_administrator_has_put_anywhere_is_neither_adopted_nor_changed_nor_removed() {
    for vip in BOTH {
        let host = if vip.is_ipv4() { 32 } else { 128 };
        for (prefix, link) in [
            (24, "own0"),
            (64, "own0"),
            (host, "own0"),
            (host, "own1"),
            (24, "own1"),
        ] {
            if vip.is_ipv4() && prefix == 64 {
                continue;
            }
            let wire = Wire::new();
            wire.second();
            let mut keeper = wire.owner.run(|| Keeper::open().unwrap());
            let own = index(keeper.addresses(), "own0");
            by_hand(&wire, vip, prefix, link);
            let refused = keeper.keep(vip, own, term()).unwrap_err();
            assert!(
                matches!(refused, WriteAddressError::Foreign { .. }),
                "{vip}/{prefix} on {link}: {refused}"
            );
            let words = refused.to_string();
            assert!(
                words.contains(&format!("{vip}/{prefix} on {link}")),
                "{words}"
            );
            let forgotten = keeper.forget(vip).unwrap();
            assert_eq!(forgotten.removal, Removal::WasAbsent);
            assert_eq!(forgotten.foreign.len(), 1);
            let left = copies(keeper.addresses(), vip);
            assert_eq!(left.len(), 1, "{left:?}");
            assert_eq!((left[0].prefix, left[0].valid), (prefix, None));
            assert_ne!(left[0].protocol, PROTOCOL);
        }
    }
}

#[test]
fn a_renewal_brings_back_no_address_that_is_gone() {
    let wire = Wire::new();
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let own = index(&mut addresses, "own0");
        for vip in BOTH {
            addresses.put(vip, own, HOUR).unwrap();
            addresses.refresh(vip, own, HOUR).unwrap();
            addresses.remove(vip, own).unwrap();
            let late = addresses.refresh(vip, own, HOUR).unwrap_err();
            assert!(matches!(late, WriteAddressError::Absent { .. }), "{late}");
            assert!(copies(&mut addresses, vip).is_empty());
        }
    });
}

#[test]
fn a_renewal_adds_nothing_and_the_next_look_puts_it_back() {
    let wire = Wire::new();
    let mut keeper = wire.owner.run(|| Keeper::open().unwrap());
    let own = index(keeper.addresses(), "own0");
    for vip in BOTH {
        keeper.keep(vip, own, term()).unwrap();
        keeper.renew(vip, term()).unwrap();
        let host = if vip.is_ipv4() { 32 } else { 128 };
        wire.owner.ip(&format!("addr del {vip}/{host} dev own0"));
        let late = keeper.renew(vip, term()).unwrap_err();
        assert!(matches!(late, WriteAddressError::Absent { .. }), "{late}");
        assert!(copies(keeper.addresses(), vip).is_empty());
        assert_eq!(keeper.tend(boot_now()).unwrap().restored, [vip]);
    }
}

#[test]
fn an_address_of_ours_that_somebody_has_taken_over_is_theirs_from_then_on() {
    let wire = Wire::new();
    let mut keeper = wire.owner.run(|| Keeper::open().unwrap());
    let own = index(keeper.addresses(), "own0");
    for vip in BOTH {
        keeper.keep(vip, own, term()).unwrap();
        let host = if vip.is_ipv4() { 32 } else { 128 };
        wire.owner.ip(&format!(
            "addr change {vip}/{host} dev own0 valid_lft forever preferred_lft forever"
        ));
        let taken = keeper.keep(vip, own, term()).unwrap_err();
        assert!(
            matches!(taken, WriteAddressError::Foreign { .. }),
            "{taken}"
        );
        assert_eq!(keeper.forget(vip).unwrap().removal, Removal::WasAbsent);
        let left = copies(keeper.addresses(), vip);
        assert_eq!((left.len(), left[0].valid), (1, None));
    }
}

#[test]
fn on_a_kernel_without_marks_what_looks_like_ours_is_unclear_and_the_rest_is_foreign() {
    let wire = Wire::new();
    let mut keeper = wire.owner.run(|| Keeper::with(Marks::Lost).unwrap());
    let own = index(keeper.addresses(), "own0");
    for vip in BOTH {
        keeper.keep(vip, own, term()).unwrap();
        keeper.keep(vip, own, term()).unwrap();
        let found = copies(keeper.addresses(), vip);
        assert_eq!(found[0].origin(Marks::Lost), Origin::Unclear);
        assert_eq!(keeper.forget(vip).unwrap().removal, Removal::Removed);
        by_hand(
            &wire,
            vip,
            64.min(if vip.is_ipv4() { 24 } else { 64 }),
            "own0",
        );
        let refused = keeper.keep(vip, own, term()).unwrap_err();
        assert!(matches!(refused, WriteAddressError::Foreign { .. }));
    }
}

#[test]
fn what_an_interface_without_ipv6_never_had_is_proven_absent_and_refused_in_words() {
    for (spoil, cause) in [
        ("link set own0 mtu 1200", "the MTU of own0 is 1200"),
        ("sysctl", "IPv6 is switched off on own0"),
        ("link del own0", "there is no such interface"),
    ] {
        let wire = Wire::new();
        let mut keeper = wire.owner.run(|| Keeper::open().unwrap());
        let own = index(keeper.addresses(), "own0");
        if spoil == "sysctl" {
            wire.owner
                .command("sysctl", "-qw net.ipv6.conf.own0.disable_ipv6=1");
        } else {
            wire.owner.ip(spoil);
        }
        let refused = keeper.keep(VIP6, own, term()).unwrap_err().to_string();
        assert!(refused.contains(cause), "{refused}");
        assert!(!refused.contains("os error"), "{refused}");
        assert_eq!(keeper.forget(VIP6).unwrap().removal, Removal::WasAbsent);
        assert_eq!(
            keeper.addresses().remove(VIP6, own).unwrap(),
            Removal::WasAbsent
        );
    }
}

#[test]
fn an_interface_is_found_by_its_other_names() {
    let wire = Wire::new();
    wire.owner
        .ip("link property add dev own0 altname servicenetwork0");
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let own = index(&mut addresses, "own0");
        assert_eq!(index(&mut addresses, "servicenetwork0"), own);
        assert!(addresses.link("servicenetwork1").unwrap().is_none());
    });
}

/// Waits until the owner says why it cannot act; nothing may be said of acting or of a failed stop.
fn await_refusal(world: &mut World, wanted: &str) {
    let mut last = String::new();
    eventually(wanted, || {
        let Ok(Notice::Report(_, output)) = world.notices.try_recv() else {
            return false;
        };
        match output {
            Output::ReportFailed {
                difficulty: Difficulty::Start,
                why,
                ..
            } => last = why,
            Output::ReportActive { .. } | Output::ReportFailed { .. } => {
                panic!("said {output:?} instead")
            }
            _ => {}
        }
        last.contains(wanted)
    });
}

/// Waits for the release; no failed stop may come before it.
fn await_clean_release(world: &mut World) {
    let released = Output::ReportReleased {
        resource: ResourceId::vip("web"),
        token: token(),
    };
    eventually("it is handed back", || match world.notices.try_recv() {
        Ok(Notice::Report(_, output)) => {
            assert!(
                !matches!(
                    output,
                    Output::ReportFailed {
                        difficulty: Difficulty::Stop,
                        ..
                    }
                ),
                "{output:?}"
            );
            output == released
        }
        Ok(_) | Err(_) => false,
    });
}

#[test]
fn what_cannot_be_installed_is_handed_back_without_a_failed_stop() {
    for (spoil, vip, why) in [
        (
            "addr add 10.9.0.100/24 dev own0",
            VIP4,
            "10.9.0.100/24 on own0",
        ),
        (
            "addr add fd09::100/64 dev own0 nodad",
            VIP6,
            "fd09::100/64 on own0",
        ),
        ("link set own0 mtu 1200", VIP6, "the MTU of own0 is 1200"),
        ("link set own0 down", VIP4, "own0 has no carrier"),
        (
            "link set own0 name other0",
            VIP4,
            "there is no interface own0",
        ),
    ] {
        let wire = Wire::new();
        wire.owner.ip(spoil);
        beside_a_lease(&wire, Timing::NORMAL, |world, _| {
            world.admit();
            world.order(assignment_of((vip, "own0"), 30, &[Want::Hold]));
            await_refusal(world, why);
            await_clean_release(world);
        });
    }
}

#[test]
fn a_copy_that_shows_up_beside_the_owners_stays_silent_after_the_release_until_it_is_gone() {
    let wire = Wire::new();
    let probe = client(&wire);
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        wire.owner.ip("addr add 10.9.0.100/24 dev own0");
        eventually("the address answers", || probe.echoes(VIP4));
        world.order(assignment(31, &[Want::Release]));
        world.await_release();
        assert!(!probe.echoes(VIP4) && !probe.resolves(VIP4));
        let shown = wire.owner.ip("addr show dev own0");
        assert!(shown.contains("10.9.0.100/24"), "{shown}");
        assert!(!shown.contains("10.9.0.100/32"), "{shown}");
        // Once it is gone the address is nobody's business of ours.
        wire.owner.ip("addr del 10.9.0.100/24 dev own0");
        eventually("the guard has let go", || {
            !wire
                .owner
                .command("nft", "list sets")
                .contains("10.9.0.100")
        });
        wire.owner.ip("addr add 10.9.0.100/24 dev own0");
        eventually("the administrator's address answers", || probe.echoes(VIP4));
    });
}

/// An administrator's copy that answered before a grant was refused for it answers after that as before.
pub(crate) fn a_refusal_changes_nothing_on_the_wire(
    world: &mut World,
    wire: &Wire,
    probe: &Probe,
    vip: IpAddr,
) {
    let prefix = if vip.is_ipv4() { 24 } else { 64 };
    by_hand(wire, vip, prefix, "own0");
    eventually("the administrator's address answers", || probe.echoes(vip));
    let rules = || wire.owner.command("nft", "list ruleset");
    world.admit();
    world.order(assignment_of((vip, "own0"), 30, &[Want::Hold]));
    await_refusal(world, &format!("{vip}/{prefix} on own0"));
    assert!(probe.echoes(vip) && probe.resolves(vip), "{}", rules());
    await_clean_release(world);
    assert!(probe.echoes(vip) && probe.resolves(vip), "{}", rules());
    assert!(!rules().contains(&vip.to_string()), "{}", rules());
}

#[test]
fn a_grant_that_is_refused_for_a_copy_changes_nothing_on_the_wire() {
    for vip in BOTH {
        let wire = Wire::new();
        let probe = client(&wire);
        beside_a_lease(&wire, Timing::NORMAL, |world, _| {
            a_refusal_changes_nothing_on_the_wire(world, &wire, &probe, vip);
        });
        assert!(probe.echoes(vip), "the end of the agent silences it");
    }
}

#[test]
fn a_copy_that_was_silent_stays_silent_when_the_agent_starts_anew() {
    let wire = Wire::new();
    let probe = client(&wire);
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        wire.owner.ip("addr add 10.9.0.100/24 dev own0");
    });
    assert!(!probe.echoes(VIP4));
    beside_a_lease(&wire, Timing::NORMAL, |world, _| {
        eventually("it is ready", || {
            matches!(world.notices.try_recv(), Ok(Notice::Idle(_)))
        });
        assert!(!probe.echoes(VIP4));
        assert!(
            wire.owner
                .ip("addr show dev own0")
                .contains("10.9.0.100/24")
        );
    });
}

#[test]
fn a_machine_that_has_the_address_already_is_named_with_its_hardware_address() {
    for vip in BOTH {
        let wire = Wire::new();
        wire.client.ip(&format!(
            "addr add {vip} dev cli0 {}",
            if vip.is_ipv6() { "nodad" } else { "" }
        ));
        beside_a_lease(&wire, Timing::NORMAL, |world, _| {
            world.admit();
            world.order(assignment_of((vip, "own0"), 30, &[Want::Hold]));
            let rival = Claim {
                mac: CLIENT_MAC,
                link: "own0".to_owned(),
            };
            world.await_notice(
                "the rival is told",
                &Notice::Rival(ResourceId::vip("web"), Some(rival)),
            );
        });
    }
}
