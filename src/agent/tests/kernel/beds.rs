//! What a guarded address can stand on, each with the view of it from outside.
//!
//! Builds and asks; knows nothing of gates. Tagged links and bonds need modules that not every kernel has.

use crate::fixture::{BOTH, assert_answering, client};
use crate::netns::{Namespace, Wire, eventually};
use crate::probe::{Probe, echo_request, is_echo_reply};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// How long one question waits for its answer; nothing is far away.
const ANSWER: Duration = Duration::from_millis(150);

/// What the address stands on, or where it is asked from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Wire,
    Bridge,
    Macvlan,
    /// On a bridge, not on a wire.
    MacvlanOnBridge,
    Vxlan,
    /// Its tag is beside the frame on the way through the wire, as on hardware that sets tags itself.
    Vlan,
    /// A tag in a tag: the outer one beside the frame, the inner one in it.
    DoubleVlan,
    Bond,
    /// A link whose frames begin with the IP header.
    Tunnel,
    /// The address is on `lo`, and asked for on the machine itself.
    Loopback,
    /// The owner is a router, and the client behind it.
    Routed,
}

/// From where the address is seen.
enum View {
    Frames(Probe),
    Tunnel(RefCell<Tunnel>),
    /// A socket of the owner's machine; and the wire, on which the address is heard as well.
    Inside(Probe),
    /// A socket of another machine.
    Behind(Namespace),
}

/// An owner's machine with the link that is to carry the address, and who looks at it.
pub(crate) struct Bed {
    pub(crate) wire: Wire,
    /// The link.
    pub(crate) name: &'static str,
    view: View,
}

impl Bed {
    /// Builds it.
    pub(crate) fn of(kind: Kind) -> Bed {
        let wire = Wire::new();
        let (name, view) = build(kind, &wire);
        Bed { wire, name, view }
    }

    /// A link that comes now, and both addresses on it by somebody's hand; seen from there on.
    pub(crate) fn moves_to(&mut self, kind: Kind) {
        (self.name, self.view) = match kind {
            Kind::Wire => {
                let probe = late_wire(&self.wire);
                move_own_addresses(&self.wire, "late0");
                ("late0", View::Frames(probe))
            }
            other => build(other, &self.wire),
        };
        for (vip, how) in BOTH.iter().zip(["", "nodad"]) {
            self.wire
                .owner
                .ip(&format!("addr replace {vip} dev {} {how}", self.name));
        }
    }

    /// Nothing answers for either address.
    pub(crate) fn assert_silent(&self, when: &str) {
        for vip in BOTH {
            assert!(!self.answers(vip), "{when}: {vip} answers");
        }
        if let View::Inside(probe) = &self.view {
            assert!(!probe.resolves(BOTH[0]), "{when}: it answers on the wire");
        }
    }

    /// Both answer, and on the wire in every way.
    pub(crate) fn assert_answering(&self, when: &str) {
        if let View::Frames(probe) = &self.view {
            assert_answering(probe);
        }
        for vip in BOTH {
            eventually(&format!("{when}, {vip} answers"), || self.answers(vip));
        }
    }

    /// Whether anything answers for this address.
    fn answers(&self, vip: IpAddr) -> bool {
        match &self.view {
            View::Frames(probe) => probe.answers(vip),
            View::Tunnel(tunnel) => tunnel.borrow_mut().echoes(vip),
            View::Inside(_) => refuses(&self.wire.owner, vip),
            View::Behind(far) => refuses(far, vip),
        }
    }
}

