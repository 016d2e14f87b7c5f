//! The program over frames of every form, the table beside its source, the links looked after.
//!
//! Each test has a network namespace and a bpf file system of its own, which end with it. Needs root.

use super::*;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::thread::UnshareFlags;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

mod hooked;
mod rights;
mod soonest;
mod table;
mod verdicts;

/// Runs `work` with a gate in a namespace of its own, which ends with the thread.
fn beside_a_gate(work: impl FnOnce(&mut Gate) + Send + 'static) {
    in_own_namespace(|root| work(&mut Gate::open(Home::within(root).unwrap()).unwrap()));
}

pub(super) fn in_own_namespace(work: impl FnOnce(&Path) + Send + 'static) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes network namespaces and must run as root"
    );
    let thread = std::thread::spawn(|| {
        unshare_network();
        let mount = file_system();
        work(&path_of(&mount));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The same with pinned links; on a kernel without them there is nothing to try, and `hooked` tries what it has.
fn beside_pinned_links(work: impl FnOnce(&mut Gate) + Send + 'static) {
    match Footing::of_this_kernel() {
        Footing::Pinned => beside_a_gate(work),
        Footing::Filters => {}
    }
}

/// Whether anything of ours stands on this link.
fn is_on(gate: &mut Gate, link: LinkIndex) -> bool {
    match gate.footing() {
        Footing::Pinned => bpf::first(link.0, Way::In).unwrap().is_some(),
        Footing::Filters => !gate.filters.on(link.0, Way::In).unwrap().is_empty(),
    }
}

/// A bpf file system mounted nowhere: it ends with the descriptor.
pub(super) fn file_system() -> OwnedFd {
    let context = rustix::mount::fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_create(&context).unwrap();
    let attributes = MountAttrFlags::empty();
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).unwrap()
}

pub(super) fn path_of(mount: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()))
}

#[expect(
    unsafe_code,
    reason = "unshare is the only way to a namespace of one's own"
)]
fn unshare_network() {
    // SAFETY: the calling thread was made for this, shares no file descriptors by way of the
    // flags, and ends right after.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
}

fn ip(args: &str) {
    run("ip", args);
}

fn tc(args: &str) {
    run("tc", args);
}

fn run(program: &str, args: &str) {
    let status = Command::new(program)
        .args(args.split(' '))
        .status()
        .unwrap();
    assert!(status.success(), "{program} {args}");
}

/// Looks once, whatever was looked at a moment ago.
fn glance(gate: &mut Gate) -> Tended {
    gate.tended = Moment(0);
    gate.tend(boot_now())
}

/// Looks until nothing is on its way; what came of it, but for the links that follow.
fn look(gate: &mut Gate) -> Tended {
    let mut told = glance(gate);
    while gate.is_behind() {
        match glance(gate) {
            Tended::Intact | Tended::Links => {}
            more => told = more,
        }
    }
    told
}

fn link(gate: &Gate, name: &str) -> LinkIndex {
    let found = gate.links.values().find(|facts| facts.name == name);
    LinkIndex(found.unwrap().index)
}

#[test]
fn what_somebody_detaches_or_puts_before_the_gate_is_noticed_and_mended() {
    beside_pinned_links(|gate| {
        assert_eq!(look(gate), Tended::Intact);
        gate.home.unpin("in-1").unwrap();
        assert!(matches!(look(gate), Tended::Repaired { .. }));
        assert_eq!(look(gate), Tended::Intact);
        let foreign = gate.programs.clock().unwrap();
        let before = bpf::attach(&foreign.fd, 1, Way::Out).unwrap();
        assert!(matches!(look(gate), Tended::Repaired { .. }));
        assert_eq!(look(gate), Tended::Intact);
        drop(before);
    });
}

