//! Filters of a link's clsact qdisc, as little of tc's rtnetlink as the gate needs (linux/pkt_sched.h, pkt_cls.h).
//!
//! Ours are direct-action BPF filters at the lowest preference, under handles of their own. A qdisc that is there is
//! used, whoever made it; none is ever removed. Knows nothing of programs, addresses or what comes of a filter.

use super::bpf::Way;
use crate::kernel::link::LINK_HEADER;
use crate::kernel::netlink::{self, Message, Messages, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP};
use crate::kernel::netlink::{NLM_F_EXCL, Port};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

// linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAGS_GEN: u16 = 9;
const TCA_BPF_ID: u16 = 11;

/// TC_H_CLSACT, and the only handle that such a qdisc can have.
const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const BPF: &str = "bpf";
/// TCA_BPF_FLAG_ACT_DIRECT: what the program returns is the verdict, and TC_ACT_UNSPEC goes on to the next filter.
const DIRECT: u32 = 1;
/// TCA_CLS_FLAGS_SKIP_HW: never handed to the hardware.
const NOT_OFFLOADED: u32 = 1;
/// The lowest preference that a filter can have, in the upper half of `tcm_info`; ETH_P_ALL in network order below.
const FIRST: u32 = 1 << 16 | 0x0300;
/// `struct tcmsg`.
const HEADER: usize = 20;
const DUMP_ATTEMPTS: usize = 8;
/// What the programs' names begin with.
pub(super) const NAME: &str = "haft_";

/// Which of the two filters that may be ours on one link and way: a new one stands before the old one goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handle {
    One,
    Other,
}

impl Handle {
    const BOTH: [Handle; 2] = [Handle::One, Handle::Other];

    fn number(self) -> u32 {
        match self {
            Handle::One => 0x6861_6674,
            Handle::Other => 0x6861_6675,
        }
    }

    pub(super) fn next(self) -> Handle {
        match self {
            Handle::One => Handle::Other,
            Handle::Other => Handle::One,
        }
    }
}

/// Where a filter goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Placing {
    /// Before all others of its preference; there must be none under its handle.
    First,
    /// In the place of the one under its handle, with no moment between.
    Over,
}

/// One filter as the kernel lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Filter {
    handle: u32,
    info: u32,
    chain: u32,
    kind: String,
    name: String,
    direct: bool,
    /// Id of its BPF program.
    pub(super) program: Option<u32>,
}

impl Filter {
    /// From the body of an RTM_NEWTFILTER message; nothing for the heads that the kernel lists between filters.
    fn parse(body: &[u8]) -> Option<Filter> {
        let attributes = body.get(HEADER..)?;
        let handle = netlink::u32_at(body, 8)?;
        let options = netlink::find(attributes, TCA_OPTIONS).unwrap_or(&[]);
        if handle == 0 {
            return None;
        }
        let number =
            |kind| netlink::find(options, kind).and_then(|bytes| netlink::u32_at(bytes, 0));
        Some(Filter {
            handle,
            info: netlink::u32_at(body, 16)?,
            chain: netlink::find(attributes, TCA_CHAIN)
                .and_then(|bytes| netlink::u32_at(bytes, 0))
                .unwrap_or(0),
            kind: netlink::find(attributes, TCA_KIND)
                .map(netlink::text)
                .unwrap_or_default(),
            name: netlink::find(options, TCA_BPF_NAME)
                .map(netlink::text)
                .unwrap_or_default(),
            direct: number(TCA_BPF_FLAGS).is_some_and(|flags| flags & DIRECT != 0),
            program: number(TCA_BPF_ID),
        })
    }

    /// Which of ours it is, if it is one.
    pub(super) fn ours(&self) -> Option<Handle> {
        let handle = Handle::BOTH
            .into_iter()
            .find(|ours| ours.number() == self.handle)?;
        let alike = self.kind == BPF && self.info == FIRST && self.chain == 0 && self.direct;
        (alike && self.name.starts_with(NAME)).then_some(handle)
    }
}

/// Asks and tells the kernel of one network namespace.
#[derive(Debug)]
pub(super) struct Filters {
    port: Port,
}

impl Filters {
    /// In this thread's network namespace.
    pub(super) fn open() -> io::Result<Filters> {
        Ok(Filters {
            port: Port::open(NETLINK_ROUTE)?,
        })
    }

