//! Which interfaces the gate stands on, as the kernel lists them: pure reading of interface messages.
//!
//! Every link over which this namespace's IP stack or a raw socket speaks is gated. A port of a bridge, bond or
//! team is not one: the stack speaks over its master, and a port that drops would cut off a new owner behind it.

use super::super::link::LINK_HEADER;
use super::super::netlink::{self, Attributes};
use super::program::Form;
use haft_engine::gate::QUEUE;
use haft_engine::machine::TUNNELLED;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

// linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_XDP: u16 = 43;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_XDP_ATTACHED: u16 = 2;

// linux/rtnetlink.h: struct tcmsg, TCA_KIND.
const TC_HEADER: usize = 20;
const TCA_KIND: u16 = 1;

/// Why a link cannot carry a guarded address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ungated {
    /// The stack speaks over its master.
    PortOf {
        /// What the master is: bridge, bond, team.
        kind: String,
    },
    /// An XDP program comes before every gate and may answer or redirect by itself.
    Xdp,
    /// Its hardware may forward and filter by itself.
    Offloaded,
    /// IPsec takes its packets out in a tunnel without an interface of its own.
    Tunnelled,
    /// What has passed the gate may lie in its queue for longer than the gate allows for (q).
    Queued {
        /// Kind of its queueing discipline.
        kind: String,
    },
    /// Its frames begin with a header that the gate does not know.
    Header {
        /// ARPHRD_ number.
        form: u16,
    },
    /// The kernel refused, or something else comes first there.
    Refused {
        /// In its words.
        why: String,
    },
    /// It has just come, and its programs are on their way: the packet filter's layer closes it meanwhile.
    Coming,
    /// No such link is known to the gate.
    Unknown,
}

impl fmt::Display for Ungated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ungated::PortOf { kind } => write!(f, "it is a port of a {kind}: use that interface"),
            Ungated::Xdp => f.write_str("an XDP program on it comes before the gate: detach it"),
            Ungated::Offloaded => f.write_str(
                "its hardware may forward what the gate does not see: ethtool -K LINK hw-tc-offload off",
            ),
            Ungated::Tunnelled => f.write_str(TUNNELLED),
            Ungated::Queued { kind } => {
                write!(
                    f,
                    "its queue ({kind}) may hold packets for longer than {} ms after the gate: use a link without \
                     shaping, or take it away (tc qdisc del dev LINK root)",
                    QUEUE.as_millis()
                )
            }
            Ungated::Header { form } => {
                write!(
                    f,
                    "its frames have a header of type {form}, which the gate cannot read"
                )
            }
            Ungated::Refused { why } => write!(f, "the gate cannot stand on it: {why}"),
            Ungated::Coming | Ungated::Unknown => f.write_str("the gate does not stand on it yet"),
        }
    }
}

/// One interface as far as the gate is concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    pub(super) index: u32,
    pub(super) name: String,
    /// ARPHRD_ number.
    form: u16,
    /// Kind of the master whose port it is.
    port_of: Option<String>,
    xdp: bool,
    /// Its hardware may act by itself.
    offloads: bool,
    /// The link that it sends over, if that is another one of this namespace.
    lower: Option<u32>,
    master: Option<u32>,
    /// Kind of a queueing discipline on it that may hold packets.
    queue: Option<String>,
    /// Somebody has put filters' place on it for what comes in alone.
    inward_only: bool,
}

impl Facts {
    /// From the body of an RTM_NEWLINK message.
    pub(super) fn parse(body: &[u8]) -> Option<Facts> {
        let mut facts = Facts {
            index: netlink::u32_at(body, 4)?,
            name: String::new(),
            form: netlink::u16_at(body, 2)?,
            port_of: None,
            xdp: false,
            offloads: false,
            lower: None,
            master: None,
            queue: None,
            inward_only: false,
        };
        let mut elsewhere = false;
        let mut pair = false;
        for (kind, payload) in Attributes::new(body.get(LINK_HEADER..)?) {
            match kind {
                IFLA_IFNAME => facts.name = netlink::text(payload),
                IFLA_LINK => facts.lower = netlink::u32_at(payload, 0),
                IFLA_LINK_NETNSID => elsewhere = true,
                IFLA_MASTER => facts.master = netlink::u32_at(payload, 0),
                IFLA_LINKINFO => {
                    pair = netlink::find(payload, IFLA_INFO_KIND)
                        .is_some_and(|kind| netlink::text(kind) == "veth");
                    facts.port_of = netlink::find(payload, IFLA_INFO_SLAVE_KIND)
                        .map(netlink::text)
                        .filter(|kind| speaks_over_master(kind));
                }
                IFLA_XDP => {
                    facts.xdp = netlink::find(payload, IFLA_XDP_ATTACHED)
                        .is_some_and(|mode| mode.first().is_some_and(|mode| *mode != 0));
                }
                _ => {}
            }
        }
        // What a pair names is its other end, which does not send for it.
        if elsewhere || pair {
            facts.lower = None;
        }
        Some(facts)
    }