/// Whether a port that nobody serves is refused, which is an answer.
pub(crate) fn refuses(from: &Namespace, vip: IpAddr) -> bool {
    from.run(|| {
        let any: IpAddr = match vip {
            IpAddr::V4(_) => [0; 4].into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.set_read_timeout(Some(ANSWER)).unwrap();
        // An address that has just gone from the machine, or has no route, answers nobody.
        if socket.connect(SocketAddr::new(vip, 9)).is_err() {
            return false;
        }
        drop(socket.send(b"?"));
        let refused = socket.recv(&mut [0; 8]);
        refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    })
}

/// Builds it over the wire; the interface that carries the address, and the client's view of it.
fn build(kind: Kind, wire: &Wire) -> (&'static str, View) {
    let seen = |name: &'static str| (name, View::Frames(client(wire)));
    match kind {
        Kind::Wire => seen("own0"),
        Kind::Bridge => {
            bridged(wire);
            seen("br0")
        }
        Kind::Macvlan => {
            // The client speaks to one hardware address: the stacked link gets it.
            stacked(wire, "own0");
            seen("mv0")
        }
        Kind::MacvlanOnBridge => {
            bridged(wire);
            stacked(wire, "br0");
            seen("mv0")
        }
        Kind::Vxlan => {
            overlay(wire);
            let probe = wire.client.run(|| Probe::open("vx0"));
            ("vx0", View::Frames(probe))
        }
        Kind::Vlan | Kind::DoubleVlan => {
            for (side, below) in [(&wire.owner, "own0"), (&wire.client, "cli0")] {
                if kind == Kind::Vlan {
                    tagged(side, below, "tag0", "802.1Q", 7);
                } else {
                    tagged(side, below, "outer0", "802.1ad", 5);
                    tagged(side, "outer0", "tag0", "802.1Q", 7);
                }
            }
            move_own_addresses(wire, "tag0");
            let probe = wire.client.run(|| Probe::open("tag0"));
            ("tag0", View::Frames(probe))
        }
        Kind::Bond => {
            bonded(wire);
            seen("bond0")
        }
        Kind::Tunnel => {
            let tunnel = wire.owner.run(|| Tunnel::open("tun0"));
            wire.owner.ip("link set tun0 up");
            move_own_addresses(wire, "tun0");
            ("tun0", View::Tunnel(RefCell::new(tunnel)))
        }
        Kind::Loopback => ("lo", View::Inside(client(wire))),
        Kind::Routed => ("own0", View::Behind(beyond(wire))),
    }
}

fn bridged(wire: &Wire) {
    wire.owner.ip("link add br0 type bridge");
    wire.owner.ip("link set own0 master br0");
    wire.owner.ip("link set br0 address 02:00:00:00:09:01");
    wire.owner.ip("link set br0 up");
    move_own_addresses(wire, "br0");
}

fn stacked(wire: &Wire, below: &str) {
    wire.owner
        .ip(&format!("link set {below} address 02:00:00:00:09:11"));
    wire.owner.ip(&format!(
        "link add mv0 link {below} address 02:00:00:00:09:01 type macvlan mode bridge"
    ));
    wire.owner.ip("link set mv0 up");
    wire.owner
        .ip(&format!("addr flush dev {below} scope global"));
    move_own_addresses(wire, "mv0");
}

fn bonded(wire: &Wire) {
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
}

/// Another wire between the same two, which comes now; the client's view of it.
pub(crate) fn late_wire(wire: &Wire) -> Probe {
    wire.owner.ip(&format!(
        "link add late0 address 02:00:00:00:09:01 type veth peer name cli9 address 02:00:00:00:09:02 netns {}",
        wire.client.path()
    ));
    wire.owner.ip("link set late0 up");
    wire.client.ip("link set cli9 up");
    eventually("the late wire is up", || {
        wire.owner.ip("link show dev late0").contains("state UP")
    });
    wire.client.run(|| Probe::open("cli9"))
}

/// A machine on another wire of the owner's, which routes.
pub(crate) fn beyond(wire: &Wire) -> Namespace {
    let far = Namespace::new();
    wire.owner.ip(&format!(
        "link add own2 address 02:00:00:00:08:01 type veth peer name far0 netns {}",
        far.path()
    ));
    for (side, name, number) in [(&wire.owner, "own2", 1), (&far, "far0", 2)] {
        side.ip(&format!("addr add 10.8.0.{number}/24 dev {name}"));
        side.ip(&format!("addr add fd08::{number}/64 dev {name} nodad"));
        side.ip(&format!("link set {name} up"));
    }
    eventually("the wire to what is beyond is up", || {
        wire.owner.ip("link show dev own2").contains("state UP")
    });
    far.ip("route add 10.9.0.0/24 via 10.8.0.1");
    far.ip("-6 route add fd09::/64 via fd08::1");
    wire.client.ip("route add 10.8.0.0/24 via 10.9.0.1");
    wire.client.ip("-6 route add fd08::/64 via fd09::1");
    for forwards in ["ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1"] {
        wire.owner.command("sysctl", &format!("-qw net.{forwards}"));
    }
    far
}

impl Kind {
    /// What to ask `ip` for, where a kernel may lack it, in a namespace with link `one`.
    fn asked(self) -> Option<&'static str> {
        match self {
            Kind::Wire
            | Kind::Bridge
            | Kind::Macvlan
            | Kind::MacvlanOnBridge
            | Kind::Vxlan
            | Kind::Tunnel
            | Kind::Loopback
            | Kind::Routed => None,
            Kind::Vlan | Kind::DoubleVlan => Some("link add link one name three type vlan id 7"),
            Kind::Bond => Some("link add three type bond"),
        }
    }

    /// Whether this kernel makes such links; says so where it does not, and fails if it has to.
    pub(crate) fn is_there(self) -> bool {
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

pub(crate) fn move_own_addresses(wire: &Wire, to: &str) {
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

/// The far end of a link without Ethernet headers: what is written is received there, and what is read was sent.
pub(crate) struct Tunnel(File);

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
    /// Makes an interface of this name, of four letters, in this thread's namespace.
    #[expect(unsafe_code, reason = "a TUN device is made by an ioctl of its own")]
    pub(crate) fn open(name: &str) -> Tunnel {
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
        request.name[..4].copy_from_slice(name.as_bytes());
        // SAFETY: the opcode takes a pointer to this structure, and the kernel keeps none.
        unsafe { ioctl(file.as_fd(), Setter::<TUNSETIFF, Request>::new(request)) }.unwrap();
        rustix::io::ioctl_fionbio(&file, true).unwrap();
        Tunnel(file)
    }

    /// Whether an echo request comes back within a moment.
    pub(crate) fn echoes(&mut self, address: IpAddr) -> bool {
        let frame = echo_request(address);
        self.0.write_all(&frame[14..]).unwrap();
        let deadline = Instant::now() + ANSWER;
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
