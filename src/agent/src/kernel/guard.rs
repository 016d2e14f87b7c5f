//! The kernel's dead-man switch: nftables set elements that end by themselves.
//!
//! An address that is *managed* is silent in every direction unless it is *held*, and it is held
//! for W after the last renewal, whatever becomes of this process. The caller decides, with
//! haft-engine, when a write is allowed (`now + 2W <= E`); this module makes sure that a write
//! delivered late revives nothing (see [`write`]). It speaks raw netlink, runs no `nft`, and reads
//! no clock. What the rules cover is said in [`ruleset`].
//!
//! Where the kernel has both flags (Linux 6.9), the tables are owned by this socket and persistent:
//! a foreign `flush ruleset` does not touch them, and they stay, closed, when the process ends.
//! Otherwise they are watched and repaired. They are never owned without being persistent: such a
//! table would vanish with its owner and leave the addresses open.

mod alone;
mod attest;
mod batch;
mod ruleset;
mod upkeep;
mod write;

#[cfg(test)]
mod tests;

pub use write::{Life, LifeError, MAX_BATCH, PreparedWrite, Turn};

use super::link::{Link, LinkIndex};
use super::netlink::Port;
use attest::Record;
use batch::{Batch, Family, Refusal, Sealed, Verdict};
use ruleset::ElementChange;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use write::Purpose;

/// Who may change the guard's tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Custody {
    /// Only this guard's socket; the tables outlive it.
    Owned,
    /// Anybody with CAP_NET_ADMIN; changes are seen and repaired.
    Watched,
}

/// What the tables do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// They are the dead-man switch: elements that end by themselves.
    Timed,
    /// They stand behind the gate, without any end: an address passes only on gated links.
    Still,
}

/// Whether the tables are intact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attestation {
    /// As installed, every managed address included.
    Intact,
    /// Something is missing, added or changed: traffic of unheld addresses may pass.
    Broken {
        /// The first difference.
        what: String,
    },
}

/// What looking after the tables led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upkeep {
    /// Intact.
    Intact,
    /// Were broken and have been rebuilt: every managed address is silent until installed anew.
    Repaired {
        /// What was broken.
        what: String,
    },
}

/// Why the guard could not be opened or rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum OpenGuardError {
    /// The socket failed.
    #[error("cannot talk to nftables (needs CAP_NET_ADMIN)")]
    Socket(#[from] io::Error),
    /// Another living process has a guard here, whatever files and mounts it sees.
    #[error(
        "another haft-agent guards this network namespace (netlink port {port}, its process id as a rule)"
    )]
    OwnedElsewhere {
        /// The owner's netlink port, its process id as a rule.
        port: u32,
    },
    /// The kernel refused the tables.
    #[error("the kernel refused {what} of the guard")]
    Refused {
        /// What was refused.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Somebody keeps changing nftables faster than the tables can be built.
    #[error("the guard's tables were changed during each of {attempts} attempts to build them")]
    Contested {
        /// How often it was tried.
        attempts: usize,
    },
}

/// Why a write was not applied. Nothing of it was, except where said.
#[derive(Debug, thiserror::Error)]
pub enum GuardWriteError {
    /// Elements had lapsed. The others may be sent again at the same turn; these are to be armed
    /// and installed anew while the lease still allows it.
    #[error("the guard of {} address(es) had lapsed", addresses.len())]
    Lapsed {
        /// The lapsed ones.
        addresses: Vec<IpAddr>,
    },
    /// A later write for the address has gone out since the turn was taken.
    #[error("a later guard write for {address} has been sent since this one was decided")]
    Superseded {
        /// The address.
        address: IpAddr,
    },
    /// The address was never given to the guard.
    #[error("address {address} is not managed by the guard")]
    NotManaged {
        /// The address.
        address: IpAddr,
    },
    /// More addresses than [`MAX_BATCH`], or none.
    #[error("a guard write takes 1 to 256 addresses, not {count}")]
    BatchSize {
        /// How many were given.
        count: usize,
    },
    /// The tables or sets are gone: repair, then install anew.
    #[error("the guard's tables are missing")]
    Missing,
    /// The kernel refused.
    #[error("the kernel refused {what} of the guard")]
    Refused {
        /// What was refused.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The answer was lost: unknown whether applied. Treat the addresses as lapsed.
    #[error("the kernel's answer to a guard write was lost")]
    Unclear,
    /// The socket failed.
    #[error("cannot talk to nftables")]
    Socket(#[from] io::Error),
}

/// What is remembered of one managed address.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The guard's write count after the address's last write.
    last_write: u64,
    /// Its elements may be in the `held` sets.
    held: bool,
    /// Its element may be in the `armed` set.
    armed: bool,
}

/// How elements that may have lapsed are removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Erasure {
    /// All in one transaction that minds no absence.
    Destroy,
    /// Before Linux 6.3: all in one transaction, and where that fails each by itself. A failed
    /// transaction costs the kernel a grace period, milliseconds.
    Delete,
}

