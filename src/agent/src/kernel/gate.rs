//! The gate: a lease end that the kernel itself keeps, on every link, whatever becomes of this process.
//!
//! A tc program (`gate/gate.bpf.c`) before all others on each link compares every packet with its address's end
//! on the clock that counts suspend. Its links and maps are pinned in the machine's bpf file system: neither a
//! flush of the packet filter nor the death of the agent opens anything, and an end written late is an end in the
//! past. What an address may be told is decided in haft-engine; this module writes it and looks after the links.
//!
//! Where the kernel has no tcx links (before 6.6) the same programs are filters of clsact qdiscs (`hooked`): worth
//! less once the agent is dead, and attested so. Absent where there is no BPF for us (a user namespace, lockdown), or
//! no bpf file system of the machine: [`Gate::open`] says why, and the guard's timed elements stand instead.
//! What would pass it unseen is looked for, and carries nothing: XDP programs, hardware that forwards, IPsec without an
//! interface. What somebody sends past every queue and hook by its own socket is not seen (docs/isolation.md).

mod bpf;
mod ends;
mod filters;
mod home;
mod hooked;
mod links;
mod offload;
mod program;
mod soonest;
mod tunnels;
mod upkeep;

#[cfg(test)]
mod tests;

pub use ends::ADDRESSES_MAX;
pub use home::{Home, Lasts};
pub use links::Ungated;
pub use upkeep::Tended;

use super::clock::boot_now;
use super::link::LinkIndex;
use super::netlink::Port;
use bpf::Way;
use ends::Ends;
use filters::Filters;
use haft_engine::clock::Moment;
use haft_engine::gate::Found;
use haft_engine::machine::Prefix;
use links::Facts;
use netlink_sys::protocols::NETLINK_ROUTE;
use offload::Offload;
use program::{Form, Program, Programs};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use tunnels::Tunnels;
use upkeep::Attached;

/// linux/rtnetlink.h: changes of interfaces.
const RTNLGRP_LINK: u32 = 1;
/// Queueing disciplines, and filters.
const RTNLGRP_TC: u32 = 4;
/// An address that no host has (RFC 7600), for the trial at the start.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// TC_ACT_SHOT and TC_ACT_UNSPEC.
const DROPPED: i32 = 2;
const PASSED: i32 = -1;

