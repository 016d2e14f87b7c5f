//! IPsec policies that take packets of an address out in a tunnel without an interface of its own: what leaves so is
//! wrapped before any gate sees it, and the wrapping has another source.
//!
//! Transport mode keeps the address in the outer header, where the gate reads it; policies of an interface (`if_id`)
//! are met on that link. What comes in is unwrapped in front of the gate. Reads policies only: what protects by them
//! is somebody else's.

use super::super::netlink::{self, Attributes, Messages, NLM_F_DUMP, Port, Read};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// linux/netlink.h.
const NETLINK_XFRM: isize = 6;
// linux/xfrm.h.
const XFRMNLGRP_POLICY: u32 = 4;
const XFRM_MSG_NEWPOLICY: u16 = 0x13;
const XFRM_MSG_GETPOLICY: u16 = 0x15;
const XFRM_POLICY_OUT: u8 = 1;
const XFRM_MODE_TRANSPORT: u8 = 0;
const XFRMA_TMPL: u16 = 5;
const XFRMA_IF_ID: u16 = 31;
/// `struct xfrm_userpolicy_info`: where the attributes begin, and what is read of it.
const POLICY: usize = 168;
const SOURCE: usize = 16;
const FAMILY: usize = 40;
const SOURCE_PREFIX: usize = 43;
const DIRECTION: usize = 160;
/// `struct xfrm_user_tmpl`: its length, and the place of its mode.
const TEMPLATE: usize = 64;
const MODE: usize = 48;
/// Dumps that race with changes are repeated this often.
const DUMP_ATTEMPTS: usize = 8;
/// Reports taken at once.
const READ_LIMIT: usize = 256;

/// The sources whose packets leave in a tunnel.
#[derive(Debug)]
pub(super) struct Tunnels {
    /// `None` where the kernel has no IPsec.
    ports: Option<(Port, Port)>,
    sources: Vec<Source>,
    stale: bool,
}

/// Addresses of one family that begin with these bits; of both where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Source {
    family: Option<IpAddr>,
    prefix: u8,
}

impl Tunnels {
    /// Those of this thread's network namespace.
    ///
    /// # Errors
    /// When the kernel has IPsec and does not tell.
    pub(super) fn open() -> io::Result<Tunnels> {
        let ports = match Port::open(NETLINK_XFRM) {
            Ok(watch) => {
                watch.subscribe(XFRMNLGRP_POLICY)?;
                Some((watch, Port::open(NETLINK_XFRM)?))
            }
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        let mut tunnels = Tunnels {
            ports,
            sources: Vec::new(),
            stale: true,
        };
        tunnels.look()?;
        Ok(tunnels)
    }

    /// Whether any packet of this address would leave in a tunnel.
    pub(super) fn take(&self, address: IpAddr) -> bool {
        self.sources.iter().any(|source| source.holds(address))
    }

    /// Reads the policies if they have changed since; whether they may have. Costs one empty read where nothing has.
    ///
    /// # Errors
    /// When the kernel does not tell them: they are read again with the next look.
    pub(super) fn look(&mut self) -> io::Result<bool> {
        let Some((watch, lister)) = &mut self.ports else {
            return Ok(false);
        };
        for _ in 0..READ_LIMIT {
            match watch.read()? {
                Read::Empty => break,
                Read::Messages(_) | Read::Overrun => self.stale = true,
            }
        }
        if !self.stale {
            return Ok(false);
        }
        self.sources = list(lister)?;
        self.stale = false;
        Ok(true)
    }
}

fn list(lister: &mut Port) -> io::Result<Vec<Source>> {
    let mut request = Messages::default();
    request.begin(XFRM_MSG_GETPOLICY, NLM_F_DUMP, 1).finish();
    let mut last = 0;
    for _ in 0..DUMP_ATTEMPTS {
        let mut found = Vec::new();
        last = lister.dump(&request, |message| {
            if message.kind == XFRM_MSG_NEWPOLICY {
                found.extend(Source::parse(message.body));
            }
        })?;
        match last {
            0 => return Ok(found),
            libc::EINTR | libc::ENOBUFS => {}
            _ => break,
        }
    }
    Err(io::Error::from_raw_os_error(last))
}

impl Source {
    /// From the body of an XFRM_MSG_NEWPOLICY message, if it is of a tunnel out without an interface.
    fn parse(body: &[u8]) -> Option<Source> {
        if *body.get(DIRECTION)? != XFRM_POLICY_OUT {
            return None;
        }
        let attributes = || Attributes::new(body.get(POLICY..).unwrap_or_default());
        let of_interface = attributes().any(|(kind, id)| {
            kind == XFRMA_IF_ID && netlink::u32_at(id, 0).is_some_and(|id| id != 0)
        });
        let wraps = attributes().any(|(kind, templates)| {
            kind == XFRMA_TMPL
                && templates.chunks(TEMPLATE).any(|one| {
                    one.get(MODE)
                        .is_some_and(|mode| *mode != XFRM_MODE_TRANSPORT)
                })
        });
        if of_interface || !wraps {
            return None;
        }
        let source = body.get(SOURCE..SOURCE + 16)?;
        let family = match i32::from(netlink::u16_at(body, FAMILY)?) {
            libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(&source[..4]).ok()?).into()),
            libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(source).ok()?).into()),
            // Of any, or of one that is not known here.
            _ => None,
        };
        let prefix = *body.get(SOURCE_PREFIX)?;
        Some(Source { family, prefix })
    }

    fn holds(self, address: IpAddr) -> bool {
        match (self.family, address) {
            (None, _) => true,
            (Some(IpAddr::V4(of)), IpAddr::V4(address)) => begins(
                of.to_bits().into(),
                address.to_bits().into(),
                self.prefix,
                32,
            ),
            (Some(IpAddr::V6(of)), IpAddr::V6(address)) => {
                begins(of.to_bits(), address.to_bits(), self.prefix, 128)
            }
            (Some(IpAddr::V4(_)), IpAddr::V6(_)) | (Some(IpAddr::V6(_)), IpAddr::V4(_)) => false,
        }
    }
}

