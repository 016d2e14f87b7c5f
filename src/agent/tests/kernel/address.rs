//! Addresses on a real interface: how they are installed, kept, restored and found again.

use crate::netns::{Wire, eventually};
use haft_agent::kernel::address::{
    Addresses, Assigned, Change, Keeper, PROTOCOL, Removal, Term, Watch,
};
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::link::{Carrier, LinkIndex};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 100));
const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x100));
const BOTH: [IpAddr; 2] = [VIP4, VIP6];
const HOUR: Duration = Duration::from_secs(3600);

fn own(addresses: &mut Addresses) -> LinkIndex {
    addresses.link("own0").unwrap().unwrap().index
}

fn term(valid: Duration) -> Term {
    let now = boot_now();
    Term {
        now,
        valid,
        until: now + HOUR,
    }
}

fn find(addresses: &mut Addresses, wanted: IpAddr) -> Option<Assigned> {
    addresses
        .all()
        .unwrap()
        .into_iter()
        .find(|found| found.address == wanted)
}

#[test]
fn an_address_is_a_host_address_without_route_duplicate_check_or_preference() {
    let wire = Wire::new();
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let link = own(&mut addresses);
        for vip in BOTH {
            addresses
                .put(vip, link, Duration::from_millis(29_500))
                .unwrap();
            let found = find(&mut addresses, vip).unwrap();
            assert_eq!(found.prefix, if vip.is_ipv4() { 32 } else { 128 });
            assert_eq!(found.protocol, PROTOCOL);
            let valid = found.valid.expect("the backstop is there");
            assert!(valid <= Duration::from_secs(30) && valid > Duration::from_secs(20));
        }
    });
    let shown = wire.owner.ip("-d addr show dev own0 scope global");
    assert!(
        !shown.contains("tentative") && !shown.contains("dadfailed"),
        "{shown}"
    );
    assert_eq!(shown.matches("noprefixroute").count(), 2, "{shown}");
    assert_eq!(shown.matches("preferred_lft 0sec").count(), 2, "{shown}");
    assert!(
        !wire
            .owner
            .ip("route show table main")
            .contains("10.9.0.100")
    );
}

#[test]
fn the_kernel_removes_an_address_whose_lifetime_is_not_renewed() {
    let wire = Wire::new();
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let link = own(&mut addresses);
        for vip in BOTH {
            addresses.put(vip, link, Duration::from_secs(1)).unwrap();
        }
        eventually("both addresses are gone", || {
            BOTH.iter().all(|vip| find(&mut addresses, *vip).is_none())
        });
    });
}

#[test]
fn putting_again_is_refused_and_removing_twice_is_success() {
    let wire = Wire::new();
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let link = own(&mut addresses);
        for vip in BOTH {
            addresses.put(vip, link, Duration::from_secs(5)).unwrap();
            addresses
                .put(vip, link, HOUR)
                .expect_err("it is there already");
            assert!(find(&mut addresses, vip).unwrap().valid.unwrap() <= Duration::from_secs(5));
            addresses.refresh(vip, link, HOUR).unwrap();
            let found = find(&mut addresses, vip).unwrap();
            assert!(found.valid.unwrap() > Duration::from_secs(3000));
            assert_eq!(found.protocol, PROTOCOL);
            assert_eq!(addresses.remove(vip, link).unwrap(), Removal::Removed);
            assert_eq!(addresses.remove(vip, link).unwrap(), Removal::WasAbsent);
            assert_eq!(
                addresses.remove(vip, LinkIndex(9999)).unwrap(),
                Removal::WasAbsent
            );
            addresses
                .put(vip, LinkIndex(9999), HOUR)
                .expect_err("no such interface");
        }
    });
}

#[test]
fn a_restarted_agent_finds_and_removes_its_own_leftovers_only() {
    let wire = Wire::new();
    wire.owner.ip("addr add 10.9.0.55/32 dev own0");
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let link = own(&mut addresses);
        for vip in BOTH {
            addresses.put(vip, link, HOUR).unwrap();
        }
        let mut restarted = Addresses::open().unwrap();
        let removed = restarted.remove_leftovers().unwrap();
        let removed: Vec<IpAddr> = removed.iter().map(|found| found.address).collect();
        assert_eq!(removed, BOTH);
        assert!(restarted.ours().unwrap().is_empty());
        assert!(find(&mut restarted, IpAddr::from([10, 9, 0, 55])).is_some());
    });
}

