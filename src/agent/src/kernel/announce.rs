//! Announcements: who has an address, told to every neighbour, and heard from rivals.
//!
//! [`Announcer`] sends on one interface, [`Schedule`] says when, [`RivalWatch`] hears others claim
//! what is ours. Sends nothing on its own; whether an address may be announced is the caller's
//! decision, and the guard's egress chain holds back frames for an address that is not held.

mod frame;
mod rival;
mod schedule;
mod socket;

pub use rival::{Rival, RivalWatch};
pub use schedule::Schedule;

use super::link::Link;
use frame::{Router, arp_probe, arp_reply, arp_request, neighbour_advertisement, neighbour_probe};
use rustix::net::{SendFlags, send};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// Why frames could not be sent or heard.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The packet socket could not be opened.
    #[error("cannot open a packet socket on {link} (needs CAP_NET_RAW)")]
    Open {
        /// The interface.
        link: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A frame could not be sent: the interface is down or gone, its queue is full, or the guard
    /// holds the address back.
    #[error("cannot announce {address} on {link}")]
    Send {
        /// The address.
        address: IpAddr,
        /// The interface.
        link: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Frames could not be read.
    #[error("cannot listen for rivals on {link}")]
    Receive {
        /// The interface.
        link: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Sends announcements on one interface.
#[derive(Debug)]
pub struct Announcer {
    socket: OwnedFd,
    link: Link,
}

impl Announcer {
    /// Opens a packet socket on `link`, whose hardware address is announced: reopen it when that
    /// changes. For a bond, `link` is the bond itself.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the interface is gone.
    pub fn open(link: &Link) -> Result<Announcer, AnnounceError> {
        let socket = socket::sender(link.index).map_err(|source| AnnounceError::Open {
            link: link.name.clone(),
            source,
        })?;
        Ok(Announcer {
            socket,
            link: link.clone(),
        })
    }

    /// Announces once. IPv4: a gratuitous ARP request, then a reply whose target hardware address
    /// equals the sender's; some receivers heed only one of them, and Linux ignores other forms of
    /// the reply shortly after an update. IPv6: an unsolicited advertisement with Override
    /// (RFC 4861, 7.2.6).
    ///
    /// # Errors
    /// When the kernel does not take a frame.
    pub fn announce(&self, address: IpAddr) -> Result<(), AnnounceError> {
        match address {
            IpAddr::V4(v4) => {
                self.put(address, &arp_request(self.link.mac, v4))?;
                self.put(address, &arp_reply(self.link.mac, v4))
            }
            IpAddr::V6(v6) => {
                let router = self.router();
                self.put(address, &neighbour_advertisement(self.link.mac, v6, router))
            }
        }
    }

    /// Asks whether anybody else has the address, without claiming it. An answer is heard by a
    /// [`RivalWatch`] for the address; the caller decides how long it listens (10 to 30 ms on a
    /// local network, in parallel with what it waits for anyway).
    ///
    /// # Errors
    /// When the kernel does not take the frame.
    pub fn probe(&self, address: IpAddr) -> Result<(), AnnounceError> {
        match address {
            IpAddr::V4(v4) => self.put(address, &arp_probe(self.link.mac, v4)),
            IpAddr::V6(v6) => self.put(address, &neighbour_probe(self.link.mac, v6)),
        }
    }

    fn put(&self, address: IpAddr, frame: &[u8]) -> Result<(), AnnounceError> {
        send(&self.socket, frame, SendFlags::DONTWAIT)
            .map(|_| ())
            .map_err(|errno| AnnounceError::Send {
                address,
                link: self.link.name.clone(),
                source: errno.into(),
            })
    }

    /// Whether this machine forwards on the interface: a router that forgets the Router flag is
    /// dropped from its neighbours' default routers (RFC 4861, 7.2.5).
    fn router(&self) -> Router {
        let path = format!("/proc/sys/net/ipv6/conf/{}/forwarding", self.link.name);
        match std::fs::read(path) {
            Ok(text) if text.first().is_some_and(|digit| *digit != b'0') => Router::Forwards,
            Ok(_) | Err(_) => Router::Host,
        }
    }
}
