//! The guard's tables: their sets, chains and rules, as values and as netlink messages.
//!
//! Pure encoding. What the rules say, for an address that is `managed` and not `held`:
//!
//! - ARP that asks for it is not heard, ARP that claims it is not sent, by the kernel's own stack
//!   (table `arp`) nor through a packet socket (table `netdev`, egress, one chain per interface).
//! - Neighbour solicitations for it are not heard, advertisements of it are not sent (same split).
//! - Packets to it are dropped before destination NAT, where the address is local (lo included) or
//!   where they arrive on an interface that carries guarded addresses; packets from it are dropped
//!   on output, and after source NAT where the address is local.
//!
//! Deliberately left alone, because a node without the address is also a client, and may be a
//! router: claims by another machine (they keep our neighbour entries fresh), our own requests for
//! it, our packets to it while another node has it, and traffic merely routed past from or to it
//! through other interfaces.

mod still;

use super::super::netlink::{Messages, NLM_F_APPEND, NLM_F_CREATE};
use super::Layer;
use super::batch::{Batch, Family};
use std::net::IpAddr;
use std::time::Duration;

/// Name of the guard's table in each family.
pub(super) const TABLE: &str = "haft";
/// Name of the table that says that a guard lives here.
pub(super) const LOCK: &str = "haft_lock";

// linux/netfilter/nf_tables.h: message types.
pub(super) const NEWTABLE: u16 = 0;
pub(super) const GETTABLE: u16 = 1;
pub(super) const DELTABLE: u16 = 2;
pub(super) const NEWCHAIN: u16 = 3;
pub(super) const GETCHAIN: u16 = 4;
const DELCHAIN: u16 = 5;
pub(super) const NEWRULE: u16 = 6;
pub(super) const GETRULE: u16 = 7;
pub(super) const NEWSET: u16 = 9;
pub(super) const GETSET: u16 = 10;
pub(super) const NEWSETELEM: u16 = 12;
pub(super) const GETSETELEM: u16 = 13;
pub(super) const DELSETELEM: u16 = 14;
pub(super) const NEWGEN: u16 = 15;
/// Removal that does not mind absence (Linux 6.3).
pub(super) const DESTROYSETELEM: u16 = 30;

const CREATE: u16 = NLM_F_CREATE;

// Table flags: changes by other sockets are refused; the table outlives its owner (Linux 6.9).
pub(super) const TABLE_OWNER: u32 = 0x2;
pub(super) const TABLE_PERSIST: u32 = 0x4;

// Netfilter hook numbers (linux/netfilter.h, linux/netfilter_arp.h).
const PRE_ROUTING: u32 = 0;
const LOCAL_IN: u32 = 1;
const LOCAL_OUT: u32 = 3;
const POST_ROUTING: u32 = 4;
const ARP_IN: u32 = 0;
const ARP_OUT: u32 = 1;
const NETDEV_EGRESS: u32 = 1;
/// Before connection tracking's defragmentation (-400) and every NAT.
const FIRST: i32 = -450;
/// After source NAT (100) and connection tracking's confirmation would be too late to matter.
const LAST: i32 = 450;

/// Lifetime of an element that somebody adds without one: set elements here never stay.
const DEFAULT_LIFE: Duration = Duration::from_secs(1);

/// The sets of one family, by name.
pub(super) const MANAGED4: &str = "managed4";
pub(super) const MANAGED6: &str = "managed6";
pub(super) const HELD4: &str = "held4";
pub(super) const HELD6: &str = "held6";
pub(super) const ARMED4: &str = "armed4";
pub(super) const ARMED6: &str = "armed6";
pub(super) const PORTS: &str = "ports";
pub(super) const GATED: &str = "gated";

#[derive(Clone, Copy)]
enum Lasting {
    Kept,
    Timed,
}

/// Key types are informational, for `nft list`: ipv4_addr 7, ipv6_addr 8, iface_index 20.
const SETS: [(&str, u32, u32, Lasting, &[Family]); 7] = [
    (MANAGED4, 7, 4, Lasting::Kept, &Family::ALL),
    (MANAGED6, 8, 16, Lasting::Kept, NOT_ARP),
    (HELD4, 7, 4, Lasting::Timed, &Family::ALL),
    (HELD6, 8, 16, Lasting::Timed, NOT_ARP),
    (ARMED4, 7, 4, Lasting::Timed, &[Family::Inet]),
    (ARMED6, 8, 16, Lasting::Timed, &[Family::Inet]),
    (PORTS, 20, 4, Lasting::Kept, &[Family::Inet]),
];
/// What the static layer has beside the managed addresses.
const STILL_SETS: [(&str, u32, u32, Lasting, &[Family]); 3] = [
    (MANAGED4, 7, 4, Lasting::Kept, &Family::ALL),
    (MANAGED6, 8, 16, Lasting::Kept, NOT_ARP),
    (GATED, 20, 4, Lasting::Kept, GATED_FAMILIES),
];
/// Families whose tables know the gated links.
pub(super) const GATED_FAMILIES: &[Family] = &[Family::Inet, Family::Arp];
const NOT_ARP: &[Family] = &[Family::Inet, Family::Netdev];

