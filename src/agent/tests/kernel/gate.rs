//! The gate judged from outside: a client that asks, with the agent dead and the packet filter flushed.
//!
//! A gate that is dropped is an agent that was killed: its links stay pinned, and nobody renews or looks after
//! anything.

use crate::fixture::{BOTH, V4, V6, VIP4, VIP6, assert_answering, assert_silent, client};
use crate::foreign::a_refusal_changes_nothing_on_the_wire;
use crate::lease::{assignment, beside_a_gated_lease};
use crate::netns::{Namespace, Wire, eventually};
use crate::probe::{CLIENT_MAC, Probe, advertisement, arp, claims4};
use haft_agent::dismantle::{DismantleError, clear_up};
use haft_agent::kernel::address::Addresses;
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::gate::{Footing, Gate, Home, Tended};
use haft_agent::kernel::guard::{Custody, Guard, OpenGuardError, Upkeep};
use haft_agent::order::Notice;
use haft_engine::clock::Moment;
use haft_engine::keeper::Want;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3_600);

/// A bpf file system mounted nowhere: it ends with the descriptor.
pub(crate) struct FileSystem(OwnedFd);

impl FileSystem {
    pub(crate) fn new() -> FileSystem {
        let context = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        fsconfig_create(&context).unwrap();
        let attributes = MountAttrFlags::empty();
        FileSystem(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).unwrap())
    }

    /// As whoever removes what is pinned in it, in every namespace.
    pub(crate) fn unpin_everything(&self) {
        let ours = PathBuf::from(format!("/proc/self/fd/{}/haft", self.0.as_raw_fd()));
        for namespace in std::fs::read_dir(ours).unwrap() {
            for pin in std::fs::read_dir(namespace.unwrap().path()).unwrap() {
                std::fs::remove_file(pin.unwrap().path()).unwrap();
            }
        }
    }

    /// A place for what somebody else pins.
    pub(crate) fn path(&self, name: &str) -> String {
        format!(
            "/proc/{}/fd/{}/{name}",
            std::process::id(),
            self.0.as_raw_fd()
        )
    }

    /// In this thread's namespace.
    pub(crate) fn home(&self) -> Home {
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        Home::within(&PathBuf::from(path)).unwrap()
    }
}

/// An owner behind a gate, with both addresses on its interface and closed.
pub(crate) struct Owner {
    pub(crate) gate: Gate,
    pub(crate) guard: Guard,
}

impl Owner {
    pub(crate) fn new(wire: &Wire, files: &FileSystem) -> Owner {
        Owner::on(wire, files, "own0")
    }

    /// On this interface.
    pub(crate) fn on(wire: &Wire, files: &FileSystem, interface: &str) -> Owner {
        Owner::standing(&wire.owner, files, interface, Footing::of_this_kernel())
    }

    /// On this interface of this namespace, and this footing.
    pub(crate) fn standing(
        namespace: &Namespace,
        files: &FileSystem,
        interface: &str,
        footing: Footing,
    ) -> Owner {
        namespace.run(|| {
            let mut gate = Gate::open_on(files.home(), footing).unwrap();
            let mut guard = Guard::behind_gate(Custody::Owned).unwrap();
            guard.set_gated(&gate.gated()).unwrap();
            let mut addresses = Addresses::open().unwrap();
            let link = addresses.link(interface).unwrap().unwrap();
            for vip in BOTH {
                gate.close(vip).unwrap();
                guard.manage(vip, &link).unwrap();
                addresses.put(vip, link.index, LONG).unwrap();
            }
            Owner { gate, guard }
        })
    }

    pub(crate) fn open(&mut self) {
        assert!(self.gate.renew(&BOTH, Moment(u64::MAX)));
    }

    /// What an agent does before each beat, until nothing is to be mended. In the owner's namespace.
    pub(crate) fn look_after_everything(&mut self) {
        // Each look is due, however soon it comes after the last.
        let mut now = boot_now();
        eventually("gate and tables are whole", || {
            now = now + Duration::from_secs(1);
            let gate = self.gate.tend(now);
            self.guard.set_gated(&self.gate.gated()).unwrap();
            let tables = self.guard.tend().unwrap();
            (gate, tables) == (Tended::Intact, Upkeep::Intact)
        });
    }

    pub(crate) fn close(&mut self) {
        assert!(self.gate.renew(&BOTH, boot_now()));
    }
}

