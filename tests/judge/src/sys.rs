//! The few system calls that the standard library lacks: packet sockets, waiting on descriptors to the microsecond,
//! locked memory and real-time priority. Thin: each function is one call and its error.

use std::ffi::CString;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A packet socket's receive buffer in bytes: two seconds of answers even if the judge is descheduled that long.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A socket that sends and receives whole frames on one interface, also those for other hardware addresses, and does
/// not hear its own. It is typed as a UDP socket because `send` and `recv` of bytes are all that is asked of it.
///
/// # Errors
/// No such interface, or no permission (`CAP_NET_RAW`).
pub fn packet_socket(interface: &str) -> io::Result<UdpSocket> {
    let every = u16::try_from(libc::ETH_P_ALL)
        .expect("a protocol number of sixteen bits")
        .to_be();
    let socket = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(i32::from(every))),
    )?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let index = interface_index(interface)?;
    socket.bind(&link_address(index, every)?)?;
    set_option(&socket, libc::PACKET_IGNORE_OUTGOING, &1i32)?;
    let membership = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        mr_type: u16::try_from(libc::PACKET_MR_PROMISC).expect("a small constant"),
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(&socket, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from(socket))
}

/// The ordinary client: an ICMP socket of the kernel's own routing, connected to the address. Only sent from; its
/// answers are read from the packet socket, which also says whose they are.
///
/// # Errors
/// No permission, or no route.
pub fn client_socket(target: std::net::IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match target {
        std::net::IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        std::net::IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // Never read: let the kernel drop what would queue up.
    socket.set_recv_buffer_size(0)?;
    socket.connect(&std::net::SocketAddr::new(target, 0).into())?;
    Ok(UdpSocket::from(socket))
}

#[expect(
    unsafe_code,
    reason = "if_nametoindex has no safe form in the libraries allowed here"
)]
fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: `name` is a terminated string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

#[expect(
    unsafe_code,
    reason = "a link-layer address can be built only by writing into the storage"
)]
fn link_address(index: u32, protocol: u16) -> io::Result<SockAddr> {
    let link = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("a small constant"),
        sll_protocol: protocol,
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the storage is larger than a sockaddr_ll and aligned for any address; the length written is its size.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(link);
            *length =
                libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("twenty bytes");
            Ok(())
        })
    }?;
    Ok(address)
}

#[expect(
    unsafe_code,
    reason = "packet socket options have no safe form in the libraries allowed here"
)]
fn set_option<T>(socket: &Socket, name: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("an option of a few bytes");
    // SAFETY: pointer and length describe `value`, which lives through the call.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits until one of the descriptors is readable or the time is over; says which are readable.
///
/// # Errors
/// Those of ppoll(2); an interruption by a signal is not one.
#[expect(
    unsafe_code,
    reason = "ppoll has no safe form in the libraries allowed here"
)]
pub fn wait_readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Duration,
) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).map_err(io::Error::other)?,
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    let count = libc::nfds_t::try_from(N).expect("a handful of descriptors");
    // SAFETY: the array holds `count` entries and, like the limit, lives through the call; no signal mask is passed.
    let code = unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            count,
            &raw const limit,
            std::ptr::null(),
        )
    };
    if code < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted {
            Ok([false; N])
        } else {
            Err(error)
        };
    }
    Ok(polled.map(|p| p.revents != 0))
}

/// Locks all memory and asks for a real-time priority, so that a busy machine delays the judge as little as it may.
/// Both are wishes: a refusal shows in the report as stalls.
#[expect(
    unsafe_code,
    reason = "mlockall and sched_setscheduler have no safe form in the libraries allowed here"
)]
pub fn become_realtime() {
    // SAFETY: takes flags only.
    unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: the parameters live through the call; 0 is this thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
}
