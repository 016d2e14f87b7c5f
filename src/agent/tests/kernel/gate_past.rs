//! What goes, or might go, past the gate: programs before it, packets larger than a frame, what a router makes of
//! others' packets, and sockets that send past every queue and hook.

use crate::beds::{Bed, Kind, beyond};
use crate::fixture::{BOTH, V4, V6, VIP4, VIP6, assert_answering, assert_silent, client, own_link};
use crate::gate::{FileSystem, Owner, clear_up_after};
use crate::lease::{World, assignment, beside_a_gated_lease};
use crate::netns::{Wire, eventually};
use crate::probe::{OWNER_MAC, Probe, arp, claims4, speaks_for};
use crate::xdp::Program;
use haft_agent::kernel::address::Addresses;
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::gate::Ungated;
use haft_engine::keeper::Want;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// How long a frame that must not come is waited for.
const MOMENT: Duration = Duration::from_millis(150);

/// How somebody attaches an XDP program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// By a change of the interface, which the kernel reports.
    ByIp,
    /// As a link of bpf(2), of which it says nothing.
    AsLink,
}

impl Way {
    const BOTH: [Way; 2] = [Way::ByIp, Way::AsLink];

    fn attach(self, program: Program, wire: &Wire, files: &FileSystem) -> Option<OwnedFd> {
        match self {
            Way::AsLink => Some(program.attach_as_link(&wire.owner, "own0")),
            Way::ByIp => {
                program.attach_by_ip(&wire.owner, "own0", &files.path("foreign"));
                None
            }
        }
    }

    fn detach(self, wire: &Wire, attached: Option<OwnedFd>) {
        match self {
            Way::AsLink => drop(attached),
            Way::ByIp => drop(wire.owner.ip("link set dev own0 xdpgeneric off")),
        }
    }
}

/// Each program, attached in each way.
fn programs() -> Vec<(Program, Way)> {
    let both = |program| Way::BOTH.map(|way| (program, way));
    [Program::Passes, Program::Answers]
        .into_iter()
        .flat_map(both)
        .collect()
}

fn await_word_of_a_program(world: &mut World) {
    eventually("the program is named", || {
        let notice = world.notices.try_recv();
        notice.is_ok_and(|notice| format!("{notice:?}").contains("an XDP program on it"))
    });
}

#[test]
fn an_xdp_program_before_the_gate_is_noticed_however_it_came_and_worth_less_while_it_is_there() {
    for (program, way) in programs() {
        let (wire, files) = (Wire::new(), FileSystem::new());
        let probe = client(&wire);
        let mut owner = Owner::new(&wire, &files);
        let link = wire
            .owner
            .run(|| own_link(&mut Addresses::open().unwrap()).index);
        assert_silent(&probe);
        assert_eq!(owner.gate.carries(link), Ok(()));
        let attached = way.attach(program, &wire, &files);
        // Closed, and an answer goes out: no gate is asked.
        let expected = program == Program::Answers;
        assert_eq!(probe.resolves(VIP4), expected, "{program:?}");
        wire.owner.run(|| owner.look_after_everything());
        assert_eq!(
            owner.gate.carries(link),
            Err(Ungated::Xdp),
            "{program:?} {way:?}"
        );
        assert!(!owner.gate.stands_everywhere(), "{program:?} {way:?}");
        way.detach(&wire, attached);
        wire.owner.run(|| {
            eventually("the program is gone", || {
                owner.look_after_everything();
                owner.gate.carries(link) == Ok(())
            });
        });
        owner.open();
        assert_answering(&probe);
    }
}

#[test]
fn an_xdp_program_beneath_a_link_that_carries_an_address_is_noticed_with_the_next_look() {
    let (bed, files) = (Bed::of(Kind::Macvlan), FileSystem::new());
    let namespace = &bed.wire.owner;
    // So many that it is not the turn of the link beneath in each of three looks.
    for number in 0..40 {
        namespace.ip(&format!("link add a{number} type veth peer name b{number}"));
    }
    let mut owner = Owner::on(&bed.wire, &files, bed.name);
    let link = namespace.run(|| {
        let mut addresses = Addresses::open().unwrap();
        addresses.link(bed.name).unwrap().unwrap().index
    });
    owner.gate.carry([link].into());
    for look in 0..3 {
        namespace.run(|| owner.look_after_everything());
        assert_eq!(owner.gate.carries(link), Ok(()), "{look}");
        let attached = Program::Passes.attach_as_link(namespace, "own0");
        let later = boot_now() + Duration::from_secs(3_600 * (look + 1));
        namespace.run(|| owner.gate.tend(later));
        assert_eq!(owner.gate.carries(link), Err(Ungated::Xdp), "{look}");
        drop(attached);
        let mut now = later;
        eventually("it is gone", || {
            now = now + Duration::from_secs(1);
            namespace.run(|| owner.gate.tend(now));
            owner.gate.carries(link) == Ok(())
        });
    }
}

