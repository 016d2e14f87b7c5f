//! An owner whose guard manages one IPv4 and one IPv6 address, and what a client expects of them.

use crate::netns::{Wire, eventually};
use crate::probe::Probe;
use haft_agent::kernel::address::Addresses;
use haft_agent::kernel::guard::{Custody, Guard, Life};
use haft_agent::kernel::link::Link;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub(crate) const V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
pub(crate) const V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x100);
pub(crate) const VIP4: IpAddr = IpAddr::V4(V4);
pub(crate) const VIP6: IpAddr = IpAddr::V6(V6);
pub(crate) const BOTH: [IpAddr; 2] = [VIP4, VIP6];

/// Long enough that no stall of a busy machine ends it within one test.
pub(crate) fn long() -> Life {
    Life::of(Duration::from_secs(60)).unwrap()
}

/// Ends within a test's patience.
pub(crate) fn short() -> Life {
    Life::of(Duration::from_millis(200)).unwrap()
}

/// A guard in the owner's namespace that manages both addresses, which are on the interface.
pub(crate) fn guarded(wire: &Wire, custody: Custody) -> Guard {
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

pub(crate) fn own_link(addresses: &mut Addresses) -> Link {
    addresses.link("own0").unwrap().unwrap()
}

pub(crate) fn install(guard: &mut Guard, addresses: &[IpAddr], life: Life) {
    let turn = guard.arm(addresses, life).unwrap();
    let write = guard.prepare_install(turn, addresses, life).unwrap();
    guard.send(&write).unwrap();
}

pub(crate) fn client(wire: &Wire) -> Probe {
    wire.client.run(|| Probe::open("cli0"))
}

/// Waits until the kernel lists no held element of these addresses in any family.
pub(crate) fn await_lapse(wire: &Wire, addresses: &[IpAddr]) {
    eventually("the guard lapses", || {
        let sets = wire.owner.command("nft", "list sets");
        let held = sets.split("set ").filter(|set| set.starts_with("held"));
        let listed: String = held.collect();
        !addresses
            .iter()
            .any(|address| listed.contains(&format!("{address} ")))
    });
}

pub(crate) fn assert_silent(probe: &Probe) {
    for vip in BOTH {
        assert!(!probe.resolves(vip), "{vip} answers resolution");
        assert!(!probe.echoes(vip), "{vip} answers an echo");
    }
}

pub(crate) fn assert_answering(probe: &Probe) {
    for vip in BOTH {
        eventually("the held address resolves", || probe.resolves(vip));
        eventually("the held address echoes", || probe.echoes(vip));
    }
}
