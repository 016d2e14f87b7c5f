//! What the agent tells the leader of its kernel: addresses that it did not make, and interfaces.

use crate::netns::{Wire, eventually};
use haft_agent::census::{Sight, start};
use haft_agent::kernel::address::Addresses;
use haft_api::convert::machine_from;
use haft_engine::keeper::Carrier;
use haft_engine::machine::{Carries, Link, Machine};
use std::net::IpAddr;
use std::time::Duration;

fn refuses_ipv6(link: &Link, reason: &str) -> bool {
    matches!(&link.carries, Carries::NoIpv6(why) if why.contains(reason))
}

fn machine(sight: &Sight) -> Machine {
    machine_from(sight.borrow().clone()).unwrap()
}

fn await_machine(sight: &Sight, what: &str, wanted: impl Fn(&Machine) -> bool) {
    eventually(what, || wanted(&machine(sight)));
}

#[test]
fn addresses_of_others_are_told_as_they_come_and_go_and_ours_are_not() {
    let wire = Wire::new();
    wire.second();
    let sight = wire.owner.run(|| start().unwrap());
    let own: IpAddr = [10, 9, 0, 1].into();
    assert_eq!(machine(&sight).foreign(own).unwrap().link, "own0");
    let vip: IpAddr = [10, 9, 0, 100].into();
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let link = addresses.link("own0").unwrap().unwrap();
        addresses
            .put(vip, link.index, Duration::from_secs(600))
            .unwrap();
    });
    wire.owner.ip("addr add 10.9.0.100/24 dev own1");
    await_machine(&sight, "the copy is told", |machine| {
        machine
            .foreign(vip)
            .is_some_and(|found| found.link == "own1" && found.prefix == 24)
    });
    wire.owner.ip("addr del 10.9.0.100/24 dev own1");
    await_machine(&sight, "it is gone", |machine| {
        machine.foreign(vip).is_none()
    });
    wire.owner.ip("addr add 10.9.0.100/24 dev own1");
    await_machine(&sight, "it is back", |machine| {
        machine.foreign(vip).is_some()
    });
    wire.owner.ip("link del own1");
    await_machine(&sight, "it went with its interface", |machine| {
        machine.foreign(vip).is_none()
    });
}

#[test]
fn interfaces_are_told_with_their_names_carrier_and_ipv6() {
    let wire = Wire::new();
    let sight = wire.owner.run(|| start().unwrap());
    let link = |machine: &Machine| machine.link("own0").cloned();
    let first = link(&machine(&sight)).unwrap();
    assert_eq!((first.carrier, first.carries), (Carrier::Up, Carries::Any));
    wire.client.ip("link set cli0 down");
    await_machine(&sight, "the carrier is lost", |machine| {
        link(machine).is_some_and(|link| link.carrier == Carrier::Down)
    });
    wire.client.ip("link set cli0 up");
    wire.owner.ip("link property add dev own0 altname service");
    await_machine(&sight, "the other name is told", |machine| {
        machine
            .link("service")
            .is_some_and(|link| link.carrier == Carrier::Up)
    });
    wire.owner
        .command("sysctl", "-qw net.ipv6.conf.own0.disable_ipv6=1");
    await_machine(&sight, "IPv6 is off", |machine| {
        link(machine).is_some_and(|link| refuses_ipv6(&link, "switched off"))
    });
    wire.owner
        .command("sysctl", "-qw net.ipv6.conf.own0.disable_ipv6=0");
    wire.owner.ip("link set own0 mtu 1200");
    await_machine(&sight, "the MTU is too small", |machine| {
        link(machine).is_some_and(|link| refuses_ipv6(&link, "1200"))
    });
    wire.owner.ip("link del own0");
    await_machine(&sight, "it is gone", |machine| link(machine).is_none());
}
