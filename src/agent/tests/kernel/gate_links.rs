//! The gate on every kind of link that a plain kernel makes, with the agent dead or frozen, against everybody who
//! might open it by accident: who flushes the ruleset, deletes tables, bounces the link or adds the address once more.
//!
//! Judged from outside. Tagged links and bonds need modules that not every kernel has: there their tests say that they
//! were not run, and `scripts/test-gate` runs them in a guest, where a kernel without them is a failure.

use crate::fixture::{BOTH, V4, VIP4, VIP6, assert_answering, assert_silent, client};
use crate::gate::{FileSystem, Owner};
use crate::netns::{Namespace, Wire, eventually};
use crate::probe::{OWNER_MAC, Probe, arp, claims4, echo_request, is_echo_reply};
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::gate::{Footing, Tended, Ungated};
use haft_engine::clock::Moment;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// What the address stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Wire,
    Bridge,
    Macvlan,
    Vxlan,
    /// Its tag is beside the frame on the way through the wire, as on hardware that sets tags itself.
    Vlan,
    /// A tag in a tag: the outer one beside the frame, the inner one in it.
    DoubleVlan,
    Bond,
}

impl Kind {
    /// Builds it over the wire; the interface that carries the address, and the client's view of it.
    fn build(self, wire: &Wire) -> (&'static str, Probe) {
        match self {
            Kind::Wire => ("own0", client(wire)),
            Kind::Bridge => {
                wire.owner.ip("link add br0 type bridge");
                wire.owner.ip("link set own0 master br0");
                wire.owner.ip("link set br0 up");
                move_own_addresses(wire, "br0");
                ("br0", client(wire))
            }
            Kind::Macvlan => {
                // The client speaks to one hardware address: the stacked link gets it.
                wire.owner.ip("link set own0 address 02:00:00:00:09:11");
                wire.owner.ip(
                    "link add mv0 link own0 address 02:00:00:00:09:01 type macvlan mode bridge",
                );
                wire.owner.ip("link set mv0 up");
                move_own_addresses(wire, "mv0");
                ("mv0", client(wire))
            }
            Kind::Vxlan => {
                overlay(wire);
                let probe = wire.client.run(|| Probe::open("vx0"));
                ("vx0", probe)
            }
            Kind::Vlan => {
                for (side, below) in [(&wire.owner, "own0"), (&wire.client, "cli0")] {
                    tagged(side, below, "tag0", "802.1Q", 7);
                }
                move_own_addresses(wire, "tag0");
                ("tag0", wire.client.run(|| Probe::open("tag0")))
            }
            Kind::DoubleVlan => {
                for (side, below) in [(&wire.owner, "own0"), (&wire.client, "cli0")] {
                    tagged(side, below, "outer0", "802.1ad", 5);
                    tagged(side, "outer0", "tag0", "802.1Q", 7);
                }
                move_own_addresses(wire, "tag0");
                ("tag0", wire.client.run(|| Probe::open("tag0")))
            }
            Kind::Bond => {
                wire.second();
                wire.owner
                    .ip("link add bond0 type bond mode active-backup miimon 20");
                for port in ["own0", "own1"] {
                    wire.owner.ip(&format!("link set {port} down"));
                    wire.owner.ip(&format!("link set {port} master bond0"));
                }
                wire.owner.ip("link set bond0 address 02:00:00:00:09:01");
                wire.owner.ip("link set bond0 up");
                move_own_addresses(wire, "bond0");
                eventually("the bond has a port", || {
                    wire.owner.ip("link show dev bond0").contains("LOWER_UP")
                });
                ("bond0", client(wire))
            }
        }
    }

    /// What to ask `ip` for, where a kernel may lack it, in a namespace with link `one`.
    fn asked(self) -> Option<&'static str> {
        match self {
            Kind::Wire | Kind::Bridge | Kind::Macvlan | Kind::Vxlan => None,
            Kind::Vlan | Kind::DoubleVlan => Some("link add link one name three type vlan id 7"),
            Kind::Bond => Some("link add three type bond"),
        }
    }

    /// Whether this kernel makes such links; says so where it does not, and fails if it has to.
    fn is_there(self) -> bool {
        let Some(asked) = self.asked() else {
            return true;
        };
        let trial = Namespace::new();
        trial.ip("link add one type veth peer name two");
        let made = trial.run(|| {
            let mut ip = std::process::Command::new("ip");
            ip.args(asked.split(' ')).output().unwrap()
        });
        if made.status.success() {
            return true;
        }
        let why = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        let required = std::env::var_os("HAFT_LINK_KINDS").is_some_and(|word| word == "required");
        assert!(!required, "this kernel makes no {self:?}: {why}");
        // Past the harness, which shows nothing of a test that passes.
        let _unread = writeln!(
            std::io::stderr(),
            "not run, this kernel makes no {self:?} ({why}); scripts/test-gate runs it in a guest"
        );
        false
    }
}