#[test]
fn among_more_links_than_one_look_takes_each_has_its_turn() {
    beside_pinned_links(|gate| {
        for number in 0..150 {
            ip(&format!("link add a{number} type veth peer name b{number}"));
        }
        assert_eq!(look(gate), Tended::Links);
        let indexes: Vec<u32> = gate.links.keys().copied().collect();
        assert!(indexes.len() > 256);
        for index in [indexes[0], indexes[260], indexes[100]] {
            let pin = format!("out-{index}");
            gate.home.unpin(&pin).unwrap();
            // A report that is still to come makes a look put it back without a word.
            for _ in 0..2 {
                look(gate);
            }
            assert!(gate.home.pins().unwrap().contains(&pin), "{pin}");
        }
    });
}

/// A grace period of the kernel for each program: all at once would cost beats.
#[test]
fn links_that_come_together_are_gated_one_look_after_the_other_and_carry_nothing_before() {
    beside_pinned_links(|gate| {
        assert_eq!(look(gate), Tended::Intact);
        for name in ["dum0", "dum1", "dum2"] {
            ip(&format!("link add {name} type bridge"));
        }
        for gated in 1..=3 {
            assert_eq!(glance(gate), Tended::Links);
            let states = ["dum0", "dum1", "dum2"].map(|name| gate.carries(link(gate, name)));
            let standing = states.iter().filter(|state| state.is_ok()).count();
            let coming = states
                .iter()
                .filter(|state| **state == Err(Ungated::Coming));
            assert_eq!((standing, coming.count()), (gated, 3 - gated), "{states:?}");
            assert_eq!(gate.is_behind(), gated < 3);
            assert_eq!(gate.stands_everywhere(), gated == 3);
        }
        assert_eq!(glance(gate), Tended::Intact);
    });
}

#[test]
fn every_link_that_comes_is_gated_and_a_port_at_its_master() {
    beside_a_gate(|gate| {
        ip("link add bridge0 type bridge");
        ip("link add left type veth peer name right");
        assert_eq!(look(gate), Tended::Links);
        for name in ["bridge0", "left", "right"] {
            assert_eq!(gate.carries(link(gate, name)), Ok(()), "{name}");
        }
        tc("qdisc add dev right root tbf rate 1mbit burst 1540 latency 400ms");
        assert_eq!(look(gate), Tended::Links);
        let shaped = gate.carries(link(gate, "right"));
        assert!(matches!(shaped, Err(Ungated::Queued { .. })));
        assert!(gate.stands_everywhere(), "it is gated, if a little late");
        ip("link set right master bridge0");
        assert_eq!(look(gate), Tended::Links);
        let over = gate.carries(link(gate, "bridge0"));
        assert!(matches!(over, Err(Ungated::Queued { .. })), "by its port");
        ip("link set right nomaster");
        ip("link add over0 link right type macvlan mode bridge");
        assert_eq!(look(gate), Tended::Links);
        let over = gate.carries(link(gate, "over0"));
        assert!(
            matches!(over, Err(Ungated::Queued { .. })),
            "by what it sends over"
        );
        assert_eq!(gate.carries(link(gate, "left")), Ok(()));
        tc("qdisc del dev right root");
        ip("link del over0");
        assert_eq!(look(gate), Tended::Links);
        ip("link set left master bridge0");
        assert_eq!(look(gate), Tended::Links);
        let port = link(gate, "left");
        assert!(matches!(gate.carries(port), Err(Ungated::PortOf { .. })));
        assert!(!is_on(gate, port));
        ip("link set left nomaster");
        assert_eq!(look(gate), Tended::Links);
        assert_eq!(gate.carries(port), Ok(()));
        ip("link del left");
        assert_eq!(look(gate), Tended::Links);
        assert!(
            !gate
                .home
                .pins()
                .unwrap()
                .contains(&format!("in-{}", port.0))
        );
        assert!(gate.stands_everywhere());
    });
}

