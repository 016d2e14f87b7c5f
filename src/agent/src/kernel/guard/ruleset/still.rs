//! The guard as a second, static layer behind the gate: its rules as values.
//!
//! A managed address passes only on links in the set `gated`; what is not gated is closed. No element here has a
//! lifetime: ends are the gate's. A claim by another machine passes, as it does in the timed rules.

use super::{
    ADVERTISEMENT, ARP_IN, ARP_OUT, ARP_SENDER, ARP_TARGET, Accept, Chain, DESTINATION4,
    DESTINATION6, Drop, FIRST, Family, GATED, ICMPV6, IIF, IPV4, IPV6, L4PROTO, LAST, LOCAL_IN,
    LOCAL_OUT, M4, M6, Meta, NFPROTO, NotIn, POST_ROUTING, PRE_ROUTING, Rule, SOLICITATION,
    SOURCE4, SOURCE6, Step, Transport,
};

/// nft_meta_keys: the outgoing interface's index.
const OIF: Step = Meta(5);
const UNGATED: Step = NotIn(GATED);

pub(super) const CHAINS: [Chain; 6] = [
    (Family::Inet, "prerouting", PRE_ROUTING, FIRST, ARRIVING),
    (Family::Inet, "input", LOCAL_IN, FIRST, ARRIVING),
    (Family::Inet, "output", LOCAL_OUT, FIRST, LEAVING),
    (Family::Inet, "postrouting", POST_ROUTING, LAST, LEAVING),
    (Family::Arp, "input", ARP_IN, FIRST, ARP_ARRIVING),
    (Family::Arp, "output", ARP_OUT, FIRST, ARP_LEAVING),
];

const ARRIVING: &[Rule] = &[
    &[NFPROTO, IPV4, DESTINATION4, M4, IIF, UNGATED, Drop],
    &[NFPROTO, IPV6, DESTINATION6, M6, IIF, UNGATED, Drop],
    &[
        NFPROTO,
        IPV6,
        L4PROTO,
        ICMPV6,
        Transport(0, 1),
        SOLICITATION,
        Transport(8, 16),
        M6,
        IIF,
        UNGATED,
        Drop,
    ],
];
const LEAVING: &[Rule] = &[
    &[NFPROTO, IPV4, SOURCE4, M4, OIF, UNGATED, Drop],
    &[NFPROTO, IPV6, SOURCE6, M6, OIF, UNGATED, Drop],
    &[
        NFPROTO,
        IPV6,
        L4PROTO,
        ICMPV6,
        Transport(0, 1),
        ADVERTISEMENT,
        Transport(8, 16),
        M6,
        OIF,
        UNGATED,
        Drop,
    ],
];
const ARP_ARRIVING: &[Rule] = &[
    &[ARP_SENDER, M4, Accept],
    &[ARP_TARGET, M4, IIF, UNGATED, Drop],
];
const ARP_LEAVING: &[Rule] = &[&[ARP_SENDER, M4, OIF, UNGATED, Drop]];
