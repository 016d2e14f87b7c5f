//! Addresses through rtnetlink: put, remove, list, and know one's own.
//!
//! Every address is a host address (/32, /128), so that it neither becomes a secondary of another
//! nor brings a connected route, and carries a lifetime that the kernel counts down: the backstop
//! behind the guard. Does not judge whether an address may be held, and never touches an address
//! without [`PROTOCOL`] on its own initiative. Formats: rtnetlink(7), linux/if_addr.h.

mod keeper;
mod watch;

pub use keeper::{KeepError, Keeper, Removed, Tended, Term};
pub use watch::{Change, Watch};

use super::link::{self, Link, LinkIndex};
use super::netlink::{
    self, Attributes, Message, Messages, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, Port,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// The IFA_PROTO (Linux 5.18) of every address that haft installs: how leftovers of an earlier
/// agent are known. Kernel numbers end at 3; iproute2 registers none near 0x68, which is `h`.
pub const PROTOCOL: u8 = 0x68;

// linux/rtnetlink.h and linux/if_addr.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;
/// Usable at once: duplicate detection would cost seconds, and leaves an address dead for good
/// after a transient split.
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
/// Size of `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;
const FOREVER: u32 = u32::MAX;
/// Dumps that race with a change are repeated this often before the caller hears of it.
const DUMP_ATTEMPTS: usize = 8;

/// One address as the kernel has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assigned {
    /// The address.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
    /// The interface it is on.
    pub link: LinkIndex,
    /// Time until the kernel removes it; `None` is for ever.
    pub valid: Option<Duration>,
    /// Who installed it (IFA_PROTO); zero where nobody said.
    pub protocol: u8,
}

/// What a removal found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// The address was there and is gone.
    Removed,
    /// It was not there.
    WasAbsent,
}

