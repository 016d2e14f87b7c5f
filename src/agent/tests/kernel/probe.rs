//! A client's raw view of the wire: asks by ARP, neighbour solicitation and echo, and listens.
//!
//! Frames are built here by hand, so that the library's own encoding is not its own judge.

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

pub(crate) const OWNER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 1];
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 9, 2];
const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);
/// ETH_P_ALL, and AF_PACKET is 17 (linux/if_packet.h).
const ALL_PROTOCOLS: u16 = 3;
/// How long one question waits for its answer; the wire is a function call.
const ANSWER: Duration = Duration::from_millis(150);

/// A packet socket on one interface. Open it inside the namespace.
pub(crate) struct Probe {
    socket: Socket,
}

impl Probe {
    pub(crate) fn open(interface: &str) -> Probe {
        let all = i32::from(ALL_PROTOCOLS.to_be());
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(all)))
            .expect("root may open a packet socket");
        let index = rustix::net::netdevice::name_to_index(&socket, interface)
            .expect("the interface exists");
        socket.bind(&packet_address(index)).expect("bind");
        socket.set_read_timeout(Some(ANSWER)).expect("timeout");
        Probe { socket }
    }

    /// For options of its own.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.socket.send(frame).expect("the frame was sent");
    }

    /// Sends a frame that the owner's own guard may hold back.
    pub(crate) fn try_send(&self, frame: &[u8]) {
        let _dropped_on_purpose = self.socket.send(frame);
    }

    /// The next frame that satisfies `wanted`, within `patience`.
    pub(crate) fn hear(
        &self,
        patience: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 2048];
        while Instant::now() < deadline {
            if let Ok(length) = (&self.socket).read(&mut buffer)
                && wanted(&buffer[..length])
            {
                return Some(buffer[..length].to_vec());
            }
        }
        None
    }

    /// Whether anybody answers ARP or a neighbour solicitation for `address`.
    pub(crate) fn resolves(&self, address: IpAddr) -> bool {
        self.ask_who_has(address);
        self.hear(ANSWER, |frame| claims(frame, address)).is_some()
    }

    fn ask_who_has(&self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.send(&arp(1, CLIENT_MAC, CLIENT4, [0; 6], v4)),
            IpAddr::V6(v6) => self.send(&solicitation(v6)),
        }
    }

    /// Whether anybody answers for `address` in either way, both asked at once.
    pub(crate) fn answers(&self, address: IpAddr) -> bool {
        self.ask(address);
        self.hear(ANSWER, |frame| {
            claims(frame, address) || is_echo_reply(frame, address)
        })
        .is_some()
    }

    /// Asks for the address in every way, and does not listen.
    pub(crate) fn ask(&self, address: IpAddr) {
        self.ask_who_has(address);
        self.send(&echo_request(address));
    }

    /// Whether the owner's hardware address answers an echo request to `address`, with no
    /// resolution in between: what a client with a warm cache sees.
    pub(crate) fn echoes(&self, address: IpAddr) -> bool {
        self.send(&echo_request(address));
        self.hear(ANSWER, |frame| is_echo_reply(frame, address))
            .is_some()
    }
}

/// An echo request from the client to the owner's hardware address.
pub(crate) fn echo_request(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => echo4(v4),
        IpAddr::V6(v6) => echo6(v6),
    }
}

/// An answer to [`echo_request`].
pub(crate) fn is_echo_reply(frame: &[u8], address: IpAddr) -> bool {
    frame.len() > 34
        && frame[..6] == CLIENT_MAC
        && match address {
            IpAddr::V4(v4) => {
                frame[12..14] == [8, 0] && frame[26..30] == v4.octets() && frame[34] == 0
            }
            IpAddr::V6(v6) => {
                frame.len() > 54
                    && frame[12..14] == [0x86, 0xdd]
                    && frame[22..38] == v6.octets()
                    && frame[54] == 129
            }
        }
}

