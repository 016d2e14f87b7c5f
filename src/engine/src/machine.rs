//! What a node's kernel has, as its agent reports it, and what stands in the way of an address there.
//!
//! Three kinds of fact: addresses that haft did not make, interfaces with what they can carry, and tunnels that take
//! addresses past the gate. Only what
//! follows for a resource is replicated ([`Obstacle`]); the report itself stays with the leader, and comes anew
//! with every stream. Decides nothing about owners.

use crate::keeper::Carrier;
use crate::spec::ResourceSpec;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Most addresses of one report. An agent whose kernel has more reports the first of them and says so in its log;
/// a report of more is refused as a whole, and the one before it stands.
pub const ADDRESSES_MAX: usize = 4_096;
/// Most interfaces of one report; the same of more.
pub const LINKS_MAX: usize = 1_024;
/// Most names of one interface, its own included.
pub const NAMES_MAX: usize = 16;
/// Longest name of an interface: IFNAMSIZ less the terminating zero (linux/if.h). Other names may be longer, but no
/// resource names an interface by more.
pub const NAME_MAX: usize = 15;
/// Most tunnels of one report; the same of more.
pub const TUNNELS_MAX: usize = 256;
/// Longest reason, in bytes.
pub const WHY_MAX: usize = 256;
/// No report within these bounds is encoded in more bytes: less than the API takes of one message.
pub const REPORT_MAX: usize = 900 << 10;

/// Why an address is not behind the gate though its interface is, with what to do.
pub const TUNNELLED: &str = "an IPsec policy takes its packets out in a tunnel that the gate does not see: give the \
                             tunnel an interface (if_id), or narrow the policy's source (ip xfrm policy)";

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// What it is called; its own name first, then its other names.
    pub names: Vec<String>,
    /// Whether frames can leave it.
    pub carrier: Carrier,
    /// Which addresses it can carry.
    pub carries: Carries,
}

/// Which addresses an interface can carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carries {
    /// All.
    Any,
    /// None of IPv6, and why.
    NoIpv6(String),
    /// None that is guarded, and why, with what to do: packets would pass the gate unseen, or leave it late.
    Nothing(String),
}

/// The addresses of one family that begin with these bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Prefix {
    /// One of them.
    pub address: IpAddr,
    /// How many bits they share; more than an address has are all of them.
    pub bits: u8,
}

impl Prefix {
    /// Whether this is one of them.
    pub fn holds(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(of), IpAddr::V4(address)) => {
                begins(of.to_bits().into(), address.to_bits().into(), self.bits, 32)
            }
            (IpAddr::V6(of), IpAddr::V6(address)) => {
                begins(of.to_bits(), address.to_bits(), self.bits, 128)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Whether the first `bits` of these `width` are the same.
fn begins(left: u128, right: u128, bits: u8, width: u32) -> bool {
    let rest = width.saturating_sub(u32::from(bits));
    (left ^ right).checked_shr(rest).unwrap_or(0) == 0
}

/// An address that haft did not make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// The interface's name.
    pub link: String,
    /// Prefix length in bits.
    pub prefix: u8,
}

/// Another machine's claim of an address, heard on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The name of the interface that it was heard on.
    pub link: String,
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        let link = &self.link;
        write!(
            f,
            "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x} on {link}"
        )
    }
}

/// One machine, as of one look at its kernel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    /// When that was, on the node's own clock of its boot, in nanoseconds: of two reports on one stream the
    /// later counts.
    pub taken_ns: u64,
    links: Vec<Link>,
    names: BTreeMap<String, usize>,
    addresses: BTreeMap<IpAddr, Vec<Foreign>>,
    /// Sources whose packets leave in a tunnel that the gate does not see.
    tunnels: Vec<Prefix>,
    extent: Extent,
}

/// How much of what the machine has its report holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Extent {
    /// All.
    #[default]
    All,
    /// There is more than a report may hold: what it does not name may be there all the same.
    Part,
}