/// Why no gate can stand on this machine.
#[derive(Debug, thiserror::Error)]
pub enum NoGate {
    /// The table's words are for little-endian machines.
    #[error("the gate's program is not made for this architecture")]
    Architecture,
    /// Nothing to pin in.
    #[error("no bpf file system is mounted at {}", path.display())]
    NoFileSystem {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// One that ends with the agent's unit.
    #[error(
        "the bpf file system at /sys/fs/bpf is not the one of process 1, and would end with this unit: let the \
         agent see that one"
    )]
    ForeignFileSystem,
    /// The directory of pins.
    #[error("cannot use the gate's directory in the bpf file system")]
    Home(#[source] io::Error),
    /// Its maps.
    #[error("the kernel refused the gate's maps")]
    Map(#[source] io::Error),
    /// Its programs.
    #[error("the kernel refused the gate's program")]
    Program(#[source] io::Error),
    /// Its attachment.
    #[error("the kernel refused the gate on interface {link}: {why}")]
    Attach {
        /// Which.
        link: String,
        /// Its reason.
        why: String,
    },
    /// The list of interfaces.
    #[error("cannot list the interfaces")]
    Links(#[source] io::Error),
    /// This process runs in a time namespace.
    #[error("this process reads another boot clock than the gate: it runs in a time namespace")]
    OtherClock,
    /// It does not do what it is for.
    #[error("the gate's program {0}")]
    Trial(&'static str),
}

/// What keeps the programs on their links, whatever becomes of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Footing {
    /// Pinned links of tcx: nobody takes them off without meaning this gate.
    Pinned,
    /// Filters of clsact qdiscs: gone with the qdisc, which anybody may delete who configures the network.
    Filters,
}

/// Every network namespace's loopback.
const LOOPBACK: u32 = 1;

impl Footing {
    /// The best that this kernel has.
    pub fn of_this_kernel() -> Footing {
        match bpf::first(LOOPBACK, Way::In) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Footing::Filters,
            Ok(_) | Err(_) => Footing::Pinned,
        }
    }

    /// Links that one look puts programs on, or takes them off, beside those that lack one that stood there: with tcx
    /// each takes the kernel a grace period, twice for a link, and a container that starts makes several links.
    fn links_at_once(self) -> usize {
        match self {
            Footing::Pinned => 1,
            Footing::Filters => 64,
        }
    }

    /// Links that one look asks the kernel about, in turn, beside those that carry addresses: a machine with
    /// thousands (containers) would else beat late. A list of filters takes several system calls, one of tcx one.
    fn look_links(self) -> usize {
        match self {
            Footing::Pinned => 256,
            Footing::Filters => 64,
        }
    }
}

/// The gate of one network namespace. Readable (`AsFd`) when a link has changed.
#[derive(Debug)]
pub struct Gate {
    footing: Footing,
    home: Home,
    ends: Ends,
    programs: Programs,
    watch: Port,
    lister: Port,
    filters: Filters,
    offload: Offload,
    tunnels: Tunnels,
    loaded: BTreeMap<(Form, Way), Program>,
    attached: BTreeMap<(u32, Way), Attached>,
    links: BTreeMap<u32, Facts>,
    /// What lies beneath each link.
    beneath: BTreeMap<u32, BTreeSet<u32>>,
    /// What hinders a link by that.
    hindered: BTreeMap<u32, Ungated>,
    carrying: BTreeSet<LinkIndex>,
    refused: BTreeMap<u32, String>,
    /// Links that have come, and get their programs with the next looks.
    coming: BTreeSet<u32>,
    /// Links that have become ports, and are let go of with the next looks.
    leaving: BTreeSet<u32>,
    tended: Moment,
    stale: bool,
    /// The link that was looked at last.
    looked_at: u32,
    /// The link that was asked about last, and the one beneath what carries.
    asked_about: u32,
    asked_beneath: u32,
    /// How often links were read.
    readings: u64,
}

impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl Gate {
    /// Opens the gate of this thread's network namespace on every link. What an earlier agent left is taken
    /// over, each of its addresses closed.
    ///
    /// # Errors
    /// When the gate cannot stand here; nothing is opened by that.
    pub fn open(home: Home) -> Result<Gate, NoGate> {
        Gate::open_on(home, Footing::of_this_kernel())
    }

    /// As [`Gate::open`], on this footing.
    ///
    /// # Errors
    /// As there, and where the kernel does not have it.
    pub fn open_on(home: Home, footing: Footing) -> Result<Gate, NoGate> {
        let ends = Ends::open(&home)?;
        let id = |map: &OwnedFd| bpf::map_id(map).map(|(id, _)| id).map_err(NoGate::Map);
        let mut map_ids = [id(&ends.places)?, id(&ends.ends)?];
        map_ids.sort_unstable();
        let programs = Programs::over(&ends.places, &ends.ends)?;
        let mut loaded = BTreeMap::new();
        for form in [Form::Ether, Form::Bare] {
            for way in Way::BOTH {
                let program = programs.of(form, way)?;
                if program.identity.maps != map_ids {
                    return Err(NoGate::Trial(
                        "reads other maps than those that are renewed",
                    ));
                }
                loaded.insert((form, way), program);
            }
        }
        let watch = Port::open(NETLINK_ROUTE).map_err(NoGate::Links)?;
        for group in [RTNLGRP_LINK, RTNLGRP_TC] {
            watch.subscribe(group).map_err(NoGate::Links)?;
        }
        let mut gate = Gate {
            footing,
            home,
            ends,
            programs,
            watch,
            lister: Port::open(NETLINK_ROUTE).map_err(NoGate::Links)?,
            filters: Filters::open().map_err(NoGate::Links)?,
            offload: Offload::open().map_err(NoGate::Links)?,
            tunnels: Tunnels::open().map_err(NoGate::Links)?,
            loaded,
            attached: BTreeMap::new(),
            links: BTreeMap::new(),
            beneath: BTreeMap::new(),
            hindered: BTreeMap::new(),
            carrying: BTreeSet::new(),
            refused: BTreeMap::new(),
            coming: BTreeSet::new(),
            leaving: BTreeSet::new(),
            tended: Moment(0),
            stale: true,
            looked_at: 0,
            asked_about: 0,
            asked_beneath: 0,
            readings: 0,
        };
        gate.compare_clocks()?;
        gate.try_out()?;
        let left = gate.adopt()?;
        gate.stand_on_every_link(usize::MAX)?;
        left.iter().for_each(upkeep::release);
        // What refuses a pinned link refuses all. A filter may be refused for what somebody has on that link alone,
        // which then carries nothing; loopback is nobody's.
        let refused = match footing {
            Footing::Pinned => gate.refused.pop_first(),
            Footing::Filters => gate.refused.remove_entry(&LOOPBACK),
        };
        match refused {
            Some((index, why)) => Err(NoGate::Attach {
                link: gate
                    .links
                    .get(&index)
                    .map_or_else(String::new, |facts| facts.name.clone()),
                why,
            }),
            None => Ok(gate),
        }
    }

    /// What keeps the programs on their links.
    pub fn footing(&self) -> Footing {
        self.footing
    }

    /// Whether it stands for as long as the machine runs.
    pub fn lasts(&self) -> Lasts {
        self.home.lasts()
    }

    /// What it is worth as evidence while every program is in its place (R3).
    pub fn worth(&self) -> Found {
        match (self.footing, self.lasts()) {
            (Footing::Pinned, Lasts::Proven | Lasts::Stated) if self.stands_everywhere() => {
                Found::Gated
            }
            (
                Footing::Pinned | Footing::Filters,
                Lasts::Proven | Lasts::Stated | Lasts::Unproven,
            ) => Found::Watched,
        }
    }

    /// The addresses that stand, those of an earlier agent included.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ends.addresses()
    }

    /// Whether this address stands, so that it can be told an end.
    pub fn stands(&self, address: IpAddr) -> bool {
        self.ends.stands(address)
    }

    /// Closes an address. To be called before it is put on an interface, and before it is taken from one.
    ///
    /// # Errors
    /// When there is no room for it: it must not be put anywhere then.
    pub fn close(&mut self, address: IpAddr) -> io::Result<()> {
        self.ends.close(address)
    }

    /// Tells the end of each of these addresses, which stand; false if one does not.
    pub fn renew(&mut self, addresses: &[IpAddr], end: Moment) -> bool {
        self.ends.renew(addresses, end)
    }

    /// The address is gone from every interface: it is not ours any more, and passes.
    ///
    /// # Errors
    /// When the kernel refuses: it stays closed.
    pub fn forget(&mut self, address: IpAddr) -> io::Result<()> {
        self.ends.forget(address)
    }

    /// Whether an address on this link would be behind the gate; if not, why.
    ///
    /// # Errors
    /// The reason.
    pub fn carries(&self, link: LinkIndex) -> Result<(), Ungated> {
        let facts = self.links.get(&link.0).ok_or(Ungated::Unknown)?;
        if let Some(why) = self.refused.get(&link.0) {
            return Err(Ungated::Refused { why: why.clone() });
        }
        if self.coming.contains(&link.0) {
            return Err(Ungated::Coming);
        }
        facts.carries()?;
        self.hindered
            .get(&link.0)
            .map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Whether every packet of this address that leaves does so through the gate, on whichever link.
    ///
    /// # Errors
    /// The reason why not.
    pub fn sees(&self, address: IpAddr) -> Result<(), Ungated> {
        match self.tunnels.take(address) {
            true => Err(Ungated::Tunnelled),
            false => Ok(()),
        }
    }

    /// The sources that are not seen, whichever address of theirs it is.
    pub fn unseen(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.tunnels.sources()
    }

    /// Whether the next look is due at once: links have come or become ports, more than one look takes.
    pub fn is_behind(&self) -> bool {
        !self.coming.is_empty() || !self.leaving.is_empty()
    }

    /// How often the links were read: with another number, what [`Gate::report`] says may be another.
    pub fn readings(&self) -> u64 {
        self.readings
    }

    /// The links on which addresses stand now: each look takes them first.
    pub fn carry(&mut self, links: BTreeSet<LinkIndex>) {
        self.carrying = links;
    }

    /// Every link of this namespace by name, and why an address on it would not be behind the gate.
    pub fn report(&self) -> impl Iterator<Item = (&str, Result<(), Ungated>)> {
        self.links
            .values()
            .map(|facts| (facts.name.as_str(), self.carries(LinkIndex(facts.index))))
    }

    /// The links that can carry guarded addresses.
    pub fn gated(&self) -> BTreeSet<LinkIndex> {
        let all = self.links.keys().map(|index| LinkIndex(*index));
        all.filter(|link| self.carries(*link).is_ok()).collect()
    }

    /// Whether every path of an address passes the gate; else the packet filter alone closes some, and a flush
    /// without an agent opens them. A path that queues behind the gate is closed by it, if a little late.
    pub fn stands_everywhere(&self) -> bool {
        self.addresses().all(|address| self.sees(address).is_ok()) && self.links_stand()
    }

    fn links_stand(&self) -> bool {
        self.links
            .values()
            .filter(|facts| facts.speaks())
            .all(|facts| match self.carries(LinkIndex(facts.index)) {
                Ok(()) | Err(Ungated::Queued { .. }) => true,
                Err(
                    Ungated::PortOf { .. }
                    | Ungated::Xdp
                    | Ungated::Offloaded
                    | Ungated::Tunnelled
                    | Ungated::Header { .. }
                    | Ungated::Refused { .. }
                    | Ungated::Coming
                    | Ungated::Unknown,
                ) => false,
            })
    }

    /// The nanoseconds of one run of the egress program over this frame, averaged over `repeat` runs.
    ///
    /// # Errors
    /// When the kernel refuses the run.
    pub fn cost(&self, frame: &[u8], repeat: u32) -> io::Result<u32> {
        let program = &self.loaded[&(Form::Ether, Way::Out)];
        bpf::test_run(&program.fd, frame, repeat).map(|ran| ran.nanos)
    }

    /// The kernel's clock in a program ignores time namespaces, this process's does not.
    fn compare_clocks(&self) -> Result<(), NoGate> {
        let clock = self.programs.clock()?;
        let before = boot_now();
        let ran = bpf::test_run(&clock.fd, &[0; 64], 1).map_err(NoGate::Program)?;
        let after = boot_now();
        let told = ran.frame.get(..8).and_then(|bytes| bytes.try_into().ok());
        let told = told
            .map(u64::from_ne_bytes)
            .ok_or(NoGate::Trial("tells no clock"))?;
        if (before.0..=after.0).contains(&told) {
            Ok(())
        } else {
            Err(NoGate::OtherClock)
        }
    }

    /// Whether a claim is dropped when its address is closed, and passes while it is open.
    fn try_out(&mut self) -> Result<(), NoGate> {
        let nobody = IpAddr::V4(NOBODY);
        let claim = claim_of(NOBODY);
        self.ends.close(nobody).map_err(NoGate::Map)?;
        let program = &self.loaded[&(Form::Ether, Way::Out)];
        let verdict = || bpf::test_run(&program.fd, &claim, 1).map_err(NoGate::Program);
        let closed = verdict()?.answer;
        self.ends.renew(&[nobody], Moment(u64::MAX));
        let open = verdict()?.answer;
        self.ends.forget(nobody).map_err(NoGate::Map)?;
        match (closed, open) {
            (DROPPED, PASSED) => Ok(()),
            (DROPPED, _) => Err(NoGate::Trial("drops what is open")),
            (_, _) => Err(NoGate::Trial("passes what is closed")),
        }
    }
}

/// The addresses that a dead agent left behind its pinned gate, each of them closed from here on.
///
/// # Errors
/// When its maps cannot be read.
pub fn left(home: &Home) -> Result<BTreeSet<IpAddr>, NoGate> {
    let maps = pinned_maps(home)?;
    Ok(maps.iter().flat_map(Ends::addresses).collect())
}

/// Lets go of one of them. To be called when it is gone from every interface.
///
/// # Errors
/// When it stays.
pub fn let_go(home: &Home, address: IpAddr) -> Result<(), NoGate> {
    match pinned_maps(home)? {
        Some(mut ends) => ends.forget(address).map_err(NoGate::Map),
        None => Ok(()),
    }
}

/// Whether a gate is pinned there, a living agent's or a dead one's. Touches nothing.
///
/// # Errors
/// When the directory cannot be read.
pub fn is_left(home: &Home) -> Result<bool, NoGate> {
    let pins = home.pins().map_err(NoGate::Home)?;
    Ok(pins.iter().any(|pin| pin == program::PLACES))
}

fn pinned_maps(home: &Home) -> Result<Option<Ends>, NoGate> {
    is_left(home)?.then(|| Ends::open(home)).transpose()
}

/// Takes a gate away, whoever opened it: what it closed passes. To be called when no address is left, in the gate's
/// network namespace.
///
/// # Errors
/// When a pin stays.
pub fn take_away(home: &Home) -> io::Result<()> {
    take_filters_away()?;
    home.clear(&[program::PLACES, program::ENDS])
}

/// Takes away what stands of a gate without any pin: filters, in this thread's network namespace. To be called when
/// no address is left.
///
/// # Errors
/// When a filter stays.
pub fn take_filters_away() -> io::Result<()> {
    hooked::unhook_everywhere()
}

/// An ARP request by which `address` claims itself.
fn claim_of(address: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame.resize(60, 0);
    frame
}