/// Clears up after a dead agent. Its tables are its own until each of its descriptors is closed: a program that another
/// test starts holds copies of all of them for a moment, and is no part of the machine that is meant.
pub(crate) fn clear_up_after(wire: &Wire, files: &FileSystem) {
    wire.owner.run(|| {
        eventually(
            "the dead agent's descriptors are closed",
            || match clear_up(Some(&files.home())) {
                Ok(()) => true,
                Err(DismantleError::Open(OpenGuardError::OwnedElsewhere { .. })) => false,
                Err(other) => panic!("{other:?}"),
            },
        );
    });
}

fn answers(wire: &Wire, probe: &Probe, closed: impl FnOnce()) {
    assert_answering(probe);
    closed();
    for vip in BOTH {
        eventually("the end has come", || !probe.echoes(vip));
    }
    wire.owner.command("nft", "flush ruleset");
    assert_silent(probe);
}

#[test]
fn a_dead_owner_is_silent_from_its_end_on_though_the_ruleset_is_flushed() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let mut owner = Owner::new(&wire, &files);
    assert_silent(&probe);
    owner.open();
    answers(&wire, &probe, || {
        let end = boot_now() + Duration::from_millis(200);
        assert!(owner.gate.renew(&BOTH, end));
        drop(owner);
    });
    assert!(wire.owner.ip("addr show dev own0").contains("10.9.0.100"));
}

#[test]
fn an_end_written_late_opens_nothing() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let mut owner = Owner::new(&wire, &files);
    let decided = boot_now();
    for _ in 0..3 {
        assert!(owner.gate.renew(&BOTH, decided));
        assert_silent(&probe);
    }
}

#[test]
fn each_layer_alone_keeps_what_it_is_for() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let mut owner = Owner::new(&wire, &files);
    // Without the gate's links the packet filter lets pass what is on a gated link, and nothing elsewhere.
    let none = std::collections::BTreeSet::new();
    owner.open();
    assert_answering(&probe);
    owner.guard.set_gated(&none).unwrap();
    assert_silent(&probe);
    owner.guard.set_gated(&owner.gate.gated()).unwrap();
    assert_answering(&probe);
    owner.close();
    assert_silent(&probe);
    wire.owner.run(|| owner.guard.dismantle().unwrap());
    assert_silent(&probe);
}

#[test]
fn on_a_link_that_has_just_come_nothing_answers_before_the_gate_stands_there() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let mut owner = Owner::new(&wire, &files);
    owner.open();
    wire.second();
    let far = wire.client.run(|| Probe::open("cli1"));
    for vip in BOTH {
        assert!(!far.resolves(vip), "{vip} answers on a link without a gate");
    }
    wire.owner.run(|| {
        eventually("the gate stands there", || {
            matches!(owner.gate.tend(boot_now()), Tended::Links)
        });
    });
    owner.guard.set_gated(&owner.gate.gated()).unwrap();
    // IPv6 answers on the address's own interface only.
    eventually("open, it resolves there", || far.resolves(VIP4));
    owner.close();
    wire.owner.command("nft", "flush ruleset");
    for vip in BOTH {
        assert!(
            !far.resolves(vip),
            "{vip} answers on a link that came later"
        );
    }
}

#[test]
fn a_closed_node_hears_who_the_new_owner_is_and_is_reached_by_it() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    for vip in BOTH {
        wire.owner.ip(&format!(
            "neigh replace {vip} lladdr 02:00:00:00:00:66 dev own0 nud reachable"
        ));
    }
    // Closed, and not on any interface of ours: it is on the client's.
    let _gate = wire.owner.run(|| {
        let mut gate = Gate::open(files.home()).unwrap();
        for vip in BOTH {
            gate.close(vip).unwrap();
        }
        gate
    });
    probe.send(&arp(1, CLIENT_MAC, V4, [0; 6], V4));
    probe.send(&advertisement(CLIENT_MAC, V6));
    for vip in BOTH {
        eventually("the claim moves the neighbour entry", || {
            wire.owner
                .ip(&format!("neigh show {vip}"))
                .contains("02:00:00:00:09:02")
        });
    }
    wire.client.ip("addr add 10.9.0.100/32 dev cli0");
    let heard = wire.owner.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::new(10, 9, 0, 1), 0)).unwrap();
        socket
            .set_read_timeout(Some(crate::netns::PATIENCE))
            .unwrap();
        let to = socket.local_addr().unwrap();
        wire.client.run(|| {
            UdpSocket::bind((V4, 0))
                .unwrap()
                .send_to(b"new", to)
                .unwrap()
        });
        socket.recv_from(&mut [0; 8]).unwrap().1.ip()
    });
    assert_eq!(heard, VIP4);
}