    /// Which programs belong on it, if any do. Linux's numbers of link types: if_arp.h.
    pub(super) fn programs(&self) -> Result<Form, Ungated> {
        if let Some(kind) = &self.port_of {
            return Err(Ungated::PortOf { kind: kind.clone() });
        }
        match self.form {
            // Ethernet, loopback.
            1 | 772 => Ok(Form::Ether),
            // PPP, raw IP, ipip, ip6tnl, sit, gre, ip6gre, none (tun, WireGuard).
            512 | 519 | 768 | 769 | 776 | 778 | 823 | 0xfffe => Ok(Form::Bare),
            form => Err(Ungated::Header { form }),
        }
    }

    /// Whether the IP stack may speak over it. Not over a port, and not over CAN (280), monitors of radio (801
    /// to 803) and of sockets (824, 826), and IEEE 802.15.4 (804, 805).
    pub(super) fn speaks(&self) -> bool {
        self.port_of.is_none() && !matches!(self.form, 280 | 801..=805 | 824 | 826)
    }

    /// Whether an address on it is behind the gate once the programs are there.
    pub(super) fn carries(&self) -> Result<(), Ungated> {
        self.programs()?;
        self.is_clear()
    }

    /// Whether what leaves over it is seen by the gate before it, and leaves at once.
    fn is_clear(&self) -> Result<(), Ungated> {
        if self.xdp {
            return Err(Ungated::Xdp);
        }
        if self.offloads {
            return Err(Ungated::Offloaded);
        }
        match self.queue.clone() {
            Some(kind) => Err(Ungated::Queued { kind }),
            None => Ok(()),
        }
    }

    /// Whether a later word of the kernel about the link says the same. What other messages tell is not in it.
    pub(super) fn is_still(&self, later: &Facts) -> bool {
        let told = Facts {
            offloads: self.offloads,
            queue: self.queue.clone(),
            inward_only: self.inward_only,
            ..later.clone()
        };
        *self == told
    }

    /// Its hardware may act by itself.
    pub(super) fn offload(&mut self) {
        self.offloads = true;
    }

    /// From a message about a queueing discipline (`struct tcmsg`, linux/rtnetlink.h): the link, and the kind if it is
    /// one that may hold packets, wherever in the tree it stands, or the one with a place for filters of one way.
    pub(super) fn queue(body: &[u8]) -> Option<(u32, String)> {
        let index = netlink::u32_at(body, 4)?;
        let kind = netlink::find(body.get(TC_HEADER..)?, TCA_KIND).map(netlink::text)?;
        (kind == INGRESS || !leaves_at_once(&kind)).then_some((index, kind))
    }

    /// Such a discipline stands on it.
    pub(super) fn has(&mut self, kind: String) {
        if kind == INGRESS {
            self.inward_only = true;
        } else {
            self.queue = Some(kind);
        }
    }

    /// Whether its place for filters, if it has one, takes those of both ways: an ingress discipline takes what is
    /// meant for the way out, and puts it in the way in.
    pub(super) fn takes_filters(&self) -> bool {
        !self.inward_only
    }
}

/// What lies beneath each link that has anything beneath it: its ports, the link that it sends over, and theirs.
pub(super) fn beneath(links: &BTreeMap<u32, Facts>) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut next_to: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for facts in links.values() {
        if let Some(master) = facts.master {
            next_to.entry(master).or_default().push(facts.index);
        }
        if let Some(lower) = facts.lower {
            next_to.entry(facts.index).or_default().push(lower);
        }
    }
    let all_below = |index: &u32| {
        let mut seen = BTreeSet::from([*index]);
        let mut open = vec![*index];
        while let Some(next) = open.pop() {
            let below = next_to.get(&next).into_iter().flatten();
            open.extend(below.filter(|one| seen.insert(**one)));
        }
        seen.remove(index);
        (*index, seen)
    };
    next_to.keys().map(all_below).collect()
}

/// What hinders each link by what lies beneath it.
pub(super) fn hindered(
    links: &BTreeMap<u32, Facts>,
    beneath: &BTreeMap<u32, BTreeSet<u32>>,
) -> BTreeMap<u32, Ungated> {
    let by_one = |one: &u32| links.get(one)?.is_clear().err();
    let found = beneath
        .iter()
        .filter_map(|(index, below)| Some((*index, below.iter().find_map(by_one)?)));
    found.collect()
}

/// Filters for what comes in, and none for what goes out.
const INGRESS: &str = "ingress";

