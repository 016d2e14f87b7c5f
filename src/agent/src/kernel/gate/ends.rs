//! The two maps that the gate's programs read: which place an address has, and the ends in those places.
//!
//! Ends are written through mapped memory, in place: a program sees the old end or the new one and never that of
//! another address. One thread writes. Place 0 holds the soonest of all ends, for frames that cannot be read; it
//! is lowered before and raised after what it stands for. Decides nothing about when an address may be open.

use super::NoGate;
use super::bpf;
use super::home::Home;
use super::program::{ENDS, PLACES};
use super::soonest::Soonest;
use haft_engine::clock::Moment;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Addresses that fit.
pub const ADDRESSES_MAX: u32 = 65_536;
/// Places, the soonest's included.
const PLACES_MAX: u32 = ADDRESSES_MAX + 1;
/// Closed whatever the clock says.
const CLOSED: Moment = Moment(0);
/// No address stands, so nothing is closed.
const NEVER: Moment = Moment(u64::MAX);

/// The maps and what stands in them.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) places: OwnedFd,
    pub(super) ends: OwnedFd,
    memory: Memory,
    taken: BTreeMap<IpAddr, Taken>,
    /// Of the places taken, as they were written here: somebody else may have written into the map meanwhile.
    soonest: Soonest,
    /// Places given back, the longest-free first: a program that still runs may have read one a moment ago.
    free: VecDeque<u32>,
    untouched: u32,
}

/// The place of an address, and the end that was last written there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Taken {
    place: u32,
    end: Moment,
}

/// The map of ends in this process's memory.
#[derive(Debug)]
struct Memory {
    first: NonNull<AtomicU64>,
}

/// Of the whole map; the kernel rounds up to pages on both sides.
const BYTES: usize = PLACES_MAX as usize * size_of::<u64>();

#[expect(
    unsafe_code,
    reason = "the memory is the kernel's, and one thread at a time has it"
)]
// SAFETY: the mapping belongs to the process and stays where it is; all access is by atomics.
unsafe impl Send for Memory {}

#[expect(unsafe_code, reason = "mmap and what it returns have no safe wrapper")]
impl Memory {
    fn of(map: &OwnedFd) -> io::Result<Memory> {
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(address.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Memory { first })
    }

    fn end(&self, place: u32) -> &AtomicU64 {
        assert!(place < PLACES_MAX, "a place within the map");
        // SAFETY: within the mapping by the assertion, aligned because the kernel maps pages, and mapped for as
        // long as `self` lives; programs only read it, in whole words.
        unsafe { self.first.add(place as usize).as_ref() }
    }
}

#[expect(unsafe_code, reason = "munmap has no safe wrapper")]
impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly what `of` has mapped, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.first.as_ptr().cast(), BYTES) };
    }
}

/// An address as the programs look it up.
pub(super) fn key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn address(key: [u8; 16]) -> IpAddr {
    IpAddr::from(key).to_canonical()
}

impl Ends {
    /// The maps pinned at home, with every inherited end closed; new ones where there are none.
    pub(super) fn open(home: &Home) -> Result<Ends, NoGate> {
        let places = map(home, PLACES, || {
            bpf::create_map("haft_places", bpf::HASH, (16, 4), ADDRESSES_MAX, 0)
        })?;
        let ends = map(home, ENDS, || {
            bpf::create_map("haft_ends", bpf::ARRAY, (4, 8), PLACES_MAX, bpf::MMAPABLE)
        })?;
        let memory = Memory::of(&ends).map_err(NoGate::Map)?;
        for place in 0..PLACES_MAX {
            memory.end(place).store(CLOSED.0, Ordering::SeqCst);
        }
        let mut taken = BTreeMap::new();
        let mut at = None;
        while let Some(key) = bpf::next_key(&places, at.as_ref()).map_err(NoGate::Map)? {
            let place = bpf::lookup(&places, &key).map_err(NoGate::Map)?;
            taken.insert(address(key), Taken { place, end: CLOSED });
            at = Some(key);
        }
        let used: BTreeSet<u32> = taken.values().map(|taken| taken.place).collect();
        let untouched = used.last().map_or(1, |last| last + 1);
        let free = (1..untouched)
            .filter(|place| !used.contains(place))
            .collect();
        let mut soonest = Soonest::default();
        taken.values().for_each(|_| soonest.add(CLOSED));
        let ends = Ends {
            places,
            ends,
            memory,
            taken,
            soonest,
            free,
            untouched,
        };
        ends.sum_up();
        Ok(ends)
    }

