//! Packet sockets bound to one interface (packet(7)).
//!
//! Opens them; sends and reads nothing.

use super::super::link::LinkIndex;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::io;
use std::os::fd::OwnedFd;

/// A socket that only sends: protocol zero hears nothing.
pub(super) fn sender(link: LinkIndex) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    socket.bind(&address(link, 0))?;
    Ok(OwnedFd::from(socket))
}

/// A socket that hears every protocol once bound by [`listen`]; until then nothing, so that no
/// frame slips in ahead of its filter.
pub(super) fn deaf() -> io::Result<Socket> {
    Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))
}

/// Starts to hear frames of `link`.
pub(super) fn listen(socket: &Socket, link: LinkIndex) -> io::Result<()> {
    let all = u16::try_from(libc::ETH_P_ALL).expect("protocol numbers are 16 bits");
    socket.bind(&address(link, all))
}

/// The address of all frames of a protocol on an interface.
#[expect(
    unsafe_code,
    reason = "no dependency of ours builds sockaddr_ll in safe code"
)]
fn address(link: LinkIndex, protocol: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is the address structure of AF_PACKET, which it is marked as, and fits
    // the storage.
    let packet = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    packet.sll_family = u16::try_from(libc::AF_PACKET).expect("address families are 16 bits");
    packet.sll_protocol = protocol.to_be();
    packet.sll_ifindex = i32::try_from(link.0).expect("the kernel's numbers are positive ints");
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("20 bytes");
    // SAFETY: family and length are those of the structure filled above.
    unsafe { SockAddr::new(storage, length) }
}