/// The guard of one network namespace. Readable (`AsFd`) when somebody else has changed nftables.
#[derive(Debug)]
pub struct Guard {
    commands: Port,
    events: Port,
    custody: Custody,
    layer: Layer,
    erasure: Erasure,
    slots: BTreeMap<IpAddr, Slot>,
    /// Interfaces with an egress chain.
    ports: BTreeSet<LinkIndex>,
    /// Links on which the gate stands; used by the static layer.
    gated: BTreeSet<LinkIndex>,
    writes: u64,
    expected: Vec<Record>,
    /// A foreign commit was seen since the tables were last compared.
    suspicious: bool,
}

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

impl Guard {
    /// The point in this guard's history that a decision starts from. Take it, then read the
    /// clock, then decide, then prepare.
    pub fn turn(&self) -> Turn {
        Turn(self.writes)
    }

    /// Who may change the tables.
    pub fn custody(&self) -> Custody {
        self.custody
    }

    /// The managed addresses, those adopted from an earlier agent included.
    pub fn managed(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.slots.keys().copied()
    }

    /// Whether this address is managed.
    pub fn manages(&self, address: IpAddr) -> bool {
        self.slots.contains_key(&address)
    }

    /// From here on the address is silent unless held, and announcements of it through `link` are
    /// held back. To be called before the address is put on the interface; again when it moves to
    /// another interface, or when the interface was recreated.
    ///
    /// # Errors
    /// When the kernel refuses; the address must not be installed then.
    pub fn manage(&mut self, address: IpAddr, link: &Link) -> Result<(), GuardWriteError> {
        let new_port = self.layer == Layer::Timed && !self.ports.contains(&link.index);
        let mut batch = Batch::new();
        if new_port {
            self.forget_gone_links()?;
            encode_port(&mut batch, link.index, &link.name);
        }
        encode_managed(&mut batch, address, ElementChange::Keep);
        self.commit(&batch.seal())?;
        let slot = self.slots.entry(address).or_default();
        self.writes += 1;
        slot.last_write = self.writes;
        if new_port {
            self.ports.insert(link.index);
            self.expect_port(link.index)?;
        }
        Ok(())
    }

    /// Tells the static layer on which links the gate stands: nothing but these lets a managed address pass.
    ///
    /// # Errors
    /// When the kernel refuses: what was told before stands.
    pub fn set_gated(&mut self, links: &BTreeSet<LinkIndex>) -> Result<(), GuardWriteError> {
        if *links == self.gated {
            return Ok(());
        }
        let mut batch = Batch::new();
        for link in self.gated.difference(links) {
            encode_gated(&mut batch, *link, ElementChange::Take);
        }
        for link in links.difference(&self.gated) {
            encode_gated(&mut batch, *link, ElementChange::Keep);
        }
        self.commit(&batch.seal())?;
        self.gated.clone_from(links);
        Ok(())
    }