/// One step of a rule; all work on register 1.
#[derive(Clone, Copy)]
enum Step {
    Meta(u32),
    Network(u32, u32),
    Transport(u32, u32),
    Is(&'static [u8]),
    In(&'static str),
    NotIn(&'static str),
    /// The packet's source or destination (1 or 2) is an address of this machine.
    Local(u32),
    Drop,
    Accept,
}
use Step::{Accept, Drop, In, Is, Local, Meta, Network, NotIn, Transport};

// nft_meta_keys.
const PROTOCOL: Step = Meta(1);
const IIF: Step = Meta(4);
const NFPROTO: Step = Meta(15);
const L4PROTO: Step = Meta(16);
const IPV4: Step = Is(&[2]);
const IPV6: Step = Is(&[10]);
const ICMPV6: Step = Is(&[58]);
const SOLICITATION: Step = Is(&[135]);
const ADVERTISEMENT: Step = Is(&[136]);
const SOURCE4: Step = Network(12, 4);
const DESTINATION4: Step = Network(16, 4);
const SOURCE6: Step = Network(8, 16);
const DESTINATION6: Step = Network(24, 16);
// RFC 826 with Ethernet and IPv4: sender protocol address, target protocol address.
const ARP_SENDER: Step = Network(14, 4);
const ARP_TARGET: Step = Network(24, 4);
const FROM_LOCAL: Step = Local(1);
const TO_LOCAL: Step = Local(2);
const M4: Step = In(MANAGED4);
const M6: Step = In(MANAGED6);
const NOT_H4: Step = NotIn(HELD4);
const NOT_H6: Step = NotIn(HELD6);

type Rule = &'static [Step];

/// One base chain: family, name, hook, priority, rules.
type Chain = (Family, &'static str, u32, i32, &'static [Rule]);

const CHAINS: [Chain; 6] = [
    (
        Family::Inet,
        "prerouting",
        PRE_ROUTING,
        FIRST,
        PREROUTING_RULES,
    ),
    (Family::Inet, "input", LOCAL_IN, FIRST, INPUT_RULES),
    (Family::Inet, "output", LOCAL_OUT, FIRST, OUTPUT_RULES),
    (
        Family::Inet,
        "postrouting",
        POST_ROUTING,
        LAST,
        POSTROUTING_RULES,
    ),
    (Family::Arp, "input", ARP_IN, FIRST, ARP_IN_RULES),
    (Family::Arp, "output", ARP_OUT, FIRST, ARP_OUT_RULES),
];

const PREROUTING_RULES: &[Rule] = &[
    &[NFPROTO, IPV4, DESTINATION4, M4, NOT_H4, TO_LOCAL, Drop],
    &[
        NFPROTO,
        IPV4,
        IIF,
        In(PORTS),
        DESTINATION4,
        M4,
        NOT_H4,
        Drop,
    ],
    &[NFPROTO, IPV6, DESTINATION6, M6, NOT_H6, TO_LOCAL, Drop],
    &[
        NFPROTO,
        IPV6,
        IIF,
        In(PORTS),
        DESTINATION6,
        M6,
        NOT_H6,
        Drop,
    ],
    &[
        NFPROTO,
        IPV6,
        L4PROTO,
        ICMPV6,
        Transport(0, 1),
        SOLICITATION,
        Transport(8, 16),
        M6,
        NOT_H6,
        Drop,
    ],
];
const INPUT_RULES: &[Rule] = &[
    &[NFPROTO, IPV4, DESTINATION4, M4, NOT_H4, Drop],
    &[NFPROTO, IPV6, DESTINATION6, M6, NOT_H6, Drop],
];
const OUTPUT_RULES: &[Rule] = &[
    &[NFPROTO, IPV4, SOURCE4, M4, NOT_H4, Drop],
    &[NFPROTO, IPV4, DESTINATION4, M4, NOT_H4, TO_LOCAL, Drop],
    &[NFPROTO, IPV6, SOURCE6, M6, NOT_H6, Drop],
    &[NFPROTO, IPV6, DESTINATION6, M6, NOT_H6, TO_LOCAL, Drop],
    &[
        NFPROTO,
        IPV6,
        L4PROTO,
        ICMPV6,
        Transport(0, 1),
        ADVERTISEMENT,
        Transport(8, 16),
        M6,
        NOT_H6,
        Drop,
    ],
];
const POSTROUTING_RULES: &[Rule] = &[
    &[NFPROTO, IPV4, SOURCE4, M4, NOT_H4, FROM_LOCAL, Drop],
    &[NFPROTO, IPV6, SOURCE6, M6, NOT_H6, FROM_LOCAL, Drop],
];
// A claim by another machine is both sender and target; it must reach our neighbour table.
const ARP_IN_RULES: &[Rule] = &[&[ARP_SENDER, M4, Accept], &[ARP_TARGET, M4, NOT_H4, Drop]];
const ARP_OUT_RULES: &[Rule] = &[&[ARP_SENDER, M4, NOT_H4, Drop]];
// No transport header is set on frames from a packet socket: the advertisement is found by its
// place behind a bare IPv6 header, the only form that receivers accept (RFC 4861, 7.1.2: no
// fragments; extension headers are not sent by this program).
const EGRESS_RULES: &[Rule] = &[
    &[PROTOCOL, Is(&[0x08, 0x06]), ARP_SENDER, M4, NOT_H4, Drop],
    &[
        PROTOCOL,
        Is(&[0x86, 0xdd]),
        Network(6, 1),
        ICMPV6,
        Network(40, 1),
        ADVERTISEMENT,
        Network(48, 16),
        M6,
        NOT_H6,
        Drop,
    ],
];

/// The raw bytes of an address, as set elements and packets have them.
pub(super) fn key(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Where an address stands when it is held, when it is armed, and when it is managed.
pub(super) struct Places {
    pub(super) held: &'static str,
    pub(super) armed: &'static str,
    pub(super) managed: &'static str,
    pub(super) families: &'static [Family],
}

pub(super) fn places(address: IpAddr) -> Places {
    match address {
        IpAddr::V4(_) => Places {
            held: HELD4,
            armed: ARMED4,
            managed: MANAGED4,
            families: &Family::ALL,
        },
        IpAddr::V6(_) => Places {
            held: HELD6,
            armed: ARMED6,
            managed: MANAGED6,
            families: NOT_ARP,
        },
    }
}

/// Name of an interface's egress chain.
pub(super) fn egress_chain(index: u32) -> String {
    format!("egress-{index}")
}

/// Adds the deletion of one family's table.
pub(super) fn delete_table(batch: &mut Batch, family: Family) {
    batch.add("removal of an older table", (DELTABLE, 0), family, |m| {
        m.name(1, TABLE);
    });
}

/// Adds the deletion of a lock that nobody owns; what a socket owns is refused to others.
pub(super) fn delete_lock(batch: &mut Batch) {
    let kind = (DELTABLE, 0);
    batch.add("removal of an unowned haft_lock", kind, Family::Inet, |m| {
        m.name(1, LOCK);
    });
}

/// Adds the table that nobody but its owner's socket can add.
pub(super) fn create_lock(batch: &mut Batch) {
    batch.add(
        "the lock haft_lock",
        (NEWTABLE, CREATE),
        Family::Inet,
        |m| {
            m.name(1, LOCK).number(2, TABLE_OWNER);
        },
    );
}

/// Adds the tables with their sets, chains and rules; egress chains come per interface.
pub(super) fn create_tables(batch: &mut Batch, flags: u32, layer: Layer) {
    let (sets, chains): (&[_], _) = match layer {
        Layer::Timed => (&SETS, CHAINS),
        Layer::Still => (&STILL_SETS, still::CHAINS),
    };
    for family in Family::ALL {
        batch.add("a table", (NEWTABLE, CREATE), family, |m| {
            m.name(1, TABLE).number(2, flags);
        });
    }
    let mut id = 0;
    for (name, key_type, length, lasting, families) in sets {
        for family in *families {
            id += 1;
            batch.add("a set", (NEWSET, CREATE), *family, |m| {
                m.name(1, TABLE).name(2, name);
                if let Lasting::Timed = lasting {
                    // NFT_SET_TIMEOUT.
                    m.number(3, 0x10).attr(11, &milliseconds(DEFAULT_LIFE));
                }
                m.number(4, *key_type).number(5, *length).number(10, id);
            });
        }
    }
    for (family, name, hook, priority, rules) in chains {
        create_chain(batch, family, name, (hook, priority, None), rules);
    }
}

/// Adds the egress chain of one interface.
pub(super) fn create_egress(batch: &mut Batch, index: u32, name: &str) {
    let chain = egress_chain(index);
    let hook = (NETDEV_EGRESS, FIRST, Some(name));
    create_chain(batch, Family::Netdev, &chain, hook, EGRESS_RULES);
}

/// Adds the deletion of an interface's egress chain with its rules.
pub(super) fn delete_egress(batch: &mut Batch, index: u32) {
    batch.add("removal of a chain", (DELCHAIN, 0), Family::Netdev, |m| {
        m.name(1, TABLE).name(3, &egress_chain(index));
    });
}

fn create_chain(
    batch: &mut Batch,
    family: Family,
    name: &str,
    (hook, priority, device): (u32, i32, Option<&str>),
    rules: &[Rule],
) {
    batch.add("a chain", (NEWCHAIN, CREATE), family, |m| {
        m.name(1, TABLE).name(3, name).nest(4, |hook_in| {
            hook_in.number(1, hook).attr(2, &priority.to_be_bytes());
            if let Some(device) = device {
                hook_in.name(3, device);
            }
        });
        m.name(7, "filter");
    });
    for rule in rules {
        batch.add("a rule", (NEWRULE, CREATE | NLM_F_APPEND), family, |m| {
            m.name(1, TABLE).name(2, name).nest(4, |list| {
                for step in *rule {
                    encode_step(list, *step);
                }
            });
        });
    }
}

/// One expression in the rule's list.
fn encode_step(list: &mut Messages, step: Step) {
    let name = match step {
        Meta(_) => "meta",
        Network(..) | Transport(..) => "payload",
        Is(_) => "cmp",
        In(_) | NotIn(_) => "lookup",
        Local(_) => "fib",
        Drop | Accept => "immediate",
    };
    list.nest(1, |element| {
        element
            .name(1, name)
            .nest(2, |body| encode_expression(body, step));
    });
    if let Local(_) = step {
        // The address type arrives in host order: RTN_LOCAL.
        const LOCAL: [u8; 4] = 2_u32.to_ne_bytes();
        encode_step(list, Is(&LOCAL));
    }
}

fn encode_expression(body: &mut Messages, step: Step) {
    /// The register all steps share.
    const REGISTER: u32 = 1;
    match step {
        Meta(meta) => body.number(1, REGISTER).number(2, meta),
        Network(offset, length) => payload(body, 1, offset, length),
        Transport(offset, length) => payload(body, 2, offset, length),
        Is(bytes) => body.number(1, REGISTER).number(2, 0).nest(3, |data| {
            data.attr(1, bytes);
        }),
        In(set) => body.name(1, set).number(2, REGISTER),
        NotIn(set) => body.name(1, set).number(2, REGISTER).number(5, 1),
        // Result 3 is the address type; the flag says whose.
        Local(whose) => body.number(1, REGISTER).number(2, 3).number(3, whose),
        Drop => verdict(body, 0),
        Accept => verdict(body, 1),
    };
}

fn payload(body: &mut Messages, base: u32, offset: u32, length: u32) -> &mut Messages {
    body.number(1, 1)
        .number(2, base)
        .number(3, offset)
        .number(4, length)
}

/// Register zero takes the verdict.
fn verdict(body: &mut Messages, code: u32) -> &mut Messages {
    body.number(1, 0).nest(2, |data| {
        data.nest(2, |verdict| {
            verdict.number(1, code);
        });
    })
}

/// What happens to a set element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ElementChange {
    /// Added without an end.
    Keep,
    /// Added with a lifetime.
    Time(Duration),
    /// Removed; the transaction fails where it is absent or has lapsed.
    Take,
    /// Removed if it is there; refused by kernels before 6.3.
    Destroy,
}

/// Adds one element's change.
pub(super) fn element(
    batch: &mut Batch,
    family: Family,
    set: &str,
    key: &[u8],
    change: ElementChange,
) {
    let (kind, flags) = match change {
        ElementChange::Keep | ElementChange::Time(_) => (NEWSETELEM, CREATE),
        ElementChange::Take => (DELSETELEM, 0),
        ElementChange::Destroy => (DESTROYSETELEM, 0),
    };
    batch.add("a set element", (kind, flags), family, |m| {
        m.name(1, TABLE).name(2, set).nest(3, |list| {
            list.nest(1, |element| {
                element.nest(1, |data| {
                    data.attr(1, key);
                });
                if let ElementChange::Time(life) = change {
                    element.attr(4, &milliseconds(life));
                }
            });
        });
    });
}

/// Lifetimes travel as milliseconds in network order, and are cut down to the kernel's ticks.
fn milliseconds(life: Duration) -> [u8; 8] {
    u64::try_from(life.as_millis())
        .expect("lives are bounded")
        .to_be_bytes()
}