/// Why rtnetlink could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a netlink socket for addresses (needs CAP_NET_ADMIN)")]
pub struct OpenAddressesError(#[from] io::Error);

/// Why the kernel's state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadKernelError {
    /// The socket failed, or the kernel did not answer within two seconds.
    #[error("cannot read {what} from the kernel")]
    Socket {
        /// What was asked for.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why an address could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteAddressError {
    /// The socket failed, or the kernel did not answer within two seconds: unknown whether done.
    #[error("no answer from the kernel for address {address}")]
    Socket {
        /// The address.
        address: IpAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("the kernel refused address {address} on interface {}", link.0)]
    Refused {
        /// The address.
        address: IpAddr,
        /// The interface.
        link: LinkIndex,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Requests about addresses and interfaces, in the namespace of the thread that opened it.
#[derive(Debug)]
pub struct Addresses {
    port: Port,
}

impl Addresses {
    /// Opens the request socket.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in the namespace's user namespace.
    pub fn open() -> Result<Addresses, OpenAddressesError> {
        Ok(Addresses {
            port: Port::open(NETLINK_ROUTE)?,
        })
    }

    /// Adds `address` to `link`, or renews its lifetime. `valid` is rounded up to whole seconds,
    /// at least one: the kernel knows nothing finer and refuses zero. The preferred lifetime is
    /// zero, so that nothing picks the address as a source on its own.
    ///
    /// # Errors
    /// When the kernel refuses, for instance because the interface is gone.
    pub fn put(
        &mut self,
        address: IpAddr,
        link: LinkIndex,
        valid: Duration,
    ) -> Result<(), WriteAddressError> {
        let mut request = Messages::default();
        request.begin(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, 1);
        identify(&mut request, address, link);
        request
            .attr(
                IFA_FLAGS,
                &(IFA_F_NODAD | IFA_F_NOPREFIXROUTE).to_ne_bytes(),
            )
            .attr(IFA_CACHEINFO, &cache_info(valid))
            .attr(IFA_PROTO, &[PROTOCOL])
            .finish();
        match self.answer(&request, address)? {
            0 => Ok(()),
            errno => Err(WriteAddressError::Refused {
                address,
                link,
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }

    /// Removes `address` from `link`. Absence of either is success.
    ///
    /// # Errors
    /// When the kernel refuses or does not answer.
    pub fn remove(
        &mut self,
        address: IpAddr,
        link: LinkIndex,
    ) -> Result<Removal, WriteAddressError> {
        let mut request = Messages::default();
        request.begin(RTM_DELADDR, NLM_F_ACK, 1);
        identify(&mut request, address, link);
        request.finish();
        match self.answer(&request, address)? {
            0 => Ok(Removal::Removed),
            // ENXIO: the interface has no IPv6 at all, as below an MTU of 1280 (net/ipv6/addrconf.c).
            libc::EADDRNOTAVAIL | libc::ENODEV | libc::ENXIO => Ok(Removal::WasAbsent),
            errno => Err(WriteAddressError::Refused {
                address,
                link,
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }

    /// Every address of this namespace that carries [`PROTOCOL`].
    ///
    /// # Errors
    /// When the kernel does not answer, or kept changing during every attempt.
    pub fn ours(&mut self) -> Result<Vec<Assigned>, ReadKernelError> {
        let mut found = self.all()?;
        found.retain(|assigned| assigned.protocol == PROTOCOL);
        Ok(found)
    }

    /// Every address of this namespace, whoever installed it.
    ///
    /// # Errors
    /// As [`Addresses::ours`].
    pub fn all(&mut self) -> Result<Vec<Assigned>, ReadKernelError> {
        let mut request = Messages::default();
        request
            .begin(RTM_GETADDR, NLM_F_DUMP, 1)
            .fixed(&[0; ADDRESS_HEADER])
            .finish();
        self.dump(&request, "addresses", |message| parse(message.body))
    }

    /// Removes every address that carries [`PROTOCOL`], and names them: what an agent does first
    /// when it starts without a session.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn remove_leftovers(&mut self) -> Result<Vec<Assigned>, ReadKernelError> {
        let leftovers = self.ours()?;
        for leftover in &leftovers {
            self.remove(leftover.address, leftover.link)
                .map_err(|refused| ReadKernelError::Socket {
                    what: "the removal of leftovers",
                    source: io::Error::other(refused),
                })?;
        }
        Ok(leftovers)
    }

    /// Every interface.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&mut self) -> Result<Vec<Link>, ReadKernelError> {
        let mut request = Messages::default();
        request
            .begin(RTM_GETLINK, NLM_F_DUMP, 1)
            .fixed(&[0; link::LINK_HEADER])
            .finish();
        self.dump(&request, "interfaces", |message| link::parse(message.body))
    }

    /// The interface of this name, if there is one.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, ReadKernelError> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }

    fn answer(&mut self, request: &Messages, address: IpAddr) -> Result<i32, WriteAddressError> {
        self.port
            .request(request)
            .map_err(|source| WriteAddressError::Socket { address, source })
    }

    fn dump<T>(
        &mut self,
        request: &Messages,
        what: &'static str,
        parse: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, ReadKernelError> {
        let mut last = 0;
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            last = self
                .port
                .dump(request, |message| found.extend(parse(message)))
                .map_err(|source| ReadKernelError::Socket { what, source })?;
            match last {
                0 => return Ok(found),
                libc::EINTR | libc::ENOBUFS => {}
                _ => break,
            }
        }
        Err(ReadKernelError::Socket {
            what,
            source: io::Error::from_raw_os_error(last),
        })
    }
}

/// The fixed header and the address itself, which say which address of which interface is meant.
fn identify(request: &mut Messages, address: IpAddr, link: LinkIndex) {
    let (family, prefix, octets) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, 32, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, 128, v6.octets().to_vec()),
    };
    let family = u8::try_from(family).expect("address families fit a byte");
    let mut header = [family, prefix, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.0.to_ne_bytes());
    request
        .fixed(&header)
        .attr(IFA_LOCAL, &octets)
        .attr(IFA_ADDRESS, &octets);
}

/// `struct ifa_cacheinfo`: preferred, valid, and two stamps that the kernel fills.
fn cache_info(valid: Duration) -> [u8; 16] {
    let whole = valid
        .as_secs()
        .saturating_add(u64::from(valid.subsec_nanos() > 0));
    let seconds = u32::try_from(whole.max(1))
        .unwrap_or(FOREVER)
        .min(FOREVER - 1);
    let mut info = [0; 16];
    info[4..8].copy_from_slice(&seconds.to_ne_bytes());
    info
}

/// Decodes the body of an RTM_NEWADDR or RTM_DELADDR message.
fn parse(body: &[u8]) -> Option<Assigned> {
    let prefix = *body.get(1)?;
    let index = netlink::u32_at(body, 4)?;
    let (mut local, mut peer, mut valid, mut protocol) = (None, None, None, 0);
    for (kind, payload) in Attributes::new(body.get(ADDRESS_HEADER..)?) {
        match kind {
            IFA_LOCAL => local = octets(payload),
            IFA_ADDRESS => peer = octets(payload),
            IFA_CACHEINFO => valid = netlink::u32_at(payload, 4).filter(|s| *s != FOREVER),
            IFA_PROTO => protocol = payload.first().copied().unwrap_or(0),
            _ => {}
        }
    }
    Some(Assigned {
        // On a point-to-point interface IFA_ADDRESS is the other end.
        address: local.or(peer)?,
        prefix,
        link: LinkIndex(index),
        valid: valid.map(|seconds| Duration::from_secs(u64::from(seconds))),
        protocol,
    })
}

fn octets(payload: &[u8]) -> Option<IpAddr> {
    match payload.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(payload).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(payload).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_round_up_to_whole_seconds_and_never_to_zero_or_for_ever() {
        let seconds = |valid| netlink::u32_at(&cache_info(valid), 4).unwrap();
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(250)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::from_millis(2001)), 3);
        assert_eq!(seconds(Duration::MAX), FOREVER - 1);
    }

    #[test]
    fn truncated_address_messages_are_ignored() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[2, 32, 0, 0, 1, 0, 0, 0]), None);
    }
}