#[expect(
    unsafe_code,
    reason = "socket2 builds no packet-socket addresses by itself"
)]
fn packet_address(index: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is the address structure of the family it names.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = 17;
    address.sll_protocol = ALL_PROTOCOLS.to_be();
    address.sll_ifindex = i32::try_from(index).unwrap();
    // SAFETY: family and length belong to the structure filled above.
    unsafe { SockAddr::new(storage, 20) }
}

/// An answer to whoever asks which machine has `address`.
fn claims(frame: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => claims4(frame, v4, 2),
        IpAddr::V6(v6) => claims6(frame, v6),
    }
}

/// Whether the frame claims `address`, in whatever form, or comes from it.
pub(crate) fn speaks_for(frame: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let at = |place: usize| frame.get(place..place + 4) == Some(&v4.octets()[..]);
            match frame.get(12..14) {
                Some([8, 0]) => at(26),
                Some([8, 6]) => at(28),
                _ => false,
            }
        }
        IpAddr::V6(v6) => {
            let from = frame.get(22..38) == Some(&v6.octets()[..]);
            claims6(frame, v6) || (frame.get(12..14) == Some(&[0x86, 0xdd]) && from)
        }
    }
}

/// An ARP claim of `address` with this operation (1 request, 2 reply).
pub(crate) fn claims4(frame: &[u8], address: Ipv4Addr, operation: u8) -> bool {
    frame.len() >= 42
        && frame[12..14] == [8, 6]
        && frame[20..22] == [0, operation]
        && frame[28..32] == address.octets()
}

/// A neighbour advertisement whose target is `address`.
pub(crate) fn claims6(frame: &[u8], address: Ipv6Addr) -> bool {
    frame.len() >= 78
        && frame[12..14] == [0x86, 0xdd]
        && frame[20] == 58
        && frame[54] == 136
        && frame[62..78] == address.octets()
}

pub(crate) fn arp(op: u8, sha: [u8; 6], sip: Ipv4Addr, tha: [u8; 6], tip: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(sha);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, op]);
    frame.extend(sha);
    frame.extend(sip.octets());
    frame.extend(tha);
    frame.extend(tip.octets());
    frame
}

fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    let t = target.octets();
    let group = Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(t[13]),
        u16::from_be_bytes([t[14], t[15]]),
    );
    let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
    body.extend(t);
    body.extend([1, 1]);
    body.extend(CLIENT_MAC);
    icmp6(
        [0x33, 0x33, 0xff, t[13], t[14], t[15]],
        CLIENT_MAC,
        CLIENT6,
        group,
        body,
    )
}

/// An unsolicited advertisement of `target` as somebody else would send it.
pub(crate) fn advertisement(mac: [u8; 6], target: Ipv6Addr) -> Vec<u8> {
    let mut body = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    body.extend(target.octets());
    body.extend([2, 1]);
    body.extend(mac);
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    icmp6([0x33, 0x33, 0, 0, 0, 1], mac, target, all, body)
}

fn echo6(target: Ipv6Addr) -> Vec<u8> {
    icmp6(
        OWNER_MAC,
        CLIENT_MAC,
        CLIENT6,
        target,
        vec![128, 0, 0, 0, 0, 1, 0, 1],
    )
}

fn icmp6(to: [u8; 6], from: [u8; 6], src: Ipv6Addr, dst: Ipv6Addr, mut body: Vec<u8>) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap();
    let mut pseudo = [src.octets(), dst.octets()].concat();
    pseudo.extend([0, 0, 0, length, 0, 0, 0, 58]);
    pseudo.extend(&body);
    let sum = checksum(&pseudo);
    body[2..4].copy_from_slice(&sum);
    let mut frame = [to, from].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, length, 58, 255]);
    frame.extend(src.octets());
    frame.extend(dst.octets());
    frame.extend(body);
    frame
}

fn echo4(target: Ipv4Addr) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0, 1, 0, 1];
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let mut ip = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    ip.extend(CLIENT4.octets());
    ip.extend(target.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let mut frame = [OWNER_MAC, CLIENT_MAC].concat();
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(icmp);
    frame
}

/// The Internet checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(u16::try_from(sum).unwrap())).to_be_bytes()
}