/// Why a report is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MachineError {
    /// Too much of something.
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it may hold.
        most: usize,
    },
    /// A text that is too long.
    TooLong {
        /// How long it may be.
        most: usize,
    },
}

impl std::fmt::Display for MachineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MachineError::TooMany { what, most } => {
                write!(f, "a report of a machine holds more than {most} {what}")
            }
            MachineError::TooLong { most } => {
                write!(
                    f,
                    "a report of a machine holds a text of more than {most} bytes"
                )
            }
        }
    }
}

impl std::error::Error for MachineError {}

/// What stands in the way of a resource on a node. An entry of the log sets or clears it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// Somebody else has put the address there. Never granted there (R13).
    Foreign(Foreign),
    /// There is no interface of the name.
    NoInterface,
    /// The interface is down or unplugged.
    NoCarrier,
    /// The interface cannot carry the address.
    Refused(String),
    /// The gate would not stand before the address there; with what to do.
    Ungated(String),
}

impl Machine {
    /// A report within its bounds.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(
        taken_ns: u64,
        links: Vec<Link>,
        foreign: Vec<(IpAddr, Foreign)>,
    ) -> Result<Machine, MachineError> {
        Machine::holds(links.len(), foreign.len())?;
        let mut machine = Machine {
            taken_ns,
            ..Machine::default()
        };
        for (place, link) in links.iter().enumerate() {
            within(link.names.len(), NAMES_MAX, "names of an interface")?;
            match &link.carries {
                Carries::Any => {}
                Carries::NoIpv6(why) | Carries::Nothing(why) => short(why, WHY_MAX)?,
            }
            for name in &link.names {
                short(name, NAME_MAX)?;
                machine.names.insert(name.clone(), place);
            }
        }
        for (address, found) in foreign {
            short(&found.link, NAME_MAX)?;
            machine.addresses.entry(address).or_default().push(found);
        }
        machine.links = links;
        Ok(machine)
    }

    /// The same report, of a machine that has more than it holds.
    #[must_use]
    pub fn as_part(self) -> Machine {
        Machine {
            extent: Extent::Part,
            ..self
        }
    }

    /// The same report, of a machine with tunnels that take these sources past the gate.
    ///
    /// # Errors
    /// When they are too many.
    pub fn with_tunnels(self, tunnels: Vec<Prefix>) -> Result<Machine, MachineError> {
        within(tunnels.len(), TUNNELS_MAX, "tunnels")?;
        Ok(Machine { tunnels, ..self })
    }

    /// Whether one report may hold so many.
    ///
    /// # Errors
    /// When it may not.
    pub fn holds(links: usize, addresses: usize) -> Result<(), MachineError> {
        within(links, LINKS_MAX, "interfaces")?;
        within(addresses, ADDRESSES_MAX, "addresses")
    }

    /// Whether both say the same, whenever they were taken.
    pub fn says_like(&self, other: &Machine) -> bool {
        self.links == other.links
            && self.addresses == other.addresses
            && self.tunnels == other.tunnels
            && self.extent == other.extent
    }

    /// The interface of this name, or with this among its other names.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.names
            .get(name)
            .and_then(|place| self.links.get(*place))
    }

    /// Where somebody else has put this address.
    pub fn foreign(&self, address: IpAddr) -> Option<&Foreign> {
        self.addresses.get(&address).and_then(|found| found.first())
    }

    /// What stands in the way of a resource here; the gravest of several.
    pub fn obstacle(&self, spec: &ResourceSpec) -> Option<Obstacle> {
        let ResourceSpec::VirtualIp(vip) = spec;
        if let Some(found) = self.foreign(vip.address) {
            return Some(Obstacle::Foreign(found.clone()));
        }
        let Some(link) = self.link(&vip.interface) else {
            return match self.extent {
                Extent::All => Some(Obstacle::NoInterface),
                Extent::Part => None,
            };
        };
        match link.carrier {
            Carrier::Up => {}
            Carrier::Down => return Some(Obstacle::NoCarrier),
        }
        if let Carries::Nothing(why) = &link.carries {
            return Some(Obstacle::Ungated(why.clone()));
        }
        if self.tunnels.iter().any(|one| one.holds(vip.address)) {
            return Some(Obstacle::Ungated(TUNNELLED.to_owned()));
        }
        match &link.carries {
            Carries::NoIpv6(why) if vip.address.is_ipv6() => Some(Obstacle::Refused(why.clone())),
            Carries::Any | Carries::NoIpv6(_) | Carries::Nothing(_) => None,
        }
    }
}

