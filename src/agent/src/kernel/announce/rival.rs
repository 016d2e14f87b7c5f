//! Hearing another machine claim one of our addresses.
//!
//! A filter in the kernel passes only claims (ARP sender, advertisement target) of the addresses
//! given, and none of our own frames. Counts and reports; answers nothing.

use super::super::link::Link;
use super::{AnnounceError, frame, socket};
use rustix::net::{RecvFlags, recv};
use socket2::{SockFilter, Socket};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// Frames taken by one read, so that a storm of claims cannot hold the caller for ever.
const READ_LIMIT: usize = 256;
/// Nine instructions of eight bytes each at most, within the 20 KiB that older kernels allow a
/// socket's filter. With more addresses every claim is passed up and sorted out here.
const FILTER_LIMIT: usize = 64;

/// A claim by another machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rival {
    /// The claimed address, one of ours.
    pub address: IpAddr,
    /// The claimant's hardware address.
    pub mac: [u8; 6],
}

/// Listens on one interface. Readable (`AsFd`) when a claim has been heard.
#[derive(Debug)]
pub struct RivalWatch {
    socket: Socket,
    link: Link,
    ours: BTreeSet<IpAddr>,
    heard: u64,
}

impl AsFd for RivalWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl RivalWatch {
    /// Listens on `link` for claims of `addresses` by any hardware address but the link's own.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the interface is gone.
    pub fn open(link: &Link, addresses: &[IpAddr]) -> Result<RivalWatch, AnnounceError> {
        let opened = || -> io::Result<Socket> {
            let socket = socket::deaf()?;
            socket.attach_filter(&claims(addresses))?;
            socket::listen(&socket, link.index)?;
            Ok(socket)
        };
        Ok(RivalWatch {
            socket: opened().map_err(|source| AnnounceError::Open {
                link: link.name.clone(),
                source,
            })?,
            link: link.clone(),
            ours: addresses.iter().copied().collect(),
            heard: 0,
        })
    }

    /// Listens for these addresses from now on.
    ///
    /// # Errors
    /// When the kernel refuses the filter; the old one stays.
    pub fn retarget(&mut self, addresses: &[IpAddr]) -> Result<(), AnnounceError> {
        self.socket
            .attach_filter(&claims(addresses))
            .map_err(|source| self.failed(source))?;
        self.ours = addresses.iter().copied().collect();
        Ok(())
    }

    /// The rivals heard since the last call, each once; never blocks.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn read(&mut self) -> Result<Vec<Rival>, AnnounceError> {
        let mut rivals = BTreeSet::new();
        let mut buffer = [0; 128];
        for _ in 0..READ_LIMIT {
            let length = match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => length.min(buffer.len()),
                Err(rustix::io::Errno::AGAIN) => break,
                // Reported once by the kernel; the caller hears of the link by other means.
                Err(rustix::io::Errno::NETDOWN) => continue,
                Err(errno) => return Err(self.failed(errno.into())),
            };
            if let Some((address, mac)) = frame::claim(&buffer[..length])
                && mac != self.link.mac
                && self.ours.contains(&address)
            {
                self.heard = self.heard.saturating_add(1);
                rivals.insert(Rival { address, mac });
            }
        }
        Ok(rivals.into_iter().collect())
    }

    /// Claims by others since this was opened.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    fn failed(&self, source: io::Error) -> AnnounceError {
        AnnounceError::Receive {
            link: self.link.name.clone(),
            source,
        }
    }
}

// Classic BPF (linux/filter.h): loads are in network order.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// SKF_AD_OFF + SKF_AD_PKTTYPE: who the frame is for, as packet(7) numbers it.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const PACKET_OUTGOING: u32 = 4;

/// The filter: claims of these addresses in frames that came from outside.
fn claims(addresses: &[IpAddr]) -> Vec<SockFilter> {
    let op = SockFilter::new;
    let mut arp = vec![op(LOAD_WORD, 0, 0, 28)];
    let mut ndp = vec![
        op(LOAD_BYTE, 0, 0, 20),
        op(JUMP_EQUAL, 1, 0, 58),
        op(RETURN, 0, 0, 0),
        op(LOAD_BYTE, 0, 0, 54),
        op(JUMP_EQUAL, 1, 0, 136),
        op(RETURN, 0, 0, 0),
    ];
    if addresses.len() > FILTER_LIMIT {
        arp.push(op(RETURN, 0, 0, u32::MAX));
        ndp.push(op(RETURN, 0, 0, u32::MAX));
    } else {
        for address in addresses {
            match address {
                IpAddr::V4(v4) => {
                    arp.push(op(JUMP_EQUAL, 0, 1, u32::from(*v4)));
                    arp.push(op(RETURN, 0, 0, u32::MAX));
                }
                IpAddr::V6(v6) => {
                    for (word, past) in [(0_u32, 7), (1, 5), (2, 3), (3, 1)] {
                        let shift = 96 - 32 * word;
                        let bits = u32::try_from(u128::from(*v6) >> shift & 0xffff_ffff)
                            .expect("masked to 32 bits");
                        ndp.push(op(LOAD_WORD, 0, 0, 62 + 4 * word));
                        ndp.push(op(JUMP_EQUAL, 0, past, bits));
                    }
                    ndp.push(op(RETURN, 0, 0, u32::MAX));
                }
            }
        }
    }
    arp.push(op(RETURN, 0, 0, 0));
    ndp.push(op(RETURN, 0, 0, 0));
    let arp_length = u32::try_from(arp.len()).expect("bounded above");
    let mut program = vec![
        op(LOAD_WORD, 0, 0, PACKET_TYPE),
        op(JUMP_EQUAL, 0, 1, PACKET_OUTGOING),
        op(RETURN, 0, 0, 0),
        op(LOAD_HALF, 0, 0, 12),
        op(JUMP_EQUAL, 3, 0, 0x0806),
        op(JUMP_EQUAL, 1, 0, 0x86dd),
        op(RETURN, 0, 0, 0),
        op(JUMP, 0, 0, arp_length),
    ];
    program.append(&mut arp);
    program.append(&mut ndp);
    program
}
