//! Netlink messages and sockets, as little of them as rtnetlink and nftables need.
//!
//! Encodes into one growing buffer and decodes without copying. Knows nothing about addresses or
//! sets. Formats: netlink(7), linux/netlink.h.

use netlink_sys::Socket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

pub(super) const NLM_F_REQUEST: u16 = 0x1;
pub(super) const NLM_F_ACK: u16 = 0x4;
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Marks an attribute that holds attributes.
const NLA_F_NESTED: u16 = 0x8000;
/// The kernel's dump parts are at most 32 KiB; one read takes a whole one.
const READ_BUFFER: usize = 64 * 1024;
/// Room for the replies to a refused batch of the largest size; sockets account about 800 bytes
/// for each.
const RECEIVE_ROOM: usize = 4 * 1024 * 1024;
/// The kernel answers within the request; a longer wait means that it is not going to.
const ANSWER_DEADLINE: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// Rounds up to netlink's alignment of four.
fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

/// One or more messages under construction, back to back as a batch wants them.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    start: usize,
}

impl Messages {
    /// Opens a message; `finish` closes it.
    pub(super) fn begin(&mut self, kind: u16, flags: u16, sequence: u32) -> &mut Self {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self
    }

    /// Closes the open message by writing its length.
    pub(super) fn finish(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start)
            .expect("a message is smaller than the socket's room");
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Asks for an acknowledgement of the message closed last.
    pub(super) fn acknowledge_last(&mut self) {
        let at = self.start + 6;
        let flags = u16_at(&self.bytes, at).unwrap_or(0) | NLM_F_ACK;
        self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
    }

    /// Adds the family's fixed header.
    pub(super) fn fixed(&mut self, header: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(header);
        self.pad();
        self
    }

    /// Adds one attribute.
    pub(super) fn attr(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        let length = u16::try_from(payload.len() + 4).expect("attributes here are short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.pad();
        self
    }

    /// Adds a zero-terminated string.
    pub(super) fn name(&mut self, kind: u16, text: &str) -> &mut Self {
        let length = u16::try_from(text.len() + 5).expect("names here are short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.pad();
        self
    }

    /// Adds a number in network byte order, as nftables has them.
    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Adds an attribute whose payload is what `inside` adds.
    pub(super) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes
            .extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        inside(self);
        let length = u16::try_from(self.bytes.len() - at).expect("nests here are short");
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The encoded messages.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }
}

/// One decoded message; borrows the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// The error number of an NLMSG_ERROR or NLMSG_DONE, zero for an acknowledgement.
    pub(super) fn verdict(&self) -> Option<i32> {
        let code = || i32::from_ne_bytes(self.body.get(..4)?.try_into().ok()?).checked_neg();
        match self.kind {
            NLMSG_ERROR => code(),
            // A dump's end carries its status where the kernel has one to tell.
            NLMSG_DONE => Some(code().unwrap_or(0)),
            _ => None,
        }
    }
}

/// Walks the messages of a read; stops at the first malformed length.
pub(super) struct MessageIter<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for MessageIter<'a> {
    type Item = Message<'a>;
    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(u32_at(self.0, 0)?).ok()?;
        if length < HEADER || length > self.0.len() {
            return None;
        }
        let message = Message {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            sequence: u32_at(self.0, 8)?,
            body: &self.0[HEADER..length],
        };
        self.0 = self.0.get(aligned(length)..).unwrap_or(&[]);
        Some(message)
    }
}

/// Walks attributes as (kind without flag bits, payload); stops at the first malformed length.
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Attributes(bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & 0x3fff;
        if length < 4 || length > self.0.len() {
            return None;
        }
        let payload = &self.0[4..length];
        self.0 = self.0.get(aligned(length)..).unwrap_or(&[]);
        Some((kind, payload))
    }
}

/// The payload of the first attribute of this kind.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    Attributes::new(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, payload)| payload)
}

/// A host-order u16 at this place.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A host-order u32 at this place.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A zero-terminated string attribute.
pub(super) fn text(payload: &[u8]) -> String {
    let end = payload
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(payload.len());
    String::from_utf8_lossy(&payload[..end]).into_owned()
}

/// What one non-blocking read found.
#[derive(Debug)]
pub(super) enum Read<'a> {
    /// One datagram, holding one or more messages.
    Messages(&'a [u8]),
    /// Nothing waits.
    Empty,
    /// The kernel dropped messages because this socket's room was full.
    Overrun,
}