#[test]
fn a_tunnel_of_ipsec_that_takes_an_address_past_the_gate_is_noticed_and_worth_less() {
    beside_a_gate(|gate| {
        let ours: IpAddr = Ipv4Addr::new(198, 51, 100, 7).into();
        let other = Ipv4Addr::new(198, 51, 101, 7).into();
        gate.close(ours).unwrap();
        let (whole, selector) = (gate.worth(), "src 198.51.100.0/24 dst 0.0.0.0/0 dir out");
        let template = "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp";
        // In front of the gate, with the address in the outer header, or on an interface.
        for harmless in [
            format!("src 0.0.0.0/0 dst 198.51.100.0/24 dir in {template} mode tunnel"),
            format!("{selector} {template} mode transport"),
        ] {
            ip(&format!("xfrm policy add {harmless}"));
            look(gate);
            assert_eq!(gate.sees(ours), Ok(()), "{harmless}");
        }
        ip("xfrm policy flush");
        ip(&format!(
            "xfrm policy add {selector} {template} mode tunnel"
        ));
        assert_eq!(look(gate), Tended::Links);
        assert_eq!(gate.sees(ours), Err(Ungated::Tunnelled));
        assert_eq!(gate.sees(other), Ok(()));
        assert_eq!(gate.worth(), Found::Watched);
        ip(&format!("xfrm policy delete {selector}"));
        assert_eq!(look(gate), Tended::Links);
        assert_eq!(gate.sees(ours), Ok(()));
        assert_eq!(gate.worth(), whole);
    });
}

#[test]
fn a_map_that_somebody_unpins_is_pinned_again() {
    beside_a_gate(|gate| {
        for name in ["places", "ends"] {
            gate.home.unpin(name).unwrap();
            let what = format!("its map {name} is not pinned any more");
            assert_eq!(look(gate), Tended::Repaired { what });
            assert_eq!(look(gate), Tended::Intact);
            // Another map in its place is none of ours.
            gate.home.unpin(name).unwrap();
            let other = bpf::create_map("other", bpf::HASH, (16, 4), 1, 0).unwrap();
            bpf::pin(&gate.home.pin(name), &other).unwrap();
            assert!(matches!(look(gate), Tended::Repaired { .. }));
            assert_eq!(look(gate), Tended::Intact);
        }
    });
}

#[test]
fn a_new_agent_finds_every_end_closed_and_goes_on_with_the_same_maps() {
    in_own_namespace(|root| {
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut old = Gate::open(Home::within(root).unwrap()).unwrap();
        let places = bpf::map_id(&old.ends.places).unwrap();
        old.close(address).unwrap();
        assert!(old.renew(&[address], Moment(u64::MAX)));
        drop(old);
        let mut new = Gate::open(Home::within(root).unwrap()).unwrap();
        assert_eq!(bpf::map_id(&new.ends.places).unwrap(), places);
        assert_eq!(new.addresses().collect::<Vec<_>>(), [address]);
        let claim = claim_of(Ipv4Addr::new(192, 0, 2, 1));
        let out = &new.loaded[&(Form::Ether, Way::Out)];
        assert_eq!(bpf::test_run(&out.fd, &claim, 1).unwrap().answer, DROPPED);
        assert_eq!(look(&mut new), Tended::Intact);
        new.forget(address).unwrap();
        drop(new);
        take_away(&Home::within(root).unwrap()).unwrap();
        assert!(!root.join("haft").read_dir().unwrap().any(|_| true));
    });
}

#[test]
fn a_full_map_refuses_the_address_and_closes_no_other() {
    in_own_namespace(|root| {
        let home = Home::within(root).unwrap();
        let mut ends = Ends::open(&home).unwrap();
        let address = |n: u32| IpAddr::from(Ipv4Addr::from(n + 1));
        for n in 0..ADDRESSES_MAX {
            ends.close(address(n)).unwrap();
        }
        assert!(ends.close(address(ADDRESSES_MAX)).is_err());
        assert!(!ends.renew(&[address(ADDRESSES_MAX)], Moment(5)));
        ends.forget(address(7)).unwrap();
        ends.close(address(ADDRESSES_MAX)).unwrap();
        assert_eq!(ends.addresses().count(), ADDRESSES_MAX as usize);
    });
}
