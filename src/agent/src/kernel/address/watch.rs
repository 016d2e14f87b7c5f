//! What happens to addresses and interfaces, as the kernel tells it.
//!
//! Reports; restores nothing. Our own changes are reported too: the kernel does not mark them for
//! IPv6, so who acts on a report compares it with what should be.

use super::super::link::{self, Link, LinkIndex};
use super::super::netlink::{MessageIter, Port, Read};
use super::{Assigned, OpenAddressesError, ReadKernelError, parse};
use super::{RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::os::fd::{AsFd, BorrowedFd};

// linux/rtnetlink.h, enum rtnetlink_groups.
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
/// Datagrams taken by one read, so that a storm of changes cannot hold the caller for ever.
const READ_LIMIT: usize = 256;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// An address was removed, by anybody or by the end of its lifetime.
    AddressGone(Assigned),
    /// An address was added, or something about it was changed.
    AddressSeen(Assigned),
    /// An interface appeared or changed, its carrier for instance.
    Link(Link),
    /// An interface is gone.
    LinkGone(LinkIndex),
    /// Reports were lost: compare everything.
    Resync,
}

/// A subscription to address and interface changes. Readable (`AsFd`) when something happened.
#[derive(Debug)]
pub struct Watch {
    port: Port,
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}

impl Watch {
    /// Subscribes, in this thread's namespace.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in the namespace's user namespace.
    pub fn open() -> Result<Watch, OpenAddressesError> {
        let port = Port::open(NETLINK_ROUTE)?;
        for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR] {
            port.subscribe(group)?;
        }
        Ok(Watch { port })
    }

    /// What happened since the last call, oldest first; never blocks.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn read(&mut self) -> Result<Vec<Change>, ReadKernelError> {
        let mut changes = Vec::new();
        for _ in 0..READ_LIMIT {
            let read = self.port.read().map_err(|source| ReadKernelError::Socket {
                what: "address changes",
                source,
            })?;
            match read {
                Read::Messages(bytes) => {
                    changes.extend(MessageIter(bytes).filter_map(|m| change(m.kind, m.body)));
                }
                Read::Overrun => changes.push(Change::Resync),
                Read::Empty => break,
            }
        }
        Ok(changes)
    }
}

fn change(kind: u16, body: &[u8]) -> Option<Change> {
    match kind {
        RTM_NEWADDR => parse(body).map(Change::AddressSeen),
        RTM_DELADDR => parse(body).map(Change::AddressGone),
        RTM_NEWLINK => link::parse(body).map(Change::Link),
        // A port that leaves a bridge is reported as DELLINK of family AF_BRIDGE; it still exists.
        RTM_DELLINK if body.first() == Some(&0) => {
            link::parse(body).map(|gone| Change::LinkGone(gone.index))
        }
        _ => None,
    }
}
