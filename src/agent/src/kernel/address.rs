//! Addresses through rtnetlink: put, remove, list, and know one's own.
//!
//! Every address is a host address (/32, /128), so that it neither becomes a secondary of another
//! nor brings a connected route, and carries a lifetime that the kernel counts down: the backstop
//! behind the guard. An address is added exclusively and a lifetime is renewed without the power to
//! add, so that what somebody else has put there is neither adopted nor made anew. Does not judge
//! whether an address may be held. Formats: rtnetlink(7), linux/if_addr.h.

mod census;
mod keeper;
mod refusal;
mod watch;

pub use census::{Census, Marks, Origin};
pub use keeper::{Forgotten, KeepError, Keeper, Tended, Term};
pub use refusal::WriteAddressError;
pub use watch::{Change, Watch};

use super::interface::{self, Interface};
use super::link::{self, Link, LinkIndex};
use super::netlink::{
    self, Attributes, Message, Messages, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL,
    NLM_F_REPLACE, Port,
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
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
/// Joins the address as a multicast group before it is added. No unicast address can be joined, so a
/// request with this flag is refused (EINVAL) where it would have to add the address, and changes one that is
/// there: the kernel looks at neither NLM_F_CREATE nor its absence (tried on 6.18; net/ipv4/devinet.c and
/// net/ipv6/addrconf.c have had it so since Linux 4.1).
const IFA_F_MCAUTOJOIN: u32 = 0x400;
/// The flags that every address of ours reads back with.
const OWN_FLAGS: u32 = IFA_F_DEPRECATED | IFA_F_NOPREFIXROUTE;
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
    /// IFA_F_* of linux/if_addr.h.
    pub flags: u32,
}

impl Assigned {
    /// Whether it has the form of an address that haft installs: a host address with a lifetime, never
    /// preferred, without a route.
    pub fn is_made_like_ours(&self) -> bool {
        self.prefix == host_prefix(self.address)
            && self.valid.is_some()
            && self.flags & OWN_FLAGS == OWN_FLAGS
    }
}