/// Whether this queueing discipline sends as fast as the link takes it. Others shape, delay or police (tc(8)); one that
/// is not known here may do so.
fn leaves_at_once(queue: &str) -> bool {
    matches!(
        queue,
        "noqueue"
            | "noop"
            | "pfifo_fast"
            | "pfifo"
            | "bfifo"
            | "mq"
            | "multiq"
            | "fq"
            | "fq_codel"
            | "codel"
            | "sfq"
            // No queues, but places for filters.
            | INGRESS
            | "clsact"
    )
}

/// Not a VRF's: there the stack speaks over the port.
fn speaks_over_master(kind: &str) -> bool {
    matches!(kind, "bridge" | "bond" | "team" | "openvswitch")
}

#[cfg(test)]
mod tests {
    use super::super::super::netlink::Messages;
    use super::*;

    fn facts(form: u16, fill: impl Fn(&mut Messages)) -> Facts {
        let mut header = [0; LINK_HEADER];
        header[2..4].copy_from_slice(&form.to_ne_bytes());
        header[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        let mut message = Messages::default();
        message
            .begin(16, 0, 1)
            .fixed(&header)
            .name(IFLA_IFNAME, "eth0");
        fill(&mut message);
        message.finish();
        Facts::parse(&message.as_bytes()[16..]).unwrap()
    }

    fn port(kind: &'static str) -> impl Fn(&mut Messages) {
        move |message| {
            message.nest(IFLA_LINKINFO, |info| {
                info.name(IFLA_INFO_SLAVE_KIND, kind);
            });
        }
    }

    #[test]
    fn ports_are_gated_at_their_master_and_a_vrfs_at_themselves() {
        for kind in ["bridge", "bond", "team"] {
            assert!(matches!(
                facts(1, port(kind)).programs(),
                Err(Ungated::PortOf { .. })
            ));
        }
        assert_eq!(facts(1, port("vrf")).programs(), Ok(Form::Ether));
    }

    #[test]
    fn links_are_read_by_what_their_frames_begin_with() {
        assert_eq!(facts(1, |_| {}).programs(), Ok(Form::Ether));
        assert_eq!(facts(772, |_| {}).programs(), Ok(Form::Ether));
        assert_eq!(facts(0xfffe, |_| {}).programs(), Ok(Form::Bare));
        assert_eq!(
            facts(32, |_| {}).programs(),
            Err(Ungated::Header { form: 32 })
        );
    }

    #[test]
    fn a_link_that_shapes_is_gated_and_carries_nothing() {
        let said = |kind: &'static str| {
            let mut header = [0; TC_HEADER];
            header[4..8].copy_from_slice(&7_u32.to_ne_bytes());
            let mut message = Messages::default();
            message.begin(36, 0, 1).fixed(&header).name(TCA_KIND, kind);
            message.finish();
            Facts::queue(&message.as_bytes()[16..])
        };
        for kind in ["noqueue", "fq_codel", "mq", "clsact"] {
            assert_eq!(said(kind), None, "{kind}");
        }
        let (_, found) = said(INGRESS).unwrap();
        let mut link = facts(1, |_| {});
        link.has(found);
        assert_eq!((link.carries(), link.takes_filters()), (Ok(()), false));
        for kind in ["htb", "tbf", "netem", "cake", "of a later kernel"] {
            let (index, found) = said(kind).unwrap();
            assert_eq!((index, found.as_str()), (7, kind));
            let mut link = facts(1, |_| {});
            link.has(found.clone());
            assert_eq!(link.programs(), Ok(Form::Ether));
            assert_eq!(link.carries(), Err(Ungated::Queued { kind: found }));
        }
    }

    #[test]
    fn a_link_with_an_xdp_program_is_gated_and_carries_nothing() {
        let link = facts(1, |message| {
            message.nest(IFLA_XDP, |xdp| {
                xdp.attr(IFLA_XDP_ATTACHED, &[1]);
            });
        });
        assert_eq!(link.programs(), Ok(Form::Ether));
        assert_eq!(link.carries(), Err(Ungated::Xdp));
    }

    #[test]
    fn a_link_whose_hardware_may_act_is_gated_and_carries_nothing_nor_does_what_is_above_it() {
        let mut port = facts(1, port("bond"));
        port.offload();
        port.master = Some(9);
        let mut bond = facts(1, |_| {});
        bond.index = 9;
        assert_eq!(bond.carries(), Ok(()));
        let links = BTreeMap::from([(port.index, port.clone()), (9, bond)]);
        let found = hindered(&links, &beneath(&links));
        assert_eq!(found.get(&9), Some(&Ungated::Offloaded));
        port.port_of = None;
        assert_eq!(port.programs(), Ok(Form::Ether));
        assert_eq!(port.carries(), Err(Ungated::Offloaded));
    }
}