#[test]
fn a_closed_address_is_silent_over_loopback() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let mut owner = Owner::new(&wire, &files);
    let reach = |vip: IpAddr| {
        wire.owner.run(|| {
            let listener = std::net::TcpListener::bind((vip, 0)).unwrap();
            let target = listener.local_addr().unwrap();
            std::net::TcpStream::connect_timeout(&target, Duration::from_millis(300)).is_ok()
        })
    };
    for vip in BOTH {
        assert!(!reach(vip), "{vip} answers over loopback");
    }
    owner.open();
    for vip in BOTH {
        eventually("the open address answers over loopback", || reach(vip));
    }
}

#[test]
fn behind_a_bridge_that_is_closed_a_new_owner_is_reached_through_its_ports() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    // The owner's machine bridges: the client on one port, a guest with the address on the other.
    wire.owner.ip("link add br0 type bridge");
    wire.owner.ip("link set br0 up");
    wire.owner.ip("link set own0 master br0");
    let machine = Namespace::new();
    wire.owner.ip(&format!(
        "link add port0 type veth peer name guest0 netns {}",
        machine.path()
    ));
    wire.owner.ip("link set port0 master br0");
    wire.owner.ip("link set port0 up");
    machine.ip("link set guest0 up");
    let _gate = wire.owner.run(|| {
        let mut gate = Gate::open(files.home()).unwrap();
        gate.close(VIP4).unwrap();
        gate
    });
    let guest = machine.run(|| Probe::open("guest0"));
    let probe = client(&wire);
    probe.send(&arp(1, CLIENT_MAC, Ipv4Addr::new(10, 9, 0, 2), [0; 6], V4));
    let asked = guest.hear(crate::netns::PATIENCE, |frame| {
        frame[12..14] == [8, 6] && frame[38..42] == V4.octets()
    });
    assert!(asked.is_some(), "a port that drops cuts off the new owner");
    guest.send(&arp(
        2,
        [2, 0, 0, 0, 0, 7],
        V4,
        CLIENT_MAC,
        Ipv4Addr::new(10, 9, 0, 2),
    ));
    assert!(
        probe
            .hear(crate::netns::PATIENCE, |frame| claims4(frame, V4, 2))
            .is_some()
    );
}

#[test]
fn an_agent_behind_the_gate_answers_until_its_lease_ends_whoever_flushes_the_ruleset() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let home = wire.owner.run(|| files.home());
    beside_a_gated_lease(&wire, home, |world, answering| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        eventually("the address answers", || probe.echoes(VIP4));
        wire.owner.command("nft", "flush ruleset");
        eventually("the packet filter's layer is back", || {
            wire.owner.command("nft", "list tables").contains("haft")
        });
        eventually("the address answers", || probe.echoes(VIP4));
        answering.store(false, Ordering::SeqCst);
        eventually("the lease has ended", || !probe.echoes(VIP4));
        answering.store(true, Ordering::SeqCst);
        eventually("a lease that comes back opens it again", || {
            probe.echoes(VIP4)
        });
        answering.store(false, Ordering::SeqCst);
        world.await_release();
    });
    assert!(!probe.resolves(VIP6) && !probe.echoes(VIP4));
}

#[test]
fn a_copy_that_somebody_else_made_stays_closed_after_the_release_and_a_restart_until_it_is_gone() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let silent = || !probe.echoes(VIP4) && !probe.resolves(VIP4);
    let home = wire.owner.run(|| files.home());
    beside_a_gated_lease(&wire, home, |world, _| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        wire.owner.ip("addr add 10.9.0.100/24 dev own0");
        eventually("the address answers", || probe.echoes(VIP4));
        world.order(assignment(31, &[Want::Release]));
        world.await_release();
        assert!(silent(), "the copy answers after the release");
        wire.owner.command("nft", "flush ruleset");
        assert!(silent(), "a flush opens the copy");
        eventually("the packet filter's layer is back", || {
            wire.owner.command("nft", "list tables").contains("haft")
        });
    });
    assert!(silent(), "the end of the agent opens the copy");
    let home = wire.owner.run(|| files.home());
    beside_a_gated_lease(&wire, home, |world, _| {
        eventually("it is ready", || {
            matches!(world.notices.try_recv(), Ok(Notice::Idle(_)))
        });
        assert!(silent(), "a new agent opens the copy");
        let shown = wire.owner.ip("addr show dev own0");
        assert!(shown.contains("10.9.0.100/24"), "{shown}");
        wire.owner.ip("addr del 10.9.0.100/24 dev own0");
        eventually("gate and guard have let go", || {
            let sets = wire.owner.command("nft", "list sets");
            !sets.contains("10.9.0.100")
        });
        wire.owner.ip("addr add 10.9.0.100/24 dev own0");
        eventually("the administrator's address answers", || probe.echoes(VIP4));
    });
}