/// The prefix length of a single address.
fn host_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
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

    /// Adds `address` to `link` exclusively: one that is there is refused, whoever made it. `valid` is
    /// rounded up to whole seconds, at least one: the kernel knows nothing finer and refuses zero. The
    /// preferred lifetime is zero, so that nothing picks the address as a source on its own. For IPv4 the
    /// kernel's exclusion is about the same prefix length; the caller looks at its census for others.
    ///
    /// # Errors
    /// When it is there already, or the kernel refuses, for instance because the interface is gone.
    pub fn put(
        &mut self,
        address: IpAddr,
        link: LinkIndex,
        valid: Duration,
    ) -> Result<(), WriteAddressError> {
        let request = lifetime(address, link, valid, Existence::Excluded);
        match self.answer(&request, address)? {
            0 => Ok(()),
            libc::EEXIST => Err(self.taken(address, link)),
            errno => {
                let (link, why) = self.explain(errno, address, link);
                Err(WriteAddressError::Refused { address, link, why })
            }
        }
    }

    /// Renews the lifetime of `address` on `link`, as [`Addresses::put`] would have set it. Never adds it:
    /// a renewal that is written late brings nothing back.
    ///
    /// # Errors
    /// [`WriteAddressError::Absent`] when it is not there.
    pub fn refresh(
        &mut self,
        address: IpAddr,
        link: LinkIndex,
        valid: Duration,
    ) -> Result<(), WriteAddressError> {
        let request = lifetime(address, link, valid, Existence::Required);
        match self.answer(&request, address)? {
            0 => Ok(()),
            errno => {
                let errno = match errno {
                    libc::EINVAL => libc::EADDRNOTAVAIL,
                    other => other,
                };
                let (link, why) = self.explain(errno, address, link);
                Err(WriteAddressError::Absent { address, link, why })
            }
        }
    }

    /// Removes the host address from `link`. Absence of either is success, and is read from the kernel's
    /// list: which error stands for it differs by family and by what is wrong with the interface.
    ///
    /// # Errors
    /// When the kernel does not answer, or refuses what is there.
    pub fn remove(
        &mut self,
        address: IpAddr,
        link: LinkIndex,
    ) -> Result<Removal, WriteAddressError> {
        let mut request = Messages::default();
        request.begin(RTM_DELADDR, NLM_F_ACK, 1);
        identify(&mut request, address, link);
        request.finish();
        let errno = match self.answer(&request, address)? {
            0 => return Ok(Removal::Removed),
            errno => errno,
        };
        let listed = self.all().map_err(|error| WriteAddressError::Unlisted {
            why: crate::chain(&error),
        })?;
        let is_there = listed.iter().any(|found| {
            found.address == address && found.link == link && found.prefix == host_prefix(address)
        });
        if !is_there {
            return Ok(Removal::WasAbsent);
        }
        let (link, why) = self.explain(errno, address, link);
        Err(WriteAddressError::Refused { address, link, why })
    }

    /// The interface's name, and the kernel's answer in words.
    fn explain(&mut self, errno: i32, address: IpAddr, link: LinkIndex) -> (String, String) {
        let interfaces = self.interfaces().unwrap_or_default();
        let found = interfaces.iter().find(|found| found.link.index == link);
        let why = refusal::reason(errno, address, found);
        (name_of(found, link), why)
    }

    /// Who has it, for an addition that was refused because it is there.
    fn taken(&mut self, address: IpAddr, link: LinkIndex) -> WriteAddressError {
        let there = self.all().unwrap_or_default();
        let there = there.iter().find(|found| found.address == address);
        let prefix = there.map_or(host_prefix(address), |found| found.prefix);
        let link = self.name(there.map_or(link, |found| found.link));
        WriteAddressError::Foreign {
            address,
            prefix,
            link,
        }
    }

    /// The name of an interface, for people.
    pub fn name(&mut self, link: LinkIndex) -> String {
        let interfaces = self.interfaces().unwrap_or_default();
        let found = interfaces.iter().find(|found| found.link.index == link);
        name_of(found, link)
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
    /// When the list cannot be read, or the kernel refuses a removal.
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
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, ReadKernelError> {
        let mut request = Messages::default();
        request
            .begin(RTM_GETLINK, NLM_F_DUMP, 1)
            .fixed(&[0; link::LINK_HEADER])
            .finish();
        self.dump(&request, "interfaces", |message| {
            interface::parse(message.body)
        })
    }

    /// Every interface, without what decides about addresses.
    ///
    /// # Errors
    /// As [`Addresses::interfaces`].
    pub fn links(&mut self) -> Result<Vec<Link>, ReadKernelError> {
        let found = self.interfaces()?;
        Ok(found.into_iter().map(|found| found.link).collect())
    }

    /// The interface of this name, or with this among its other names, if there is one.
    ///
    /// # Errors
    /// As [`Addresses::interfaces`].
    pub fn interface(&mut self, name: &str) -> Result<Option<Interface>, ReadKernelError> {
        let mut found = self.interfaces()?;
        found.retain(|found| found.is_called(name));
        Ok(found.pop())
    }

    /// As [`Addresses::interface`], without what decides about addresses.
    ///
    /// # Errors
    /// As [`Addresses::interfaces`].
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, ReadKernelError> {
        Ok(self.interface(name)?.map(|found| found.link))
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

/// What a request asks of an address that is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Existence {
    /// To be refused then.
    Excluded,
    /// To be refused otherwise.
    Required,
}

/// The request that sets a lifetime.
fn lifetime(address: IpAddr, link: LinkIndex, valid: Duration, existence: Existence) -> Messages {
    let (how, bound) = match existence {
        Existence::Excluded => (NLM_F_CREATE | NLM_F_EXCL, 0),
        Existence::Required => (NLM_F_REPLACE, IFA_F_MCAUTOJOIN),
    };
    let flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE | bound;
    let mut request = Messages::default();
    request.begin(RTM_NEWADDR, NLM_F_ACK | how, 1);
    identify(&mut request, address, link);
    request
        .attr(IFA_FLAGS, &flags.to_ne_bytes())
        .attr(IFA_CACHEINFO, &cache_info(valid))
        .attr(IFA_PROTO, &[PROTOCOL])
        .finish();
    request
}

fn name_of(found: Option<&Interface>, link: LinkIndex) -> String {
    match found {
        Some(found) => found.link.name.clone(),
        None => format!("an interface that is gone (number {})", link.0),
    }
}

/// The fixed header and the address itself, which say which address of which interface is meant.
fn identify(request: &mut Messages, address: IpAddr, link: LinkIndex) {
    let prefix = host_prefix(address);
    let (family, octets) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
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
    // The header has the first eight only.
    let mut flags = u32::from(*body.get(2)?);
    for (kind, payload) in Attributes::new(body.get(ADDRESS_HEADER..)?) {
        match kind {
            IFA_LOCAL => local = octets(payload),
            IFA_ADDRESS => peer = octets(payload),
            IFA_CACHEINFO => valid = netlink::u32_at(payload, 4).filter(|s| *s != FOREVER),
            IFA_FLAGS => flags = netlink::u32_at(payload, 0).unwrap_or(flags),
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
        flags,
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
