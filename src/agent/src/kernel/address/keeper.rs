//! Keeps addresses where they belong: what somebody else removes is put back at once.
//!
//! Remembers what should be there and for how long. Does not renew a lifetime by itself: only a
//! new [`Keeper::keep`], which the caller makes while its lease is good, moves the end.

use super::super::link::LinkIndex;
use super::{
    Addresses, Change, OpenAddressesError, ReadKernelError, Removal, Watch, WriteAddressError,
};
use haft_engine::clock::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// How long an address is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Term {
    /// When the caller decided.
    pub now: Moment,
    /// The lifetime that the kernel counts down from here; whole seconds.
    pub valid: Duration,
    /// The end of the lease: after it nothing is restored, also by an agent that was stopped and
    /// finds the removals of a former life in its queue.
    pub until: Moment,
}

/// Why an address could not be kept.
pub type KeepError = WriteAddressError;
/// What forgetting an address found.
pub type Removed = Removal;

#[derive(Debug)]
struct Kept {
    link: LinkIndex,
    ends: Moment,
    until: Moment,
}

/// What one look at the kernel's reports led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tended {
    /// Put back just now.
    pub restored: Vec<IpAddr>,
    /// Still missing: the interface is gone or down, or too little of the lifetime is left.
    pub missing: Vec<IpAddr>,
    /// Interface changes and losses of reports, for the caller to act on.
    pub links: Vec<Change>,
}

/// Addresses that are to stay, with the means to see and mend their loss. Readable (`AsFd`) when
/// [`Keeper::tend`] has something to look at.
#[derive(Debug)]
pub struct Keeper {
    addresses: Addresses,
    watch: Watch,
    kept: BTreeMap<IpAddr, Kept>,
    missing: BTreeSet<IpAddr>,
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl Keeper {
    /// Opens both sockets in this thread's namespace; keeps nothing yet.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in the namespace's user namespace.
    pub fn open() -> Result<Keeper, OpenAddressesError> {
        Ok(Keeper {
            addresses: Addresses::open()?,
            watch: Watch::open()?,
            kept: BTreeMap::new(),
            missing: BTreeSet::new(),
        })
    }

    /// The request side, for reading interfaces and leftovers.
    pub fn addresses(&mut self) -> &mut Addresses {
        &mut self.addresses
    }

    /// Puts an address on an interface, or renews its lifetime, and remembers it.
    ///
    /// # Errors
    /// When the kernel refuses; the address is remembered all the same and tried again by
    /// [`Keeper::tend`].
    pub fn keep(&mut self, address: IpAddr, link: LinkIndex, term: Term) -> Result<(), KeepError> {
        let kept = Kept {
            link,
            ends: term.now + term.valid,
            until: term.until,
        };
        self.kept.insert(address, kept);
        let put = self.addresses.put(address, link, term.valid);
        match put {
            Ok(()) => self.missing.remove(&address),
            Err(_) => self.missing.insert(address),
        };
        put
    }

    /// Removes an address and restores it no more.
    ///
    /// # Errors
    /// When the kernel refuses or does not answer; it is not restored in either case.
    pub fn forget(&mut self, address: IpAddr) -> Result<Removed, WriteAddressError> {
        self.missing.remove(&address);
        match self.kept.remove(&address) {
            Some(kept) => self.addresses.remove(address, kept.link),
            None => Ok(Removal::WasAbsent),
        }
    }

    /// Reads the kernel's reports and puts back what is missing and still wanted at `now`.
    ///
    /// # Errors
    /// When the reports or the kernel's list cannot be read.
    pub fn tend(&mut self, now: Moment) -> Result<Tended, ReadKernelError> {
        let mut tended = Tended::default();
        // Reports are hints: after a loss of reports older ones still wait behind it, and our own
        // removals are among them. What is missing is asked of the kernel.
        let mut suspicious = false;
        for change in self.watch.read()? {
            match change {
                Change::AddressGone { address, .. } => {
                    suspicious |= self.kept.contains_key(&address);
                }
                Change::AddressSeen { .. } => {}
                Change::Link(_) | Change::LinkGone(_) => tended.links.push(change),
                Change::Resync => {
                    suspicious = true;
                    let links = self.addresses.links()?;
                    tended.links.push(Change::Resync);
                    tended.links.extend(links.into_iter().map(Change::Link));
                }
            }
        }
        if suspicious {
            self.compare_everything()?;
        }
        for address in std::mem::take(&mut self.missing) {
            if self.restore(address, now) {
                tended.restored.push(address);
            } else {
                self.missing.insert(address);
                tended.missing.push(address);
            }
        }
        Ok(tended)
    }

    fn compare_everything(&mut self) -> Result<(), ReadKernelError> {
        let present: BTreeSet<(IpAddr, LinkIndex)> = self
            .addresses
            .all()?
            .into_iter()
            .map(|found| (found.address, found.link))
            .collect();
        self.missing = self
            .kept
            .iter()
            .filter(|(address, kept)| !present.contains(&(**address, kept.link)))
            .map(|(address, _)| *address)
            .collect();
        Ok(())
    }

    /// Puts one address back for what is left of its lifetime, in whole seconds rounded down: a
    /// restoration must not push the backstop further out than the last decision did.
    fn restore(&mut self, address: IpAddr, now: Moment) -> bool {
        let Some(kept) = self.kept.get(&address) else {
            return false;
        };
        let left = Duration::from_secs(kept.ends.since(now).as_secs());
        if now >= kept.until || left.is_zero() {
            return false;
        }
        self.addresses.put(address, kept.link, left).is_ok()
    }
}