    /// The filters of a link in the order in which packets meet them; none where the link is gone.
    pub(super) fn on(&mut self, link: u32, way: Way) -> io::Result<Vec<Filter>> {
        let mut request = Messages::default();
        request
            .begin(RTM_GETTFILTER, NLM_F_DUMP, 1)
            .fixed(&header(link, 0, parent(way), 0))
            .finish();
        self.dump(&request, |message| {
            (message.kind == RTM_NEWTFILTER)
                .then(|| Filter::parse(message.body))
                .flatten()
        })
    }

    /// Every link of the namespace.
    pub(super) fn links(&mut self) -> io::Result<Vec<u32>> {
        let mut request = Messages::default();
        request
            .begin(RTM_GETLINK, NLM_F_DUMP, 1)
            .fixed(&[0; LINK_HEADER])
            .finish();
        self.dump(&request, |message| {
            (message.kind == RTM_NEWLINK)
                .then(|| netlink::u32_at(message.body, 4))
                .flatten()
        })
    }

    /// Whether this link is there.
    pub(super) fn is_there(&mut self, link: u32) -> io::Result<bool> {
        let mut about = [0; LINK_HEADER];
        about[4..8].copy_from_slice(&link.to_ne_bytes());
        let mut request = Messages::default();
        request
            .begin(RTM_GETLINK, NLM_F_ACK, 1)
            .fixed(&about)
            .finish();
        Ok(self.port.request(&request)? == 0)
    }

    /// Sees to a place for filters on a link. Somebody else's is as good.
    ///
    /// # Errors
    /// The kernel's: ENODEV where the link is gone.
    pub(super) fn make_room(&mut self, link: u32) -> io::Result<()> {
        let mut request = Messages::default();
        request
            .begin(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 1)
            .fixed(&header(link, CLSACT_HANDLE, CLSACT_PARENT, 0))
            .name(TCA_KIND, "clsact")
            .finish();
        self.told(&request, &[libc::EEXIST])
    }

    /// Puts a direct-action program on a link.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn put(
        &mut self,
        (link, way): (u32, Way),
        handle: Handle,
        placing: Placing,
        (program, name): (&OwnedFd, &str),
    ) -> io::Result<()> {
        let fd = u32::try_from(program.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let flags = match placing {
            Placing::First => NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
            Placing::Over => NLM_F_ACK,
        };
        let mut request = Messages::default();
        request
            .begin(RTM_NEWTFILTER, flags, 1)
            .fixed(&header(link, handle.number(), parent(way), FIRST))
            .name(TCA_KIND, BPF)
            .nest(TCA_OPTIONS, |options| {
                options
                    .attr(TCA_BPF_FD, &fd.to_ne_bytes())
                    .name(TCA_BPF_NAME, name)
                    .attr(TCA_BPF_FLAGS, &DIRECT.to_ne_bytes())
                    .attr(TCA_BPF_FLAGS_GEN, &NOT_OFFLOADED.to_ne_bytes());
            })
            .finish();
        self.told(&request, &[])
    }

    /// Removes one of ours; absence, of the link too, is success.
    ///
    /// # Errors
    /// The kernel's: it stays.
    pub(super) fn remove(&mut self, link: u32, way: Way, handle: Handle) -> io::Result<()> {
        let mut request = Messages::default();
        request
            .begin(RTM_DELTFILTER, NLM_F_ACK, 1)
            .fixed(&header(link, handle.number(), parent(way), FIRST))
            .name(TCA_KIND, BPF)
            .finish();
        self.told(&request, &[libc::ENOENT, libc::ENODEV, libc::EINVAL])
    }

    fn told(&mut self, request: &Messages, fine: &[i32]) -> io::Result<()> {
        match self.port.request(request)? {
            0 => Ok(()),
            code if fine.contains(&code) => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    fn dump<T>(
        &mut self,
        request: &Messages,
        read: impl Fn(Message<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut last = 0;
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            last = self
                .port
                .dump(request, |message| found.extend(read(message)))?;
            match last {
                0 => return Ok(found),
                libc::EINTR | libc::ENOBUFS => {}
                _ => break,
            }
        }
        Err(io::Error::from_raw_os_error(last))
    }
}

fn parent(way: Way) -> u32 {
    match way {
        Way::In => 0xffff_fff2,
        Way::Out => 0xffff_fff3,
    }
}

fn header(link: u32, handle: u32, parent: u32, info: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    for (place, number) in [(4, link), (8, handle), (12, parent), (16, info)] {
        header[place..place + 4].copy_from_slice(&number.to_ne_bytes());
    }
    header
}