/// Whether the first `prefix` of these `width` bits are the same.
fn begins(left: u128, right: u128, prefix: u8, width: u32) -> bool {
    let rest = width.saturating_sub(u32::from(prefix));
    (left ^ right).checked_shr(rest).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(direction: u8, source: &[u8], family: i32, prefix: u8, mode: u8, id: u32) -> Vec<u8> {
        let mut info = [0; POLICY];
        info[SOURCE..SOURCE + source.len()].copy_from_slice(source);
        info[FAMILY..FAMILY + 2].copy_from_slice(&u16::try_from(family).unwrap().to_ne_bytes());
        info[SOURCE_PREFIX] = prefix;
        info[DIRECTION] = direction;
        let mut template = [0; TEMPLATE];
        template[MODE] = mode;
        let mut message = Messages::default();
        message
            .begin(XFRM_MSG_NEWPOLICY, 0, 1)
            .fixed(&info)
            .attr(XFRMA_TMPL, &template)
            .attr(XFRMA_IF_ID, &id.to_ne_bytes())
            .finish();
        message.as_bytes()[16..].to_vec()
    }

    #[test]
    fn only_a_tunnel_out_without_an_interface_takes_its_sources() {
        let net = [10, 8, 0, 0];
        let taken = |direction, mode, id| {
            Source::parse(&policy(direction, &net, libc::AF_INET, 16, mode, id))
        };
        let source = taken(1, 1, 0).unwrap();
        for (address, held) in [
            ("10.8.3.4", true),
            ("10.9.0.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(source.holds(address.parse().unwrap()), held, "{address}");
        }
        assert_eq!(taken(0, 1, 0), None, "in");
        assert_eq!(taken(2, 1, 0), None, "forwarded");
        assert_eq!(taken(1, 0, 0), None, "transport");
        assert_eq!(taken(1, 1, 7), None, "of an interface");
        assert!(taken(1, 4, 0).is_some(), "beet");
    }

    #[test]
    fn the_widest_selectors_take_every_address() {
        let any = Source::parse(&policy(1, &[], libc::AF_UNSPEC, 0, 1, 0)).unwrap();
        let v4 = Source::parse(&policy(1, &[], libc::AF_INET, 0, 1, 0)).unwrap();
        let one = Source::parse(&policy(1, &[0xfd; 16], libc::AF_INET6, 128, 1, 0)).unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(any.holds(address("192.0.2.1")) && any.holds(address("fd00::1")));
        assert!(v4.holds(address("192.0.2.1")) && !v4.holds(address("fd00::1")));
        let same = "fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd";
        assert!(one.holds(address(same)) && !one.holds(address("fd00::1")));
    }
}