/// A link with a tag over another one; its addresses are the wire's.
fn tagged(side: &Namespace, below: &str, name: &str, protocol: &str, number: u16) {
    side.ip(&format!(
        "link add link {below} name {name} type vlan protocol {protocol} id {number}"
    ));
    side.ip(&format!("link set {name} up"));
    eventually("the tagged link is up", || {
        side.ip(&format!("link show dev {name}"))
            .contains("LOWER_UP")
    });
}

fn move_own_addresses(wire: &Wire, to: &str) {
    wire.owner.ip("addr flush dev own0 scope global");
    wire.owner.ip(&format!("addr add 10.9.0.1/24 dev {to}"));
    wire.owner
        .ip(&format!("addr add fd09::1/64 dev {to} nodad"));
}

/// A tunnel of Ethernet frames over the wire, which then has addresses of its own.
fn overlay(wire: &Wire) {
    for (side, below, number, far) in [(&wire.owner, "own0", 1, 2), (&wire.client, "cli0", 2, 1)] {
        side.ip(&format!("addr flush dev {below} scope global"));
        side.ip(&format!("addr add 192.0.2.{number}/24 dev {below}"));
        side.ip(&format!(
            "link add vx0 address 02:00:00:00:09:0{number} type vxlan id 7 remote 192.0.2.{far} dstport 4789 dev {below}"
        ));
        side.ip(&format!("addr add 10.9.0.{number}/24 dev vx0"));
        side.ip(&format!("addr add fd09::{number}/64 dev vx0 nodad"));
        side.ip("link set vx0 up");
    }
}

/// What has become of the agent when its lease ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Agent {
    /// Its tables and descriptors went with it.
    Killed,
    /// It holds them, and does nothing.
    Frozen,
}

/// Each fate on each footing that this kernel has.
fn fates() -> Vec<(Agent, Footing)> {
    let mut footings = vec![Footing::Filters];
    if Footing::of_this_kernel() == Footing::Pinned {
        footings.push(Footing::Pinned);
    }
    let both = |footing| [(Agent::Killed, footing), (Agent::Frozen, footing)];
    footings.into_iter().flat_map(both).collect()
}

/// Somebody else configures the machine.
fn disturb(wire: &Wire, name: &str, probe: &Probe) {
    wire.owner
        .ip(&format!("addr replace 10.9.0.100/24 dev {name}"));
    assert_silent(probe);
    for table in wire.owner.command("nft", "list tables").lines() {
        // Tables of a process that lives are its own; a kernel refuses this.
        wire.owner.run(|| {
            let mut delete = std::process::Command::new("nft");
            delete.arg("delete").args(table.split_whitespace());
            drop(delete.output().unwrap());
        });
    }
    assert_silent(probe);
    wire.owner.run(|| {
        let mut flush = std::process::Command::new("nft");
        drop(flush.args(["flush", "ruleset"]).output().unwrap());
    });
    assert_silent(probe);
    wire.owner.ip(&format!("link set {name} down"));
    wire.owner.ip(&format!("link set {name} up"));
    // IPv6 addresses go with the link's fall, whoever added them.
    wire.owner
        .ip(&format!("addr replace fd09::100/64 dev {name} nodad"));
    eventually("the link is up again", || {
        wire.owner
            .ip(&format!("link show dev {name}"))
            .contains("LOWER_UP")
    });
    assert_silent(probe);
}

fn stays_closed_on(kind: Kind) {
    if !kind.is_there() {
        return;
    }
    for (agent, footing) in fates() {
        let (wire, files) = (Wire::new(), FileSystem::new());
        let (name, probe) = kind.build(&wire);
        let mut owner = Owner::standing(&wire.owner, &files, name, footing);
        assert_silent(&probe);
        owner.open();
        assert_answering(&probe);
        owner.close();
        let owner = match agent {
            Agent::Killed => {
                drop(owner);
                None
            }
            Agent::Frozen => Some(owner),
        };
        assert_silent(&probe);
        disturb(&wire, name, &probe);
        drop(owner);
        assert_silent(&probe);
    }
}

#[test]
fn a_wire_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Wire);
}

#[test]
fn a_bridge_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Bridge);
}

#[test]
fn a_macvlan_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Macvlan);
}

#[test]
fn an_overlay_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Vxlan);
}

#[test]
fn a_tagged_link_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Vlan);
}

#[test]
fn a_link_with_two_tags_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::DoubleVlan);
}

#[test]
fn a_bond_stays_closed_whatever_becomes_of_the_agent_and_the_ruleset() {
    stays_closed_on(Kind::Bond);
}

