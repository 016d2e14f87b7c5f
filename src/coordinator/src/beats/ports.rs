//! The sockets of the beat port: one for each of this machine's addresses, and none ever waits.
//!
//! A socket of its own for each address, because what waits for a stalled link counts against its socket's send
//! buffer: with one for all, a link under flow control silences the healthy one beside it. A datagram comes out
//! of here together with the moment of its receive call (R2b). Knows nothing of beats and keys.

use crate::clock::boot_now;
use haft_engine::plant::{self, Bug};
use haft_engine::session::Received;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// What arrives while the thread is held up waits here: 4 MiB are some 8,000 beats by the kernel's accounting.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The sockets.
#[derive(Debug)]
pub struct BeatPorts {
    sockets: Vec<UdpSocket>,
}

/// A datagram from a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    /// Bytes of the buffer that it fills.
    pub(super) length: usize,
    /// Who sent it.
    pub(super) from: SocketAddr,
    /// When the receive call that brought it had returned.
    pub(super) received: Received,
}

impl BeatPorts {
    /// Binds a socket to each address. One that the machine does not have yet is bound all the same and serves
    /// as soon as it comes up.
    ///
    /// # Errors
    /// When a port is taken, with the address.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let sockets = addresses
            .iter()
            .map(|address| open(*address).map_err(|error| (*address, error)));
        Ok(Self {
            sockets: sockets.collect::<Result<_, _>>()?,
        })
    }

    /// Copies of the sockets, for whoever asks from where beats are heard.
    ///
    /// # Errors
    /// When one cannot be copied.
    pub fn copies(&self) -> io::Result<Vec<UdpSocket>> {
        self.sockets.iter().map(UdpSocket::try_clone).collect()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Waits until something has come, or for `at_most`.
    pub(super) fn wait(&self, at_most: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        let mut descriptors: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The next datagram of one socket, if one has come. The clock is read here, after the call and before
    /// anything else: whoever holds a lock meanwhile makes an answer late, and no receipt early.
    pub(super) fn receive(&self, which: usize, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
        let socket = &self.sockets[which];
        let (brought, received) = Received::after(|| socket.recv_from(buffer), boot_now);
        match brought {
            Ok((length, from)) => Ok(Some(Datagram {
                length,
                from,
                received,
            })),
            Err(error) if is_idle(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends from the socket that was asked, and does not wait.
    ///
    /// # Errors
    /// When it has no room or no way out: the answer is lost.
    pub(super) fn answer(&self, which: usize, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let socket = &self.sockets[which];
        if plant::is(Bug::AnswerBlocking) {
            socket.set_nonblocking(false)?;
            let sent = socket.send_to(bytes, to);
            socket.set_nonblocking(true)?;
            return sent.map(drop);
        }
        socket.send_to(bytes, to).map(drop)
    }

    /// Where they are bound.
    #[cfg(test)]
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.sockets.iter().map(UdpSocket::local_addr);
        addresses.map(Result::unwrap).collect()
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    // Beyond net.core.rmem_max only with CAP_NET_ADMIN; without it, what is allowed.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Nothing there, or the ICMP answer to one of our own datagrams.
fn is_idle(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}