#[test]
fn a_foreign_deletion_is_restored() {
    let wire = Wire::new();
    let mut keeper = wire.owner.run(|| Keeper::open().unwrap());
    let link = own(keeper.addresses());
    for vip in BOTH {
        keeper.keep(vip, link, term(HOUR)).unwrap();
    }
    assert!(keeper.tend(boot_now()).unwrap().restored.is_empty());
    wire.owner.ip("addr del 10.9.0.100/32 dev own0");
    wire.owner.ip("addr del fd09::100/128 dev own0");
    assert!(find(keeper.addresses(), VIP4).is_none());
    let mut restored = Vec::new();
    eventually("both are restored", || {
        restored.extend(keeper.tend(boot_now()).unwrap().restored);
        restored.len() == 2
    });
    for vip in BOTH {
        assert!(find(keeper.addresses(), vip).is_some());
    }
}

#[test]
fn nothing_is_restored_after_the_lease_or_once_forgotten() {
    let wire = Wire::new();
    let mut keeper = wire.owner.run(|| Keeper::open().unwrap());
    let link = own(keeper.addresses());
    let ended = Term {
        until: boot_now(),
        ..term(HOUR)
    };
    keeper.keep(VIP4, link, ended).unwrap();
    keeper.keep(VIP6, link, term(HOUR)).unwrap();
    assert_eq!(keeper.forget(VIP6).unwrap().removal, Removal::Removed);
    wire.owner.ip("addr del 10.9.0.100/32 dev own0");
    let mut missing = Vec::new();
    eventually("the loss is seen", || {
        let tended = keeper.tend(boot_now()).unwrap();
        assert!(tended.restored.is_empty());
        missing = tended.missing;
        !missing.is_empty()
    });
    assert_eq!(missing, [VIP4]);
    assert!(keeper.addresses().ours().unwrap().is_empty());
}

#[test]
fn carrier_and_interface_changes_are_reported() {
    let wire = Wire::new();
    let mut watch = wire.owner.run(|| Watch::open().unwrap());
    let mut seen = Vec::new();
    let mut carrier = |wanted: Carrier| {
        eventually("the carrier changes", || {
            seen.extend(watch.read().unwrap());
            let last = seen.iter().rev().find_map(|change| match change {
                Change::Link(link) if link.name == "own0" => Some(link.carrier),
                _ => None,
            });
            last == Some(wanted)
        });
    };
    wire.client.ip("link set cli0 down");
    carrier(Carrier::Down);
    wire.client.ip("link set cli0 up");
    carrier(Carrier::Up);
    let index = wire.owner.run(|| own(&mut Addresses::open().unwrap()));
    wire.owner.ip("link del own0");
    eventually("the interface goes", || {
        watch.read().unwrap().contains(&Change::LinkGone(index))
    });
}

#[test]
fn lost_reports_lead_to_a_full_comparison() {
    let wire = Wire::new();
    let mut keeper = wire.owner.run(|| Keeper::open().unwrap());
    let link = own(keeper.addresses());
    keeper.keep(VIP4, link, term(HOUR)).unwrap();
    // More reports than the socket has room for, then the loss that nobody hears of.
    wire.owner.run(|| {
        let mut other = Addresses::open().unwrap();
        for n in 0..8_000_u16 {
            let passing = Ipv4Addr::from(0x0a0a_0000 + u32::from(n));
            other.put(passing.into(), link, HOUR).unwrap();
            other.remove(passing.into(), link).unwrap();
        }
        other.remove(VIP4, link).unwrap();
    });
    let (mut resynced, mut restored) = (false, false);
    eventually("the loss of reports is seen and mended", || {
        let tended = keeper.tend(boot_now()).unwrap();
        resynced |= tended.links.contains(&Change::Resync);
        restored |= tended.restored == [VIP4];
        resynced && restored
    });
}