/// A netlink socket with its read buffer.
pub(super) struct Port {
    socket: Socket,
    id: u32,
    buffer: Box<[u8]>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("id", &self.id).finish()
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Port {
    /// Opens a socket of `protocol` (linux/netlink.h) in this thread's namespace.
    pub(super) fn open(protocol: isize) -> io::Result<Port> {
        let mut socket = Socket::new(protocol)?;
        let id = socket.bind_auto()?.port_number();
        // Replies name the refused message by its sequence number; its copy is not needed.
        socket.set_cap_ack(true)?;
        // Past the system's limit this needs CAP_NET_ADMIN over the whole machine; with less room
        // losses of reports come sooner, and are noticed all the same.
        if set_socket_recv_buffer_size_force(&socket, RECEIVE_ROOM).is_err() {
            set_socket_recv_buffer_size(&socket, RECEIVE_ROOM)?;
        }
        Ok(Port {
            socket,
            id,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
        })
    }

    /// Subscribes to a multicast group.
    pub(super) fn subscribe(&self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// The kernel's number of this socket, unique in its namespace and protocol.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Sends requests; the kernel has acted on them when this returns.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        send(&self.socket, bytes, SendFlags::empty())?;
        Ok(())
    }

    /// Reads one datagram if one waits.
    pub(super) fn read(&mut self) -> io::Result<Read<'_>> {
        use rustix::io::Errno;
        match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, length)) => Ok(Read::Messages(&self.buffer[..length])),
            Err(Errno::AGAIN) => Ok(Read::Empty),
            Err(Errno::NOBUFS) => Ok(Read::Overrun),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Throws away what earlier requests left behind, so that the next reply is the next one's.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        loop {
            if matches!(self.read()?, Read::Empty) {
                return Ok(());
            }
        }
    }

    /// Sends one acknowledged request and returns the kernel's errno, zero for success.
    pub(super) fn request(&mut self, request: &Messages) -> io::Result<i32> {
        self.drain()?;
        self.send(request.as_bytes())?;
        loop {
            self.await_answer()?;
            if let Read::Messages(bytes) = self.read()?
                && let Some(code) = MessageIter(bytes).find_map(|message| message.verdict())
            {
                return Ok(code);
            }
        }
    }

    /// Runs a dump, giving each message to `each`. `Ok(errno)` is the kernel's refusal, zero for
    /// success; a dump that raced with a change is `EINTR`.
    pub(super) fn dump(
        &mut self,
        request: &Messages,
        mut each: impl FnMut(Message<'_>),
    ) -> io::Result<i32> {
        self.drain()?;
        self.send(request.as_bytes())?;
        let mut torn = false;
        loop {
            self.await_answer()?;
            let bytes = match self.read()? {
                Read::Messages(bytes) => bytes,
                Read::Empty => continue,
                Read::Overrun => return Ok(libc::ENOBUFS),
            };
            for message in MessageIter(bytes) {
                torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.verdict() {
                    Some(0) if torn => return Ok(libc::EINTR),
                    Some(code) => return Ok(code),
                    None => each(message),
                }
            }
        }
    }

    /// Waits until a reply is readable, within the answer deadline.
    fn await_answer(&self) -> io::Result<()> {
        let mut waiting = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut waiting, Some(&ANSWER_DEADLINE)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_reads_back() {
        let mut messages = Messages::default();
        messages.begin(16, NLM_F_ACK, 7).fixed(&[1, 2, 3, 4]);
        messages
            .name(1, "haft")
            .nest(2, |inner| {
                inner.number(3, 0x0102_0304);
            })
            .finish();
        let read: Vec<_> = MessageIter(messages.as_bytes()).collect();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].kind, read[0].sequence), (16, 7));
        let body = &read[0].body[4..];
        assert_eq!(text(find(body, 1).unwrap()), "haft");
        assert_eq!(find(find(body, 2).unwrap(), 3).unwrap(), &[1, 2, 3, 4]);
    }

    #[test]
    fn malformed_lengths_end_the_walk() {
        assert_eq!(MessageIter(&[255, 0, 0, 0, 1, 0]).count(), 0);
        assert_eq!(MessageIter(&[4, 0, 0, 0].repeat(4)).count(), 0);
        assert_eq!(Attributes::new(&[2, 0, 1, 0]).count(), 0);
        assert_eq!(Attributes::new(&[9, 0, 1, 0, 5]).count(), 0);
    }
}