#[test]
fn an_xdp_program_on_any_of_many_links_is_noticed_in_its_turn() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    // More than one look asks about.
    for number in 0..20 {
        wire.owner
            .ip(&format!("link add a{number} type veth peer name b{number}"));
    }
    let mut owner = Owner::new(&wire, &files);
    assert!(owner.gate.stands_everywhere());
    for name in ["b19", "a0"] {
        let attached = Program::Passes.attach_as_link(&wire.owner, name);
        let stands = |owner: &mut Owner| {
            wire.owner.run(|| owner.look_after_everything());
            owner.gate.stands_everywhere()
        };
        eventually("it is noticed", || !stands(&mut owner));
        drop(attached);
        eventually("it is gone", || stands(&mut owner));
    }
}

#[test]
fn an_owner_gives_up_an_address_whose_link_gets_an_xdp_program_and_names_it() {
    for (program, way) in programs() {
        let (wire, files) = (Wire::new(), FileSystem::new());
        let probe = client(&wire);
        let home = wire.owner.run(|| files.home());
        beside_a_gated_lease(&wire, home, |world, _| {
            world.admit();
            world.order(assignment(30, &[Want::Hold]));
            world.await_active();
            eventually("the address answers", || probe.echoes(VIP4));
            let attached = way.attach(program, &wire, &files);
            await_word_of_a_program(world);
            eventually("it is silent", || !probe.echoes(VIP4));
            eventually("it is gone", || {
                let shown = wire.owner.ip("addr show dev own0");
                !shown.contains("10.9.0.100")
            });
            way.detach(&wire, attached);
        });
    }
}

#[test]
fn an_owner_refuses_an_address_whose_link_has_an_xdp_program_and_names_it() {
    for (program, way) in programs() {
        let (wire, files) = (Wire::new(), FileSystem::new());
        let home = wire.owner.run(|| files.home());
        let attached = way.attach(program, &wire, &files);
        beside_a_gated_lease(&wire, home, |world, _| {
            world.admit();
            world.order(assignment(30, &[Want::Hold]));
            await_word_of_a_program(world);
            let shown = wire.owner.ip("addr show dev own0");
            assert!(!shown.contains("10.9.0.100"), "{shown}");
        });
        drop(attached);
    }
}

// linux/udp.h.
const UDP_SEGMENT: libc::c_int = 103;
/// Longer than any frame of these wires: a packet that is yet to be cut up.
const LARGE: usize = 1_600;

#[expect(unsafe_code, reason = "the option has no safe wrapper at hand")]
fn set_number(socket: &impl AsRawFd, (level, option): (libc::c_int, libc::c_int), value: u32) {
    let length = libc::socklen_t::try_from(size_of::<u32>()).unwrap();
    // SAFETY: the value is as long as is said, and the kernel only reads it.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
}

/// The kernel asks in the address's own name where it does not know; a closed gate drops that, too.
pub(crate) fn know_the_client(wire: &Wire) {
    for client in ["10.9.0.2", "fd09::2"] {
        wire.owner.ip(&format!(
            "neigh replace {client} lladdr 02:00:00:00:09:02 dev own0 nud permanent"
        ));
    }
}

pub(crate) fn client_of(vip: IpAddr) -> IpAddr {
    match vip {
        IpAddr::V4(_) => [10, 9, 0, 2].into(),
        IpAddr::V6(_) => [0xfd09, 0, 0, 0, 0, 0, 0, 2].into(),
    }
}

/// The first frame that comes from the address, of any length.
fn heard(probe: &Probe, vip: IpAddr, patience: Duration) -> Option<Vec<u8>> {
    probe.hear(patience, |frame| speaks_for(frame, vip))
}

#[test]
fn datagrams_that_are_yet_to_be_cut_up_are_dropped_whole_when_their_address_is_closed() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    know_the_client(&wire);
    let mut owner = Owner::new(&wire, &files);
    for vip in BOTH {
        let probe = client(&wire);
        let socket = wire.owner.run(|| UdpSocket::bind((vip, 0)).unwrap());
        set_number(&socket, (libc::IPPROTO_UDP, UDP_SEGMENT), 1_000);
        let to = SocketAddr::new(client_of(vip), 9);
        let send = || drop(socket.send_to(&[7; 20_000], to));
        owner.open();
        eventually("open, they leave in one piece", || {
            send();
            heard(&probe, vip, MOMENT).is_some_and(|frame| frame.len() > LARGE)
        });
        owner.close();
        while heard(&probe, vip, MOMENT).is_some() {}
        for _ in 0..3 {
            send();
        }
        assert!(heard(&probe, vip, MOMENT).is_none(), "{vip} speaks");
    }
}