    /// Every address that stands.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.taken.keys().copied()
    }

    /// Whether this one stands.
    pub(super) fn stands(&self, address: IpAddr) -> bool {
        self.taken.contains_key(&address)
    }

    /// Closes an address, which stands from here on.
    ///
    /// # Errors
    /// When there is no room: the address must not be used then.
    pub(super) fn close(&mut self, address: IpAddr) -> io::Result<()> {
        if self.stands(address) {
            self.store(0, CLOSED);
            self.replace(address, CLOSED);
            return Ok(());
        }
        let place = match self.untouched {
            next if next < PLACES_MAX => {
                self.untouched += 1;
                next
            }
            _ => self.free.pop_front().ok_or(io::ErrorKind::StorageFull)?,
        };
        self.store(0, CLOSED);
        self.store(place, CLOSED);
        if let Err(error) = bpf::update(&self.places, &key(address), place) {
            self.free.push_back(place);
            self.sum_up();
            return Err(error);
        }
        self.taken.insert(address, Taken { place, end: CLOSED });
        self.soonest.add(CLOSED);
        Ok(())
    }

    /// The addresses that stand among these are open until `end`, each by its own; false if one does not stand.
    pub(super) fn renew(&mut self, addresses: &[IpAddr], end: Moment) -> bool {
        let soonest = self.memory.end(0).load(Ordering::SeqCst);
        self.store(0, Moment(soonest.min(end.0)));
        let mut all = true;
        for address in addresses {
            all &= self.stands(*address);
            self.replace(*address, end);
        }
        self.sum_up();
        all
    }

    /// The address is not ours any more. To be called when it is gone from every interface.
    pub(super) fn forget(&mut self, address: IpAddr) -> io::Result<()> {
        let Some(Taken { place, .. }) = self.taken.get(&address).copied() else {
            return Ok(());
        };
        self.replace(address, CLOSED);
        bpf::delete(&self.places, &key(address))?;
        self.taken.remove(&address);
        self.soonest.remove(CLOSED);
        self.free.push_back(place);
        self.sum_up();
        Ok(())
    }

    fn store(&self, place: u32, end: Moment) {
        self.memory.end(place).store(end.0, Ordering::SeqCst);
    }

    /// The end of an address, if it stands.
    fn replace(&mut self, address: IpAddr, end: Moment) {
        let Some(taken) = self.taken.get_mut(&address) else {
            return;
        };
        self.soonest.remove(taken.end);
        self.soonest.add(end);
        taken.end = end;
        let place = taken.place;
        self.store(place, end);
    }

    fn sum_up(&self) {
        self.store(0, self.soonest.end().unwrap_or(NEVER));
    }
}

fn map(
    home: &Home,
    name: &str,
    create: impl Fn() -> io::Result<OwnedFd>,
) -> Result<OwnedFd, NoGate> {
    match bpf::pinned(&home.pin(name)) {
        Ok(map) => Ok(map),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            let map = create().map_err(NoGate::Map)?;
            bpf::pin(&home.pin(name), &map).map_err(NoGate::Map)?;
            Ok(map)
        }
        Err(error) => Err(NoGate::Map(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Ends {
        /// As with bpftool, where the address stands.
        pub(in crate::kernel::gate) fn written_by_another(&self, address: IpAddr, end: Moment) {
            if let Some(taken) = self.taken.get(&address) {
                self.store(taken.place, end);
            }
        }

        /// Place 0, and the soonest of what stands as the programs read it.
        pub(in crate::kernel::gate) fn soonest_told_and_true(&self) -> (u64, u64) {
            let end = |place| self.memory.end(place).load(Ordering::SeqCst);
            let ends = self.taken.values().map(|taken| end(taken.place));
            (end(0), ends.min().unwrap_or(NEVER.0))
        }
    }
}