/// A claim of the address by ARP behind these tags, all of them in the frame.
fn tagged_claim(tags: &[[u8; 4]]) -> Vec<u8> {
    let plain = arp(1, OWNER_MAC, V4, [0; 6], V4);
    let mut frame = plain[..12].to_vec();
    frame.extend(tags.concat());
    frame.extend(&plain[12..]);
    frame
}

#[test]
fn a_tag_in_the_frame_hides_no_claim_on_the_link_below() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let mut owner = Owner::new(&wire, &files);
    let raw = wire.owner.run(|| Probe::open("own0"));
    // The outer tag is beside the frame when the client reads it, the inner one still in it.
    let one = [0x81, 0, 0, 7];
    let two = [0x88, 0xa8, 0, 5];
    for (tags, left) in [(&[one][..], 0), (&[two, one], 4)] {
        let claim = tagged_claim(tags);
        let heard = || {
            raw.try_send(&claim);
            let wanted = |frame: &[u8]| {
                let mut bare = frame.get(..12).unwrap_or(&[]).to_vec();
                bare.extend(frame.get(12 + left..).unwrap_or(&[]));
                claims4(&bare, V4, 1)
            };
            probe.hear(Duration::from_millis(150), wanted).is_some()
        };
        owner.close();
        assert!(!heard(), "closed, and a claim behind {tags:x?} goes out");
        owner.open();
        eventually("open, the claim goes out", heard);
    }
    owner.close();
    drop(owner);
    wire.owner.command("nft", "flush ruleset");
    raw.try_send(&tagged_claim(&[one]));
    let claimed = |frame: &[u8]| claims4(frame, V4, 1);
    let heard = probe.hear(Duration::from_millis(150), claimed);
    assert!(heard.is_none(), "the agent is dead, and its claim goes out");
}

#[test]
fn a_bond_is_gated_at_the_master_and_stays_closed_over_each_of_its_ports() {
    if !Kind::Bond.is_there() {
        return;
    }
    let (wire, files) = (Wire::new(), FileSystem::new());
    let (name, probe) = Kind::Bond.build(&wire);
    let second = wire.client.run(|| Probe::open("cli1"));
    let mut owner = Owner::on(&wire, &files, name);
    for (link, standing) in owner.gate.report() {
        match link {
            "own0" | "own1" => assert!(
                matches!(&standing, Err(Ungated::PortOf { kind }) if kind == "bond"),
                "{link}: {standing:?}"
            ),
            _ => assert_eq!(standing, Ok(()), "{link}"),
        }
    }
    owner.open();
    assert_answering(&probe);
    owner.close();
    drop(owner);
    wire.owner.command("nft", "flush ruleset");
    assert_silent(&probe);
    wire.owner.ip("link set own0 down");
    eventually("the other port carries the bond", || {
        let shown = wire.owner.ip("-d link show dev bond0");
        shown.contains("active_slave own1")
    });
    assert_silent(&second);
}

#[test]
fn a_clsact_qdisc_that_somebody_deletes_is_back_while_the_agent_lives() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let probe = client(&wire);
    let mut owner = Owner::standing(&wire.owner, &files, "own0", Footing::Filters);
    let settle = |owner: &mut Owner, what: &str, wanted: fn(&Tended) -> bool| {
        wire.owner.run(|| {
            eventually(what, || wanted(&owner.gate.tend(boot_now())));
        });
    };
    settle(&mut owner, "what the gate did itself is read", |told| {
        *told == Tended::Intact
    });
    assert_silent(&probe);
    wire.owner.command("tc", "qdisc del dev own0 clsact");
    settle(&mut owner, "the gate is missed", |told| {
        matches!(told, Tended::Repaired { .. })
    });
    assert_silent(&probe);
    // With the agent dead nobody misses it, which is why such a gate is attested as watched.
    drop(owner);
    assert_silent(&probe);
    wire.owner.command("tc", "qdisc del dev own0 clsact");
    wire.owner.command("nft", "flush ruleset");
    assert_answering(&probe);
}