fn within(count: usize, most: usize, what: &'static str) -> Result<(), MachineError> {
    if count > most {
        return Err(MachineError::TooMany { what, most });
    }
    Ok(())
}

fn short(text: &str, most: usize) -> Result<(), MachineError> {
    if text.len() > most {
        return Err(MachineError::TooLong { most });
    }
    Ok(())
}

impl Obstacle {
    /// In words, about the node that has it.
    pub fn words(&self, spec: &ResourceSpec) -> String {
        let ResourceSpec::VirtualIp(vip) = spec;
        let (address, interface) = (vip.address, &vip.interface);
        match self {
            Obstacle::Foreign(Foreign { link, prefix }) => {
                format!("somebody else has put {address}/{prefix} on its {link}")
            }
            Obstacle::NoInterface => format!("it has no interface {interface}"),
            Obstacle::NoCarrier => format!("its {interface} has no carrier"),
            Obstacle::Refused(why) => why.clone(),
            Obstacle::Ungated(why) => format!("{interface} cannot be guarded: {why}"),
        }
    }

    /// What an administrator types on that node.
    pub fn remedy(&self, spec: &ResourceSpec) -> String {
        let ResourceSpec::VirtualIp(vip) = spec;
        let (address, interface) = (vip.address, &vip.interface);
        match self {
            Obstacle::Foreign(Foreign { link, prefix }) => {
                format!("ip addr del {address}/{prefix} dev {link}")
            }
            Obstacle::NoInterface => format!(
                "ip link, and correct `interface`; or ip link property add dev LINK altname {interface}"
            ),
            Obstacle::NoCarrier => {
                format!("ip link set dev {interface} up; if it is up, its cable or switch port")
            }
            Obstacle::Refused(_) => format!(
                "sysctl -w net.ipv6.conf.{interface}.disable_ipv6=0, or an MTU of 1280 at least"
            ),
            Obstacle::Ungated(_) => format!(
                "what the reason says; `ip -d link show dev {interface}` and `tc qdisc show dev {interface}` show it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Failback, Isolation, Unfenced, VirtualIpSpec};
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn spec(address: impl Into<IpAddr>, interface: &str) -> ResourceSpec {
        ResourceSpec::VirtualIp(VirtualIpSpec {
            address: address.into(),
            interface: interface.to_owned(),
            isolation: Isolation::Lease,
            unfenced: Unfenced::Refused,
            preference: Vec::new(),
            failback: Failback::Never,
        })
    }

    fn link(names: &[&str], carrier: Carrier) -> Link {
        Link {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            carrier,
            carries: Carries::NoIpv6("its MTU is 1200".to_owned()),
        }
    }

    #[test]
    fn an_interface_that_a_part_of_a_report_does_not_name_may_be_there() {
        let spec = spec(Ipv4Addr::new(192, 0, 2, 7), "eth9");
        let links = vec![link(&["eth0"], Carrier::Up)];
        let machine = Machine::new(1, links, Vec::new()).expect("it is small");
        assert_eq!(machine.obstacle(&spec), Some(Obstacle::NoInterface));
        let part = machine.clone().as_part();
        assert_eq!(part.obstacle(&spec), None);
        assert!(!part.says_like(&machine));
    }

    #[test]
    fn what_stands_in_the_way_is_the_gravest_of_what_is_there() {
        let own = Ipv4Addr::new(192, 0, 2, 7);
        let foreign = Foreign {
            link: "lo".to_owned(),
            prefix: 24,
        };
        let machine = Machine::new(
            1,
            vec![
                link(&["eth0", "service"], Carrier::Up),
                link(&["eth1"], Carrier::Down),
            ],
            vec![(own.into(), foreign.clone())],
        )
        .unwrap();
        let free = Ipv4Addr::new(192, 0, 2, 8);
        let six = Ipv6Addr::LOCALHOST;
        assert_eq!(machine.obstacle(&spec(free, "eth0")), None);
        assert_eq!(machine.obstacle(&spec(free, "service")), None);
        assert_eq!(
            machine.obstacle(&spec(free, "eth1")),
            Some(Obstacle::NoCarrier)
        );
        assert_eq!(
            machine.obstacle(&spec(free, "eth2")),
            Some(Obstacle::NoInterface)
        );
        assert_eq!(
            machine.obstacle(&spec(six, "eth0")),
            Some(Obstacle::Refused("its MTU is 1200".to_owned()))
        );
        assert_eq!(
            machine.obstacle(&spec(own, "eth1")),
            Some(Obstacle::Foreign(foreign))
        );
    }

    #[test]
    fn what_would_pass_the_gate_stands_in_the_way() {
        let shaped = Link {
            carries: Carries::Nothing("its queue (tbf)".to_owned()),
            ..link(&["eth1"], Carrier::Up)
        };
        let links = vec![link(&["eth0"], Carrier::Up), shaped];
        let within = |bits, address: &str| Prefix {
            address: address.parse().unwrap(),
            bits,
        };
        let tunnels = vec![within(24, "198.51.100.9"), within(0, "::")];
        let machine = Machine::new(1, links, Vec::new()).unwrap();
        let taken = machine.clone().with_tunnels(tunnels).unwrap();
        assert!(!taken.says_like(&machine));
        let (free, inside) = (
            Ipv4Addr::new(192, 0, 2, 7),
            Ipv4Addr::new(198, 51, 100, 200),
        );
        let gated = |address: IpAddr, link: &str| taken.obstacle(&spec(address, link));
        assert_eq!(gated(free.into(), "eth0"), None);
        let ungated = |why: &str| Some(Obstacle::Ungated(why.to_owned()));
        assert_eq!(gated(free.into(), "eth1"), ungated("its queue (tbf)"));
        assert_eq!(gated(inside.into(), "eth0"), ungated(TUNNELLED));
        assert_eq!(
            gated(Ipv6Addr::LOCALHOST.into(), "eth0"),
            ungated(TUNNELLED)
        );
        let many = vec![within(0, "::"); TUNNELS_MAX + 1];
        assert!(machine.with_tunnels(many).is_err());
    }

    #[test]
    fn a_prefix_holds_what_begins_like_it() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (of, bits, other, holds) in [
            ("10.8.0.0", 16, "10.8.3.4", true),
            ("10.8.0.0", 16, "10.9.0.1", false),
            ("10.8.0.0", 0, "192.0.2.1", true),
            ("10.8.0.0", 0, "fd00::1", false),
            ("10.8.0.1", 32, "10.8.0.1", true),
            ("10.8.0.1", 32, "10.8.0.0", false),
            ("10.8.0.1", 255, "10.8.0.0", false),
            ("fd00::", 8, "fd12::1", true),
            ("fd00::1", 128, "fd00::2", false),
            ("::", 0, "fd00::2", true),
        ] {
            let prefix = Prefix {
                address: address(of),
                bits,
            };
            assert_eq!(prefix.holds(address(other)), holds, "{of}/{bits} {other}");
        }
    }

    #[test]
    fn a_report_beyond_its_bounds_is_refused() {
        let many = vec![link(&["eth0"], Carrier::Up); LINKS_MAX + 1];
        assert!(Machine::new(1, many, Vec::new()).is_err());
        let long = "x".repeat(NAME_MAX + 1);
        assert!(Machine::new(1, vec![link(&[&long], Carrier::Up)], Vec::new()).is_err());
    }
}
