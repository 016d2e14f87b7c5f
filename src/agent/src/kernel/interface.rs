//! What decides whether an interface can carry an address, beside its carrier: other names, MTU, IPv6.
//!
//! Values and their decoding from rtnetlink only. Follows no change and judges nothing but the text of
//! [`Interface::refusal`].

use super::link::{self, LINK_HEADER, Link};
use super::netlink::{self, Attributes, find};
use std::net::IpAddr;

// linux/if_link.h, linux/ipv6.h (enum DEVCONF_*).
const IFLA_MTU: u16 = 4;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_INET6_CONF: u16 = 2;
const DEVCONF_DISABLE_IPV6: usize = 26;
/// The least MTU of a link that carries IPv6 (RFC 8200, section 5); below it the kernel drops the protocol
/// from the interface as a whole.
const IPV6_MIN_MTU: u32 = 1280;

/// What an interface does about IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ipv6 {
    /// It speaks it.
    On,
    /// An administrator has switched it off (sysctl `disable_ipv6`).
    Disabled,
    /// The kernel has none on it: its MTU is too small, or there is no IPv6 at all.
    Absent,
}

/// One interface with what decides about addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Number, name, hardware address, carrier.
    pub link: Link,
    /// Its other names (`ip link property add ... altname`).
    pub altnames: Vec<String>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// IPv6.
    pub ipv6: Ipv6,
}

impl Interface {
    /// Whether `name` is one of its names.
    pub fn is_called(&self, name: &str) -> bool {
        self.link.name == name || self.altnames.iter().any(|other| other == name)
    }

    /// Why no address of this family can be on it, in words, if so. Says nothing of its carrier.
    pub fn refusal(&self, address: IpAddr) -> Option<String> {
        let name = &self.link.name;
        if address.is_ipv4() {
            return None;
        }
        match self.ipv6 {
            Ipv6::On => None,
            Ipv6::Disabled => Some(format!(
                "IPv6 is switched off on {name} (sysctl net.ipv6.conf.{name}.disable_ipv6=1)"
            )),
            Ipv6::Absent if self.mtu < IPV6_MIN_MTU => Some(format!(
                "the MTU of {name} is {}, and IPv6 needs {IPV6_MIN_MTU}",
                self.mtu
            )),
            Ipv6::Absent => Some(format!("{name} has no IPv6")),
        }
    }
}

/// Decodes the body of an RTM_NEWLINK message (rtnetlink(7)).
pub(super) fn parse(body: &[u8]) -> Option<Interface> {
    let mut found = Interface {
        link: link::parse(body)?,
        altnames: Vec::new(),
        mtu: 0,
        ipv6: Ipv6::Absent,
    };
    for (kind, payload) in Attributes::new(body.get(LINK_HEADER..)?) {
        match kind {
            IFLA_MTU => found.mtu = netlink::u32_at(payload, 0).unwrap_or(0),
            IFLA_PROP_LIST => {
                let names = Attributes::new(payload).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
                found.altnames = names.map(|(_, name)| netlink::text(name)).collect();
            }
            IFLA_AF_SPEC => {
                let inet6 = u16::try_from(libc::AF_INET6).expect("address families fit");
                found.ipv6 = find(payload, inet6).map_or(Ipv6::Absent, ipv6);
            }
            _ => {}
        }
    }
    Some(found)
}

fn ipv6(payload: &[u8]) -> Ipv6 {
    let switch = find(payload, IFLA_INET6_CONF)
        .and_then(|values| netlink::u32_at(values, DEVCONF_DISABLE_IPV6 * 4));
    match switch {
        Some(0) | None => Ipv6::On,
        Some(_) => Ipv6::Disabled,
    }
}