    /// Lets go of an address: traffic for it passes again. To be called after the address has
    /// been removed from the interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unmanage(&mut self, address: IpAddr) -> Result<(), GuardWriteError> {
        if !self.slots.contains_key(&address) {
            return Ok(());
        }
        self.release(&[address])?;
        let mut batch = Batch::new();
        encode_managed(&mut batch, address, ElementChange::Take);
        self.commit(&batch.seal())?;
        self.slots.remove(&address);
        Ok(())
    }

    /// First half of an installation: arms the addresses for `life` and returns the turn at which
    /// the clock may be read. Whatever was held of them is taken out first.
    ///
    /// # Errors
    /// When an address is not managed or the kernel refuses.
    pub fn arm(&mut self, addresses: &[IpAddr], life: Life) -> Result<Turn, GuardWriteError> {
        self.check(addresses)?;
        let mut batch = Batch::new();
        match self.erasure {
            Erasure::Destroy => encode_erasure(&mut batch, addresses),
            Erasure::Delete => self.release(addresses)?,
        }
        for address in addresses {
            let armed = ruleset::places(*address).armed;
            let key = ruleset::key(*address);
            let time = ElementChange::Time(life.span());
            ruleset::element(&mut batch, Family::Inet, armed, &key, time);
        }
        self.note(addresses, |slot| slot.armed = true);
        self.commit(&batch.seal())?;
        self.note(addresses, |slot| slot.held = false);
        Ok(self.turn())
    }

    /// Second half of an installation: moves the addresses from `armed` to `held`.
    ///
    /// # Errors
    /// When an address is not managed.
    pub fn prepare_install(
        &self,
        turn: Turn,
        addresses: &[IpAddr],
        life: Life,
    ) -> Result<PreparedWrite, GuardWriteError> {
        self.check(addresses)?;
        Ok(write::prepare(Purpose::Install, turn, addresses, life))
    }

    /// A renewal: takes the living elements out and puts new ones in.
    ///
    /// # Errors
    /// When an address is not managed.
    pub fn prepare_renew(
        &self,
        turn: Turn,
        addresses: &[IpAddr],
        life: Life,
    ) -> Result<PreparedWrite, GuardWriteError> {
        self.check(addresses)?;
        Ok(write::prepare(Purpose::Renew, turn, addresses, life))
    }

    /// Delivers a prepared write: all of it, or nothing.
    ///
    /// # Errors
    /// [`GuardWriteError::Lapsed`] when an element has ended in the meantime,
    /// [`GuardWriteError::Superseded`] when the write was decided before a later one was sent.
    pub fn send(&mut self, write: &PreparedWrite) -> Result<(), GuardWriteError> {
        for address in &write.addresses {
            let slot = self.slots.get(address);
            let slot = slot.ok_or(GuardWriteError::NotManaged { address: *address })?;
            if slot.last_write > write.turn.0 {
                return Err(GuardWriteError::Superseded { address: *address });
            }
        }
        match write.sealed.send(&mut self.commands)? {
            Verdict::Committed => {
                self.note(&write.addresses, |slot| {
                    slot.held = true;
                    slot.armed = false;
                });
                Ok(())
            }
            Verdict::Unclear => {
                self.note(&write.addresses, |slot| slot.held = true);
                Err(GuardWriteError::Unclear)
            }
            Verdict::Refused(refusals) => Err(self.explain_write(write, &refusals)),
        }
    }

    /// Silences the addresses now. Absence is success. Writes prepared earlier for them are
    /// refused from here on.
    ///
    /// # Errors
    /// When the kernel refuses: the elements still end by themselves.
    pub fn release(&mut self, addresses: &[IpAddr]) -> Result<(), GuardWriteError> {
        self.note(addresses, |_| {});
        let mut present: Vec<IpAddr> = addresses.to_vec();
        present.retain(|a| {
            self.slots
                .get(a)
                .is_some_and(|slot| slot.held || slot.armed)
        });
        for chunk in present.chunks(MAX_BATCH) {
            match self.erasure {
                Erasure::Destroy => {
                    let mut batch = Batch::new();
                    encode_erasure(&mut batch, chunk);
                    self.commit(&batch.seal())?;
                }
                Erasure::Delete => self.delete(chunk)?,
            }
            self.note(chunk, |slot| (slot.held, slot.armed) = (false, false));
        }
        Ok(())
    }

    /// Deletes the elements that should be there, in one transaction; if some have lapsed, each by
    /// itself.
    fn delete(&mut self, addresses: &[IpAddr]) -> Result<(), GuardWriteError> {
        let mut elements = Vec::new();
        for address in addresses {
            let places = ruleset::places(*address);
            let slot = self.slots.get(address).copied().unwrap_or_default();
            let key = ruleset::key(*address);
            if slot.held {
                for family in places.families {
                    elements.push((*family, places.held, key.clone()));
                }
            }
            if slot.armed {
                elements.push((Family::Inet, places.armed, key));
            }
        }
        let mut whole = Batch::new();
        for (family, set, key) in &elements {
            ruleset::element(&mut whole, *family, set, key, ElementChange::Take);
        }
        match self.commit(&whole.seal()) {
            Err(GuardWriteError::Missing) => {}
            outcome => return outcome,
        }
        for (family, set, key) in &elements {
            let mut single = Batch::new();
            ruleset::element(&mut single, *family, set, key, ElementChange::Take);
            match self.commit(&single.seal()) {
                Ok(()) | Err(GuardWriteError::Missing) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    fn check(&self, addresses: &[IpAddr]) -> Result<(), GuardWriteError> {
        if addresses.is_empty() || addresses.len() > MAX_BATCH {
            return Err(GuardWriteError::BatchSize {
                count: addresses.len(),
            });
        }
        match addresses.iter().find(|a| !self.slots.contains_key(a)) {
            Some(address) => Err(GuardWriteError::NotManaged { address: *address }),
            None => Ok(()),
        }
    }

    /// Counts a write and notes what it did to these addresses.
    fn note(&mut self, addresses: &[IpAddr], change: impl Fn(&mut Slot)) {
        self.writes += 1;
        for address in addresses {
            if let Some(slot) = self.slots.get_mut(address) {
                slot.last_write = self.writes;
                change(slot);
            }
        }
    }

    /// Sends a transaction in which an absent object means that the tables are gone.
    fn commit(&mut self, sealed: &Sealed) -> Result<(), GuardWriteError> {
        match sealed.send(&mut self.commands)? {
            Verdict::Committed => Ok(()),
            Verdict::Unclear => Err(GuardWriteError::Unclear),
            Verdict::Refused(refusals) => Err(refused(sealed, &refusals)),
        }
    }

    fn explain_write(&mut self, write: &PreparedWrite, refusals: &[Refusal]) -> GuardWriteError {
        let mut lapsed = BTreeSet::new();
        for refusal in refusals {
            let taken = refusal
                .sequence
                .checked_sub(1)
                .and_then(|n| *write.takes.get(n)?);
            match taken {
                Some(place) if refusal.errno == libc::ENOENT => {
                    lapsed.insert(write.addresses[place]);
                }
                Some(_) | None => {
                    self.suspicious = true;
                    return refused(&write.sealed, std::slice::from_ref(refusal));
                }
            }
        }
        GuardWriteError::Lapsed {
            addresses: lapsed.into_iter().collect(),
        }
    }
}

fn refused(sealed: &Sealed, refusals: &[Refusal]) -> GuardWriteError {
    match refusals.first() {
        Some(refusal) if refusal.errno == libc::ENOENT => GuardWriteError::Missing,
        Some(refusal) => GuardWriteError::Refused {
            what: sealed.label(*refusal),
            source: io::Error::from_raw_os_error(refusal.errno),
        },
        None => GuardWriteError::Unclear,
    }
}

fn encode_port(batch: &mut Batch, index: LinkIndex, name: &str) {
    ruleset::create_egress(batch, index.0, name);
    ruleset::element(
        batch,
        Family::Inet,
        ruleset::PORTS,
        &index.0.to_ne_bytes(),
        ElementChange::Keep,
    );
}

fn encode_gated(batch: &mut Batch, link: LinkIndex, change: ElementChange) {
    for family in ruleset::GATED_FAMILIES {
        let key = link.0.to_ne_bytes();
        ruleset::element(batch, *family, ruleset::GATED, &key, change);
    }
}

fn encode_managed(batch: &mut Batch, address: IpAddr, change: ElementChange) {
    let places = ruleset::places(address);
    for family in places.families {
        ruleset::element(
            batch,
            *family,
            places.managed,
            &ruleset::key(address),
            change,
        );
    }
}

fn encode_erasure(batch: &mut Batch, addresses: &[IpAddr]) {
    for address in addresses {
        let places = ruleset::places(*address);
        let key = ruleset::key(*address);
        let held = places.families.iter().map(|family| (*family, places.held));
        for (family, set) in held.chain([(Family::Inet, places.armed)]) {
            ruleset::element(batch, family, set, &key, ElementChange::Destroy);
        }
    }
}
