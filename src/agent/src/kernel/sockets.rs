//! Sockets that would go on speaking from an address when it has gone from the machine (sock_diag(7)).
//!
//! IPv4 looks for a socket's address with each packet and sends none without it. IPv6 does not: a connection goes on
//! sending what is not acknowledged, and what its program writes, and a datagram socket whatever it is told to, in the
//! name of an address that may be another machine's by now. Connections are closed here, as `ss -K` does; a datagram
//! socket belongs to a program that may serve again when the address is back, so it is only told of. Raw sockets are
//! not looked for. Closing waits for the program that is using the connection, which may hang in the kernel for ever, so
//! that a thread of its own does it (`closer`). Decides nothing about what stays silent meanwhile.

mod closer;

pub use closer::{Answer, Asked, Closer, Question};

use super::netlink::{Message, Messages, NLM_F_ACK, NLM_F_DUMP, Port, u32_at};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};

/// linux/netlink.h.
const NETLINK_SOCK_DIAG: isize = 4;
// linux/sock_diag.h, linux/inet_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const BYTECODE: u16 = 1;
/// `struct inet_diag_msg`: family, state, two bytes of timers, then `struct inet_diag_sockid`.
const SOCKET: usize = 4;
const SOCKET_LENGTH: usize = 48;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bits of tcp_states.h: all but TIME_WAIT, CLOSE and LISTEN, which say nothing unless they are spoken to.
const SPEAKING: u32 = 0x1ffe & !(1 << 6) & !(1 << 7) & !(1 << 10);
const ALL: u32 = u32::MAX;
/// Of the prefix that is for throwing away (RFC 6666).
const NOBODY: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);
/// Each look but the last has closed something: more than this is a program that connects as fast.
const LOOKS: usize = 64;
/// Dumps that race with changes are repeated this often.
const DUMP_ATTEMPTS: usize = 8;

/// Whether anything of this machine may still speak from an address that is not on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Voices {
    /// Nothing that is known.
    None,
    /// Connections that are not closed yet, or that the kernel does not close; or programs with datagram sockets.
    Left,
}

/// What one look found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    Nothing,
    /// Connections, some of which are closed now.
    Closed,
    /// What is not closed.
    Left,
}

/// What asks the kernel. Opened when it is needed.
#[derive(Debug, Default)]
struct Sockets {
    port: Option<Port>,
}

impl Sockets {
    /// Asks once, about nobody's address, since a kernel may load modules for its first answer.
    fn prepare(&mut self) {
        self.hush(NOBODY.into(), &AtomicBool::new(false));
    }

    /// Closes connections from this address, which is on no interface any more, in this thread's network namespace, and
    /// looks again until nothing is closed any more; whether anything is left that may speak from it. What cannot be told
    /// counts. Nothing is closed from the moment on when the question is withdrawn: what is listed before that is of
    /// sockets that were there before.
    fn hush(&mut self, address: IpAddr, withdrawn: &AtomicBool) -> Voices {
        for _ in 0..LOOKS {
            match self.close(address, withdrawn) {
                Ok(Look::Nothing) => return Voices::None,
                Ok(Look::Closed) => {}
                Ok(Look::Left) => return Voices::Left,
                Err(error) => {
                    tracing::warn!(
                        %address,
                        err = crate::chain(&error),
                        "the kernel does not tell what would speak from an address that is gone"
                    );
                    return Voices::Left;
                }
            }
        }
        Voices::Left
    }

    fn close(&mut self, address: IpAddr, withdrawn: &AtomicBool) -> io::Result<Look> {
        let IpAddr::V6(address) = address else {
            return Ok(Look::Nothing);
        };
        let port = match &mut self.port {
            Some(port) => port,
            none => match Port::open(NETLINK_SOCK_DIAG) {
                Ok(port) => none.insert(port),
                // A kernel that tells nobody's sockets.
                Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
                    return Ok(Look::Nothing);
                }
                Err(error) => return Err(error),
            },
        };
        let connections = list(port, TCP, SPEAKING, address)?;
        let mut look = match connections.is_empty() {
            true => Look::Nothing,
            false => Look::Left,
        };
        for connection in &connections {
            if withdrawn.load(Ordering::SeqCst) {
                return Ok(Look::Left);
            }
            match destroy(port, connection)? {
                // Or it has just ended by itself.
                0 | libc::ENOENT => look = Look::Closed,
                // This kernel closes none.
                libc::EOPNOTSUPP => {}
                code => return Err(io::Error::from_raw_os_error(code)),
            }
        }
        match look {
            Look::Nothing if !list(port, UDP, ALL, address)?.is_empty() => Ok(Look::Left),
            Look::Nothing | Look::Closed | Look::Left => Ok(look),
        }
    }
}

/// `struct inet_diag_sockid` of one socket, as the kernel tells it and takes it.
type Id = [u8; SOCKET_LENGTH];

/// `struct inet_diag_req_v2`.
fn request(protocol: u8, states: u32, socket: &Id) -> Vec<u8> {
    let family = u8::try_from(libc::AF_INET6).expect("a small constant");
    let mut request = vec![family, protocol, 0, 0];
    request.extend(states.to_ne_bytes());
    request.extend(socket);
    request
}

/// One `struct inet_diag_bc_op` and its `struct inet_diag_hostcond`: a source of exactly this address, any port.
fn from(address: Ipv6Addr) -> Vec<u8> {
    /// INET_DIAG_BC_S_COND; its length, and where a socket that is another's goes: beyond the end.
    const SOURCE: u8 = 7;
    const LENGTH: u8 = 28;
    let family = u8::try_from(libc::AF_INET6).expect("a small constant");
    let mut code = vec![SOURCE, LENGTH];
    code.extend(u16::from(LENGTH + 4).to_ne_bytes());
    code.extend([family, 128, 0, 0]);
    code.extend((-1_i32).to_ne_bytes());
    code.extend(address.octets());
    code
}

/// The sockets of this protocol that speak from the address. None where the kernel has no such list.
fn list(port: &mut Port, protocol: u8, states: u32, address: Ipv6Addr) -> io::Result<Vec<Id>> {
    let mut asked = Messages::default();
    asked
        .begin(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, 1)
        .fixed(&request(protocol, states, &[0; SOCKET_LENGTH]))
        .attr(BYTECODE, &from(address))
        .finish();
    let mut last = 0;
    for _ in 0..DUMP_ATTEMPTS {
        let mut found = Vec::new();
        last = port.dump(&asked, |message| found.extend(id_of(&message)))?;
        match last {
            0 => return Ok(found),
            libc::ENOENT => return Ok(Vec::new()),
            libc::EINTR | libc::ENOBUFS => {}
            _ => break,
        }
    }
    Err(io::Error::from_raw_os_error(last))
}

fn id_of(message: &Message<'_>) -> Option<Id> {
    let told = message.kind == SOCK_DIAG_BY_FAMILY && u32_at(message.body, 0).is_some();
    let id = message.body.get(SOCKET..SOCKET + SOCKET_LENGTH)?;
    told.then(|| id.try_into().ok()).flatten()
}

fn destroy(port: &mut Port, socket: &Id) -> io::Result<i32> {
    let mut asked = Messages::default();
    asked
        .begin(SOCK_DESTROY, NLM_F_ACK, 1)
        .fixed(&request(TCP, ALL, socket))
        .finish();
    port.request(&asked)
}