#[test]
fn what_a_router_passes_on_to_a_closed_address_of_its_own_is_not_answered() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let far = Namespace::new();
    wire.owner.ip(&format!(
        "link add own2 address 02:00:00:00:09:01 type veth peer name cli0 address 02:00:00:00:09:02 netns {}",
        far.path()
    ));
    wire.owner.ip("addr add 10.8.0.1/24 dev own2");
    wire.owner.ip("link set own2 up");
    far.ip("addr add 10.8.0.2/24 dev cli0");
    far.ip("link set cli0 up");
    far.ip("route add 10.9.0.0/24 via 10.8.0.1");
    wire.client.ip("route add 10.8.0.0/24 via 10.9.0.1");
    wire.owner.command("sysctl", "-q -w net.ipv4.ip_forward=1");
    let mut owner = Owner::new(&wire, &files);
    let reaches = || {
        far.run(|| {
            let socket = std::net::UdpSocket::bind("10.8.0.2:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(300)))
                .unwrap();
            // An echo of the router's own: a port that nobody serves is refused, which is an answer.
            socket.connect((V4, 9)).unwrap();
            drop(socket.send(b"?"));
            let refused = socket.recv(&mut [0; 8]);
            refused.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        })
    };
    assert!(!reaches(), "closed, and answers from behind the router");
    owner.open();
    eventually("open, it answers from behind the router", reaches);
    owner.close();
    assert!(!reaches());
    drop(owner);
    wire.owner.command("nft", "flush ruleset");
    assert!(!reaches(), "the agent is dead, and it answers");
}

/// The far end of a link without Ethernet headers: what is written is received there, and what is read was sent.
struct Tunnel(File);

/// `struct ifreq` as TUNSETIFF takes it (linux/if_tun.h): the name, then the flags.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const TUNSETIFF: Opcode = opcode::write::<libc::c_int>(b'T', 202);
/// IFF_TUN, and IFF_NO_PI: packets begin with their IP header.
const TUN_WITHOUT_HEADER: u16 = 0x1001;

impl Tunnel {
    /// Makes interface `tun0` in this thread's namespace.
    #[expect(unsafe_code, reason = "a TUN device is made by an ioctl of its own")]
    fn open() -> Tunnel {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .unwrap();
        let mut request = Request {
            name: [0; 16],
            flags: TUN_WITHOUT_HEADER,
            rest: [0; 22],
        };
        request.name[..4].copy_from_slice(b"tun0");
        // SAFETY: the opcode takes a pointer to this structure, and the kernel keeps none.
        unsafe { ioctl(file.as_fd(), Setter::<TUNSETIFF, Request>::new(request)) }.unwrap();
        rustix::io::ioctl_fionbio(&file, true).unwrap();
        Tunnel(file)
    }

    /// Whether an echo request comes back within a moment.
    fn echoes(&mut self, address: IpAddr) -> bool {
        let frame = echo_request(address);
        self.0.write_all(&frame[14..]).unwrap();
        let deadline = Instant::now() + Duration::from_millis(300);
        let mut buffer = [0; 2_048];
        while Instant::now() < deadline {
            let Ok(length) = self.0.read(&mut buffer) else {
                std::thread::yield_now();
                continue;
            };
            // As a frame to the client, which is what the check reads.
            let mut seen = frame[6..12].to_vec();
            seen.extend_from_slice(&frame[..6]);
            seen.extend_from_slice(&frame[12..14]);
            seen.extend_from_slice(&buffer[..length]);
            if is_echo_reply(&seen, address) {
                return true;
            }
        }
        false
    }
}

#[test]
fn a_link_without_ethernet_headers_is_gated_too() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let mut far = wire.owner.run(Tunnel::open);
    wire.owner.ip("link set tun0 up");
    move_own_addresses(&wire, "tun0");
    let mut owner = Owner::on(&wire, &files, "tun0");
    for vip in BOTH {
        assert!(!far.echoes(vip), "{vip} answers while it is closed");
    }
    owner.open();
    for vip in BOTH {
        eventually("open, it answers through the tunnel", || far.echoes(vip));
    }
    owner.close();
    drop(owner);
    wire.owner.command("nft", "flush ruleset");
    for vip in [VIP4, VIP6] {
        assert!(!far.echoes(vip), "{vip} answers, and its agent is dead");
    }
}

#[test]
fn a_link_that_comes_while_the_agent_is_frozen_is_closed_by_the_second_layer() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let mut owner = Owner::new(&wire, &files);
    assert!(owner.gate.renew(&BOTH, Moment(u64::MAX)));
    wire.owner.ip(&format!(
        "link add late0 address 02:00:00:00:09:01 type veth peer name cli9 address 02:00:00:00:09:02 netns {}",
        wire.client.path()
    ));
    wire.owner.ip("link set late0 up");
    wire.client.ip("link set cli9 up");
    eventually("the late wire is up", || {
        wire.owner.ip("link show dev late0").contains("state UP")
    });
    let probe = wire.client.run(|| Probe::open("cli9"));
    // Its lease runs, and still nothing answers where no gate stands.
    assert_silent(&probe);
    wire.owner.run(|| {
        eventually("it wakes, and gates the link", || {
            matches!(owner.gate.tend(boot_now()), Tended::Links)
        });
    });
    owner.close();
    owner.guard.set_gated(&owner.gate.gated()).unwrap();
    assert_silent(&probe);
}
