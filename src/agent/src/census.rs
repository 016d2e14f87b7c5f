//! What this machine's kernel has, looked at by a thread of its own and handed on whenever it changes.
//!
//! Follows the kernel's reports, many of them with one look; interfaces are also looked at by the clock, since
//! nobody is told when a sysctl switches IPv6 off. Addresses of ours are left out. Judges nothing.

use crate::chain;
use crate::kernel::address::{
    Addresses, Census, Change, Marks, OpenAddressesError, Origin, ReadKernelError, Watch,
};
use crate::kernel::clock::boot_now;
use crate::kernel::interface::Interface;
use crate::kernel::link::{Carrier as LinkCarrier, LinkIndex};
use haft_api::convert::machine_into;
use haft_api::pb::v1;
use haft_engine::clock::Moment;
use haft_engine::keeper::Carrier;
use haft_engine::machine::{
    ADDRESSES_MAX, Carries, Extent, Foreign, LINKS_MAX, Link, Machine, NAME_MAX, NAMES_MAX, WHY_MAX,
};
use haft_engine::text::bounded;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks at the interfaces when nothing is reported.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at the most: what happens meanwhile is seen with one.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Why this machine cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CensusError {
    /// No rtnetlink.
    #[error(transparent)]
    Open(#[from] OpenAddressesError),
    /// The first look failed.
    #[error(transparent)]
    Read(#[from] ReadKernelError),
    /// No thread.
    #[error("cannot start a thread")]
    Thread(#[from] io::Error),
}

/// The newest report.
pub type Sight = watch::Receiver<v1::Machine>;

/// Looks for the first time, in this thread's network namespace, and goes on looking in a thread of its own
/// until nobody wants the reports any more.
///
/// # Errors
/// When the kernel cannot be read.
pub fn start() -> Result<Sight, CensusError> {
    let mut look = Look::open()?;
    let (sender, sight) = watch::channel(look.report());
    std::thread::Builder::new()
        .name("haft-census".to_owned())
        .spawn(move || {
            while !sender.is_closed() {
                match look.again() {
                    Ok(report) => {
                        sender.send_if_modified(|last| {
                            let news = !is_same(last, &report);
                            if news {
                                *last = report;
                            }
                            news
                        });
                    }
                    Err(error) => {
                        tracing::warn!(err = chain(&error), "cannot look at this machine");
                        std::thread::sleep(LOOK_EVERY);
                    }
                }
            }
        })?;
    Ok(sight)
}

/// Whether two reports say the same, whenever they were taken.
fn is_same(earlier: &v1::Machine, later: &v1::Machine) -> bool {
    earlier.links == later.links
        && earlier.addresses == later.addresses
        && earlier.partial == later.partial
}

#[derive(Debug)]
struct Look {
    watch: Watch,
    addresses: Addresses,
    census: Census,
    interfaces: Vec<Interface>,
    /// When these were listed.
    listed: Moment,
    taken_ns: u64,
    extent: Extent,
}

impl Look {
    fn open() -> Result<Look, CensusError> {
        // First, so that nothing is missed between the list and the reports.
        let watch = Watch::open()?;
        let mut addresses = Addresses::open()?;
        let mut census = Census::new(Marks::of_this_kernel());
        census.replace(addresses.all()?);
        let interfaces = addresses.interfaces()?;
        Ok(Look {
            watch,
            addresses,
            census,
            interfaces,
            listed: boot_now(),
            taken_ns: boot_now().0,
            extent: Extent::All,
        })
    }

    /// Waits for a change, or for the next look by the clock.
    fn again(&mut self) -> Result<v1::Machine, ReadKernelError> {
        wait(&self.watch, LOOK_EVERY);
        let now = boot_now();
        self.taken_ns = now.0;
        let mut lost = false;
        let mut links = now >= self.listed + LOOK_EVERY;
        loop {
            let changes = self.watch.read()?;
            if changes.is_empty() {
                break;
            }
            for change in changes {
                match change {
                    Change::AddressSeen(found) => self.census.seen(found),
                    Change::AddressGone(found) => self.census.gone(&found),
                    Change::LinkGone(link) => {
                        self.census.link_gone(link);
                        links = true;
                    }
                    Change::Link(_) => links = true,
                    Change::Resync => lost = true,
                }
            }
        }
        if lost {
            self.census.replace(self.addresses.all()?);
        }
        if lost || links {
            self.interfaces = self.addresses.interfaces()?;
            self.listed = now;
        }
        let report = self.report();
        // What happens in the meantime waits in the socket.
        std::thread::sleep(LOOK_PAUSE);
        Ok(report)
    }

    fn report(&mut self) -> v1::Machine {
        let names: BTreeMap<LinkIndex, &str> = self
            .interfaces
            .iter()
            .map(|found| (found.link.index, found.link.name.as_str()))
            .collect();
        let mut foreign: Vec<(IpAddr, Foreign)> = self
            .census
            .all()
            .filter(|found| {
                found.origin(self.census.marks()) == Origin::Foreign && !found.address.is_loopback()
            })
            .filter_map(|found| {
                let link = (*names.get(&found.link)?).to_owned();
                let prefix = found.prefix;
                Some((found.address, Foreign { link, prefix }))
            })
            .collect();
        let addresses = foreign.len();
        foreign.truncate(ADDRESSES_MAX);
        let links = self.interfaces.iter().take(LINKS_MAX).map(link).collect();
        self.tell_extent(addresses);
        v1::Machine {
            partial: self.extent == Extent::Part,
            ..machine_into(self.taken_ns, links, foreign)
        }
    }

    /// Says in the log when there is more than a report may hold, and when there is not any more.
    fn tell_extent(&mut self, addresses: usize) {
        let interfaces = self.interfaces.len();
        let extent = match Machine::holds(interfaces, addresses) {
            Ok(()) => Extent::All,
            Err(_) => Extent::Part,
        };
        match (std::mem::replace(&mut self.extent, extent), extent) {
            (Extent::All, Extent::Part) => tracing::warn!(
                addresses,
                interfaces,
                "the cluster is told of {ADDRESSES_MAX} addresses and {LINKS_MAX} interfaces; what is beyond is not seen"
            ),
            (Extent::Part, Extent::All) => {
                tracing::info!("the cluster is told of all addresses and interfaces again");
            }
            (Extent::All, Extent::All) | (Extent::Part, Extent::Part) => {}
        }
    }
}

fn link(interface: &Interface) -> Link {
    let own = std::iter::once(&interface.link.name);
    let names = own.chain(&interface.altnames);
    let any_ipv6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    Link {
        names: names
            .filter(|name| name.len() <= NAME_MAX)
            .take(NAMES_MAX)
            .cloned()
            .collect(),
        carrier: match interface.link.carrier {
            LinkCarrier::Up => Carrier::Up,
            LinkCarrier::Down => Carrier::Down,
        },
        carries: match interface.refusal(any_ipv6) {
            Some(why) => Carries::NoIpv6(bounded(&why, WHY_MAX)),
            None => Carries::Any,
        },
    }
}

fn wait(watch: &Watch, span: Duration) {
    let timeout = Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(span.subsec_nanos()),
    };
    let mut descriptors = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
    if let Err(error) = poll(&mut descriptors, Some(&timeout))
        && error != rustix::io::Errno::INTR
    {
        tracing::error!(err = chain(&error), "poll failed");
        std::thread::sleep(span);
    }
}