#[test]
fn a_stream_that_is_yet_to_be_cut_up_is_dropped_whole_when_its_address_is_closed() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    know_the_client(&wire);
    let mut owner = Owner::new(&wire, &files);
    for vip in BOTH {
        let probe = client(&wire);
        owner.open();
        let (mut near, mut far) = connection(&wire, vip);
        let mut room = vec![0; 100_000];
        eventually("open, it leaves in pieces larger than a frame", || {
            near.write_all(&room).unwrap();
            far.read_exact(&mut room).unwrap();
            probe
                .hear(MOMENT, |frame| {
                    speaks_for(frame, vip) && frame.len() > LARGE
                })
                .is_some()
        });
        owner.close();
        while heard(&probe, vip, MOMENT).is_some() {}
        near.set_nonblocking(true).unwrap();
        drop(near.write(&room));
        // What is not acknowledged is sent again and again.
        assert!(heard(&probe, vip, MOMENT * 4).is_none(), "{vip} speaks");
    }
}

/// A connection to the address: the owner's side, and the client's.
pub(crate) fn connection(wire: &Wire, vip: IpAddr) -> (TcpStream, TcpStream) {
    let listener = wire.owner.run(|| TcpListener::bind((vip, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    let far = wire
        .client
        .run(|| TcpStream::connect_timeout(&to, crate::netns::PATIENCE).unwrap());
    far.set_read_timeout(Some(crate::netns::PATIENCE)).unwrap();
    (listener.accept().unwrap().0, far)
}

#[test]
fn what_a_router_makes_to_come_from_a_closed_address_does_not_leave() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    know_the_client(&wire);
    let far = beyond(&wire);
    let probe = client(&wire);
    let mut owner = Owner::new(&wire, &files);
    for line in [
        "add table inet other",
        "add chain inet other post { type nat hook postrouting priority 100 ; }",
        "add rule inet other post oifname own0 ip saddr 10.8.0.2 snat ip to 10.9.0.100",
        "add rule inet other post oifname own0 ip6 saddr fd08::2 snat ip6 to fd09::100",
    ] {
        wire.owner.command("nft", line);
    }
    let passes = |vip: IpAddr| {
        far.run(|| {
            let any: IpAddr = match vip {
                IpAddr::V4(_) => [0; 4].into(),
                IpAddr::V6(_) => [0; 16].into(),
            };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.send_to(b"?", (client_of(vip), 9)).unwrap();
        });
        heard(&probe, vip, MOMENT).is_some()
    };
    owner.open();
    for vip in BOTH {
        eventually("open, it goes out in the address's name", || passes(vip));
    }
    owner.close();
    assert!(!passes(VIP4) && !passes(VIP6), "closed");
    // Killed: its gate stays, and so do the other's rules.
    drop(owner);
    assert!(!passes(VIP4) && !passes(VIP6), "the agent is dead");
}

/// docs/isolation.md: with the agent dead a router is deaf between its clients and the new owner, until it is cleared up.
#[test]
fn a_dead_router_passes_nothing_on_to_or_from_a_new_owner_until_it_is_cleared_up() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    know_the_client(&wire);
    let far = beyond(&wire);
    let owner = Owner::new(&wire, &files);
    drop(owner);
    for (vip, how) in BOTH.iter().zip(["", "nodad"]) {
        // The address has gone with its lifetime, and stands elsewhere.
        wire.owner.ip(&format!("addr del {vip} dev own0"));
        wire.client.ip(&format!("addr add {vip} dev cli0 {how}"));
        wire.owner.ip(&format!(
            "neigh replace {vip} lladdr 02:00:00:00:09:02 dev own0 nud permanent"
        ));
    }
    let reaches = |vip: IpAddr| crate::beds::refuses(&far, vip);
    assert!(!reaches(VIP4) && !reaches(VIP6), "not before");
    clear_up_after(&wire, &files);
    for vip in BOTH {
        eventually("cleared up, it passes on", || reaches(vip));
    }
}

/// A limit that docs/isolation.md states: who may send raw frames and asks for it is past every queue, and with it past
/// every hook. Nothing of ours does so; tests/house looks.
#[test]
fn a_foreign_socket_that_sends_past_the_queues_passes_the_gate_too() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let _owner = Owner::new(&wire, &files);
    let raw = wire.owner.run(|| Probe::open("own0"));
    let claims = |raw: &Probe| {
        raw.try_send(&arp(1, OWNER_MAC, V4, [0; 6], V4));
        probe.hear(MOMENT, |frame| claims4(frame, V4, 1)).is_some()
    };
    assert!(!claims(&raw), "closed, and a claim goes out");
    // linux/if_packet.h: SOL_PACKET, PACKET_QDISC_BYPASS.
    set_number(raw.socket(), (263, 20), 1);
    eventually("past the queues, it does", || claims(&raw));
    assert!(!probe.resolves(VIP4) && !probe.answers(IpAddr::V6(V6)));
}
