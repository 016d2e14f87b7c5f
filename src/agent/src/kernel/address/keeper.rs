//! Keeps addresses where they belong: what somebody else removes is put back at once.
//!
//! Remembers what should be there and for how long, and what else there is. Does not renew a lifetime by
//! itself: only a new [`Keeper::keep`], which the caller makes while its lease is good, moves the end. What
//! somebody else has put on the machine is left alone, and keeps ours from being added beside it (R13).

use super::super::link::LinkIndex;
use super::{
    Addresses, Assigned, Census, Change, Marks, OpenAddressesError, Origin, ReadKernelError,
    Removal, Watch, WriteAddressError, host_prefix,
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forgotten {
    /// What became of ours.
    pub removal: Removal,
    /// Copies that somebody else made, which stay.
    pub foreign: Vec<Assigned>,
}

#[derive(Debug)]
struct Kept {
    link: LinkIndex,
    ends: Moment,
    until: Moment,
}

/// The end of what is no longer wanted, and whose removal has not succeeded yet.
const FORGOTTEN: Moment = Moment(0);

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

/// Interface changes that may wait for [`Keeper::tend`]; more count as a loss of reports.
const CHANGES_MAX: usize = 1_024;
/// Reads of the reports in a row, so that a storm of changes cannot hold the caller for ever; a list is taken
/// then.
const ROUNDS_MAX: usize = 64;

/// Addresses that are to stay, with the means to see and mend their loss. Readable (`AsFd`) when
/// [`Keeper::tend`] has something to look at.
#[derive(Debug)]
pub struct Keeper {
    addresses: Addresses,
    watch: Watch,
    census: Census,
    kept: BTreeMap<IpAddr, Kept>,
    missing: BTreeSet<IpAddr>,
    /// Heard while something else was done.
    links: Vec<Change>,
    reports: Reports,
}

/// How what was heard of addresses compares with what is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reports {
    /// Nothing that is kept was touched.
    Calm,
    /// Something kept may be missing.
    Suspicious,
    /// Reports were lost.
    Lost,
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl Keeper {
    /// Opens both sockets in this thread's namespace, and lists what is there; keeps nothing yet.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in the namespace's user namespace.
    pub fn open() -> Result<Keeper, OpenAddressesError> {
        Keeper::with(Marks::of_this_kernel())
    }

    /// As [`Keeper::open`], taking the kernel for one that keeps these marks.
    ///
    /// # Errors
    /// As [`Keeper::open`].
    pub fn with(marks: Marks) -> Result<Keeper, OpenAddressesError> {
        let watch = Watch::open()?;
        let mut addresses = Addresses::open()?;
        let mut census = Census::new(marks);
        let all = addresses.all().map_err(std::io::Error::other)?;
        census.replace(all);
        Ok(Keeper {
            addresses,
            watch,
            census,
            kept: BTreeMap::new(),
            missing: BTreeSet::new(),
            links: Vec::new(),
            reports: Reports::Calm,
        })
    }

    /// The request side, for reading interfaces and leftovers.
    pub fn addresses(&mut self) -> &mut Addresses {
        &mut self.addresses
    }

    /// Whether [`Keeper::tend`] has something to look at that was read while something else was done.
    pub fn is_pending(&self) -> bool {
        self.reports != Reports::Calm || !self.links.is_empty()
    }

    /// What is there as far as the reports read so far tell.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// Puts an address on an interface, or renews its lifetime, and remembers it. It is added only where no
    /// copy of it is that somebody else made, on whatever interface; a renewal goes on beside one, behind
    /// the guard that covers both.
    ///
    /// # Errors
    /// When somebody else has it, or the kernel refuses; the address is remembered all the same and tried
    /// again by [`Keeper::tend`].
    pub fn keep(&mut self, address: IpAddr, link: LinkIndex, term: Term) -> Result<(), KeepError> {
        let kept = Kept {
            link,
            ends: term.now + term.valid,
            until: term.until,
        };
        self.kept.insert(address, kept);
        let put = self.put(address, link, term.valid);
        match put {
            Ok(()) => self.missing.remove(&address),
            Err(_) => self.missing.insert(address),
        };
        put
    }

    /// Renews the lifetime of an address that is kept, and adds nothing: one that is gone is put back by
    /// [`Keeper::tend`], which looks at the clock anew.
    ///
    /// # Errors
    /// When ours is not there, or the kernel refuses.
    pub fn renew(&mut self, address: IpAddr, term: Term) -> Result<(), KeepError> {
        let Some(kept) = self.kept.get_mut(&address) else {
            return Err(WriteAddressError::Absent {
                address,
                link: "any interface".to_owned(),
                why: "it was never put there".to_owned(),
            });
        };
        kept.ends = term.now + term.valid;
        kept.until = term.until;
        let link = kept.link;
        self.look()?;
        let renewed = if self.has_own(address, link) {
            self.addresses.refresh(address, link, term.valid)
        } else {
            Err(WriteAddressError::Absent {
                address,
                link: self.addresses.name(link),
                why: "somebody has taken it away".to_owned(),
            })
        };
        if renewed.is_err() {
            // Whatever the reports have led to, the kernel is asked what is there.
            self.reports = Reports::Lost;
        }
        renewed
    }

    /// A removal is reported within the call that makes it, and so is an addition of IPv4; one of IPv6 is
    /// reported a little later (when the kernel's own check for duplicates has been skipped), so that what is
    /// there is listed after ours was added. Between a look and a write lies a moment: the second look closes it
    /// for an addition, and a renewal adds nothing.
    fn put(
        &mut self,
        address: IpAddr,
        link: LinkIndex,
        valid: Duration,
    ) -> Result<(), WriteAddressError> {
        self.look()?;
        if self.has_own(address, link) {
            return self.addresses.refresh(address, link, valid);
        }
        self.refuse_foreign(address)?;
        match self.addresses.put(address, link, valid) {
            Ok(()) => {}
            Err(taken @ WriteAddressError::Foreign { .. }) => {
                self.list()?;
                if self.has_own(address, link) {
                    return self.addresses.refresh(address, link, valid);
                }
                return Err(taken);
            }
            Err(error) => return Err(error),
        }
        match address {
            // Its report was among those read; a removal by somebody else may have come after it.
            IpAddr::V4(_) => self.look()?,
            IpAddr::V6(_) => {
                self.list()?;
                // Its own report may be still to come.
                self.census.seen(Assigned::ours(address, link, valid));
            }
        }
        let refused = self.refuse_foreign(address);
        if refused.is_err() {
            self.take_away(address)?;
        }
        refused
    }

    /// Whether [`Keeper::keep`] could put the address there, as things stand: ours is there, or nobody's is.
    ///
    /// # Errors
    /// When somebody else has it, or the reports cannot be read.
    pub fn may_put(&mut self, address: IpAddr, link: LinkIndex) -> Result<(), WriteAddressError> {
        self.look()?;
        if self.has_own(address, link) {
            return Ok(());
        }
        self.refuse_foreign(address)
    }

    fn refuse_foreign(&mut self, address: IpAddr) -> Result<(), WriteAddressError> {
        let Some(found) = self.census.foreign(address).next().cloned() else {
            return Ok(());
        };
        Err(WriteAddressError::Foreign {
            address,
            prefix: found.prefix,
            link: self.addresses.name(found.link),
        })
    }

    /// Whether our own copy is on this interface. Where the kernel keeps no marks, what looks like it and is
    /// kept is it.
    fn has_own(&self, address: IpAddr, link: LinkIndex) -> bool {
        self.census.copies(address).any(|found| {
            found.link == link && found.prefix == host_prefix(address) && self.is_own(found)
        })
    }

    fn is_own(&self, found: &Assigned) -> bool {
        match found.origin(self.census.marks()) {
            Origin::Ours => true,
            Origin::Foreign => false,
            Origin::Unclear => {
                let kept = self.kept.get(&found.address);
                kept.is_some_and(|kept| kept.link == found.link)
            }
        }
    }

    /// Removes an address and restores it no more. That nothing of ours is left is proven by the kernel's own
    /// word: its answer to a removal, or its list.
    ///
    /// # Errors
    /// When the kernel refuses or does not answer; it is not restored in either case.
    pub fn forget(&mut self, address: IpAddr) -> Result<Forgotten, WriteAddressError> {
        self.missing.remove(&address);
        if let Some(kept) = self.kept.get_mut(&address) {
            kept.until = FORGOTTEN;
        }
        self.look()?;
        let mut removal = self.take_away(address)?;
        if removal == Removal::WasAbsent || address.is_ipv6() {
            self.list()?;
            // What nobody has told of yet.
            match self.take_away(address)? {
                Removal::Removed => removal = Removal::Removed,
                Removal::WasAbsent => {}
            }
        }
        self.kept.remove(&address);
        Ok(Forgotten {
            removal,
            foreign: self.census.foreign(address).cloned().collect(),
        })
    }

    /// Removes every copy of ours that is known of.
    fn take_away(&mut self, address: IpAddr) -> Result<Removal, WriteAddressError> {
        let own: Vec<Assigned> = self
            .census
            .copies(address)
            .filter(|found| self.is_own(found) && found.prefix == host_prefix(address))
            .cloned()
            .collect();
        let mut removal = Removal::WasAbsent;
        for found in own {
            match self.addresses.remove(address, found.link)? {
                Removal::Removed => removal = Removal::Removed,
                Removal::WasAbsent => {}
            }
            self.census.gone(&found);
        }
        Ok(removal)
    }

    /// Reads the kernel's reports and puts back what is missing and still wanted at `now`.
    ///
    /// # Errors
    /// When the reports or the kernel's list cannot be read.
    pub fn tend(&mut self, now: Moment) -> Result<Tended, ReadKernelError> {
        self.observe()?;
        let mut tended = Tended {
            links: std::mem::take(&mut self.links),
            ..Tended::default()
        };
        // Reports are hints: our own removals are among them.
        match std::mem::replace(&mut self.reports, Reports::Calm) {
            Reports::Calm => {}
            Reports::Suspicious => self.compare(),
            Reports::Lost => {
                let links = self.addresses.links()?;
                tended.links.push(Change::Resync);
                tended.links.extend(links.into_iter().map(Change::Link));
                self.compare();
            }
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

    fn look(&mut self) -> Result<(), WriteAddressError> {
        self.observe().map_err(unlisted)
    }

    fn list(&mut self) -> Result<(), WriteAddressError> {
        let all = self.addresses.all().map_err(unlisted)?;
        self.census.replace(all);
        Ok(())
    }

    /// Reads every report that waits.
    fn observe(&mut self) -> Result<(), ReadKernelError> {
        let mut lost = false;
        let mut rounds = 0;
        loop {
            let changes = self.watch.read()?;
            if changes.is_empty() {
                break;
            }
            for change in changes {
                lost |= change == Change::Resync;
                self.note(change);
            }
            rounds += 1;
            if rounds == ROUNDS_MAX {
                lost = true;
                break;
            }
        }
        if lost || self.links.len() > CHANGES_MAX {
            // Behind a loss older reports wait, which the loop above has read before the list is taken.
            let all = self.addresses.all()?;
            self.census.replace(all);
            self.links.clear();
            self.reports = Reports::Lost;
        }
        Ok(())
    }

    fn note(&mut self, change: Change) {
        match change {
            Change::AddressGone(found) => {
                self.census.gone(&found);
                if self.kept.contains_key(&found.address) {
                    self.reports = self.reports.max(Reports::Suspicious);
                }
            }
            Change::AddressSeen(found) => {
                // Changed under our hands counts as gone.
                let kept = self.kept.get(&found.address);
                if kept.is_some_and(|kept| kept.link == found.link) && !self.is_own(&found) {
                    self.reports = self.reports.max(Reports::Suspicious);
                }
                self.census.seen(found);
            }
            Change::LinkGone(index) => {
                self.census.link_gone(index);
                self.reports = self.reports.max(Reports::Suspicious);
                self.links.push(change);
            }
            Change::Link(_) => self.links.push(change),
            Change::Resync => {}
        }
    }

    fn compare(&mut self) {
        self.missing = self
            .kept
            .iter()
            .filter(|(address, kept)| kept.until > FORGOTTEN && !self.has_own(**address, kept.link))
            .map(|(address, _)| *address)
            .collect();
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
        let link = kept.link;
        self.put(address, link, left).is_ok()
    }
}

fn unlisted(error: ReadKernelError) -> WriteAddressError {
    WriteAddressError::Unlisted {
        why: crate::chain(&error),
    }
}
