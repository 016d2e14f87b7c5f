//! Network interfaces: index, name, hardware address, carrier.
//!
//! Values and their decoding from rtnetlink only. Does not follow changes: `address::Watch` does.

use super::netlink::{self, Attributes};

/// The kernel's number of an interface, in the namespace it was read in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkIndex(pub u32);

/// Whether frames can leave an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// Administratively up and operational (IFF_UP and IFF_RUNNING).
    Up,
    /// Switched off, unplugged, or its lower device is.
    Down,
}

/// One interface as last read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The kernel's number.
    pub index: LinkIndex,
    /// The name, at most 15 bytes.
    pub name: String,
    /// The Ethernet address; zeros on interfaces without one.
    pub mac: [u8; 6],
    /// Whether frames can leave.
    pub carrier: Carrier,
}

// linux/if_link.h and linux/if.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;
/// Size of `struct ifinfomsg`.
pub(super) const LINK_HEADER: usize = 16;

/// Decodes the body of an RTM_NEWLINK or RTM_DELLINK message (rtnetlink(7)).
pub(super) fn parse(body: &[u8]) -> Option<Link> {
    let index = netlink::u32_at(body, 4)?;
    let flags = netlink::u32_at(body, 8)?;
    let mut link = Link {
        index: LinkIndex(index),
        name: String::new(),
        mac: [0; 6],
        carrier: if flags & IFF_UP != 0 && flags & IFF_RUNNING != 0 {
            Carrier::Up
        } else {
            Carrier::Down
        },
    };
    for (kind, payload) in Attributes::new(body.get(LINK_HEADER..)?) {
        match kind {
            IFLA_IFNAME => link.name = netlink::text(payload),
            IFLA_ADDRESS => link.mac = payload.try_into().unwrap_or([0; 6]),
            _ => {}
        }
    }
    Some(link)
}