#[test]
fn a_grant_that_is_refused_for_a_copy_closes_no_gate() {
    for vip in BOTH {
        let (wire, files) = (Wire::new(), FileSystem::new());
        let probe = client(&wire);
        let home = wire.owner.run(|| files.home());
        beside_a_gated_lease(&wire, home, |world, _| {
            a_refusal_changes_nothing_on_the_wire(world, &wire, &probe, vip);
        });
        assert!(probe.echoes(vip), "the end of the agent silences it");
    }
}

#[test]
fn an_address_that_leaves_in_a_tunnel_unseen_is_given_up_and_the_policy_named() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let home = wire.owner.run(|| files.home());
    beside_a_gated_lease(&wire, home, |world, _| {
        world.admit();
        world.order(assignment(30, &[Want::Hold]));
        world.await_active();
        eventually("the address answers", || probe.echoes(VIP4));
        wire.owner.ip(
            "xfrm policy add src 10.9.0.100/32 dst 198.51.100.0/24 dir out tmpl src 10.9.0.1 dst 10.9.0.2 proto esp mode \
             tunnel",
        );
        eventually("the policy is named", || {
            let notice = world.notices.try_recv();
            notice.is_ok_and(|notice| format!("{notice:?}").contains("an IPsec policy takes"))
        });
        eventually("it is silent", || !probe.echoes(VIP4));
        let shown = wire.owner.ip("addr show dev own0");
        assert!(!shown.contains("10.9.0.100"), "{shown}");
    });
}

/// As the unit does whenever an agent has ended, for whatever reason.
#[test]
fn clearing_up_beside_a_living_agent_closes_nothing_of_its_gate() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let mut owner = Owner::new(&wire, &files);
    assert!(owner.gate.renew(&BOTH, boot_now() + LONG));
    eventually("the address answers", || probe.echoes(VIP4));
    let refused = wire.owner.run(|| clear_up(Some(&files.home())));
    let refused = matches!(
        refused,
        Err(DismantleError::Open(OpenGuardError::OwnedElsewhere { .. }))
    );
    assert!(refused && probe.echoes(VIP4), "refused: {refused}");
}

#[test]
fn clearing_up_after_the_agent_leaves_somebody_elses_copy_silent_until_it_is_gone() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let silent = || !probe.echoes(VIP4) && !probe.resolves(VIP4);
    let clear_up = || clear_up_after(&wire, &files);
    let mut owner = Owner::new(&wire, &files);
    owner.open();
    assert_answering(&probe);
    wire.owner.ip("addr add 10.9.0.100/24 dev own0");
    drop(owner);
    clear_up();
    let shown = wire.owner.ip("addr show dev own0");
    assert!(shown.contains("10.9.0.100/24"), "{shown}");
    assert!(silent(), "the copy answers");
    wire.owner.command("nft", "flush ruleset");
    assert!(silent(), "a flush opens the copy");
    // Of what is gone nothing is closed any more.
    wire.owner.ip(&format!("addr add {VIP6}/64 dev own0 nodad"));
    eventually("the other address answers", || probe.echoes(VIP6));
    wire.owner.ip("addr del 10.9.0.100/24 dev own0");
    clear_up();
    wire.owner.ip("addr add 10.9.0.100/24 dev own0");
    eventually("the administrator's address answers", || probe.echoes(VIP4));
}

#[test]
fn clearing_up_where_timed_elements_stood_leaves_somebody_elses_copy_silent_too() {
    let wire = Wire::new();
    let probe = client(&wire);
    let guard = wire.owner.run(|| {
        let mut guard = Guard::open(Custody::Owned).unwrap();
        let mut addresses = Addresses::open().unwrap();
        let link = addresses.link("own0").unwrap().unwrap();
        guard.manage(VIP4, &link).unwrap();
        addresses.put(VIP4, link.index, LONG).unwrap();
        guard
    });
    let clear_up = || wire.owner.run(|| clear_up(None).unwrap());
    wire.owner.ip("addr add 10.9.0.100/24 dev own0");
    drop(guard);
    clear_up();
    assert!(
        !probe.echoes(VIP4) && !probe.resolves(VIP4),
        "the copy answers"
    );
    wire.owner.ip("addr del 10.9.0.100/24 dev own0");
    clear_up();
    wire.owner.ip("addr add 10.9.0.100/24 dev own0");
    eventually("the administrator's address answers", || probe.echoes(VIP4));
}
