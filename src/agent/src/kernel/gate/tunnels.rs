//! IPsec policies that take packets of an address out in a tunnel without an interface of its own: what leaves so is
//! wrapped before any gate sees it, and the wrapping has another source.
//!
//! Transport mode keeps the address in the outer header, where the gate reads it; policies of an interface (`if_id`)
//! are met on that link. What comes in is unwrapped in front of the gate. Reads policies only: what protects by them
//! is somebody else's.

use super::super::netlink::{self, Attributes, Messages, NLM_F_DUMP, Port, Read};
use haft_engine::machine::Prefix;
use std::collections::BTreeSet;
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
    sources: BTreeSet<Prefix>,
    stale: bool,
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
            sources: BTreeSet::new(),
            stale: true,
        };
        tunnels.look()?;
        Ok(tunnels)
    }

    /// Whether any packet of this address would leave in a tunnel.
    pub(super) fn take(&self, address: IpAddr) -> bool {
        self.sources.iter().any(|source| source.holds(address))
    }

    /// The sources whose packets leave in a tunnel.
    pub(super) fn sources(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.sources.iter().copied()
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

fn list(lister: &mut Port) -> io::Result<BTreeSet<Prefix>> {
    let mut request = Messages::default();
    request.begin(XFRM_MSG_GETPOLICY, NLM_F_DUMP, 1).finish();
    let mut last = 0;
    for _ in 0..DUMP_ATTEMPTS {
        let mut found = BTreeSet::new();
        last = lister.dump(&request, |message| {
            if message.kind == XFRM_MSG_NEWPOLICY {
                found.extend(sources(message.body));
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

/// From the body of an XFRM_MSG_NEWPOLICY message, those that it takes out in a tunnel without an interface; of both
/// families where it names none.
fn sources(body: &[u8]) -> Vec<Prefix> {
    source(body).unwrap_or_default()
}

fn source(body: &[u8]) -> Option<Vec<Prefix>> {
    if *body.get(DIRECTION)? != XFRM_POLICY_OUT {
        return None;
    }
    let attributes = || Attributes::new(body.get(POLICY..).unwrap_or_default());
    let of_interface = attributes()
        .any(|(kind, id)| kind == XFRMA_IF_ID && netlink::u32_at(id, 0).is_some_and(|id| id != 0));
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
    let v4: IpAddr = Ipv4Addr::from(<[u8; 4]>::try_from(&source[..4]).ok()?).into();
    let v6: IpAddr = Ipv6Addr::from(<[u8; 16]>::try_from(source).ok()?).into();
    let bits = *body.get(SOURCE_PREFIX)?;
    let prefix = |address| Prefix { address, bits };
    Some(match i32::from(netlink::u16_at(body, FAMILY)?) {
        libc::AF_INET => vec![prefix(v4)],
        libc::AF_INET6 => vec![prefix(v6)],
        // Of any, or of one that is not known here: all of both.
        _ => [IpAddr::from([0; 4]), IpAddr::from([0; 16])]
            .map(|address| Prefix { address, bits: 0 })
            .to_vec(),
    })
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
        let taken =
            |direction, mode, id| sources(&policy(direction, &net, libc::AF_INET, 16, mode, id));
        let source = taken(1, 1, 0)[0];
        for (address, held) in [
            ("10.8.3.4", true),
            ("10.9.0.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(source.holds(address.parse().unwrap()), held, "{address}");
        }
        assert_eq!(taken(0, 1, 0), [], "in");
        assert_eq!(taken(2, 1, 0), [], "forwarded");
        assert_eq!(taken(1, 0, 0), [], "transport");
        assert_eq!(taken(1, 1, 7), [], "of an interface");
        assert_eq!(taken(1, 4, 0).len(), 1, "beet");
    }

    #[test]
    fn the_widest_selectors_take_every_address() {
        let any = sources(&policy(1, &[], libc::AF_UNSPEC, 0, 1, 0));
        let v4 = sources(&policy(1, &[], libc::AF_INET, 0, 1, 0));
        let one = sources(&policy(1, &[0xfd; 16], libc::AF_INET6, 128, 1, 0));
        let holds = |sources: &[Prefix], text: &str| {
            let address = text.parse().unwrap();
            sources.iter().any(|source| source.holds(address))
        };
        assert!(holds(&any, "192.0.2.1") && holds(&any, "fd00::1"));
        assert!(holds(&v4, "192.0.2.1") && !holds(&v4, "fd00::1"));
        let same = "fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd";
        assert!(holds(&one, same) && !holds(&one, "fd00::1"));
    }
}
