//! The life of the guard's tables: built or taken over in one transaction, watched, repaired.
//!
//! Never opens anything: every table is replaced by one that blocks at least the same addresses.
//! What was held before is not held after; the caller installs anew while its lease allows it.

use super::super::link::LinkIndex;
use super::super::netlink::{Port, Read};
use super::attest::{self, Record};
use super::batch::{Batch, Family, SUBSYSTEM, Verdict};
use super::ruleset::{self, ElementChange};
use super::{
    Attestation, Custody, Erasure, Guard, GuardWriteError, Layer, OpenGuardError, Slot, Upkeep,
    encode_erasure, encode_gated, encode_managed, encode_port,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use socket2::{SockFilter, SockRef};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

/// nfnetlink's multicast group of nftables (NFNLGRP_NFTABLES).
const EVENTS: u32 = 7;
/// Building races with other people's commits; more rounds than this mean a fight.
const BUILD_ATTEMPTS: usize = 8;
/// Event datagrams taken at once, so that a storm of commits cannot hold the caller for ever.
const EVENT_LIMIT: usize = 4096;

impl Guard {
    /// Opens the guard in this thread's network namespace. Tables of an earlier agent are replaced
    /// in one transaction; the addresses they managed stay managed, and silent.
    ///
    /// `preference` is what to try first; without kernel support `Owned` becomes `Watched`.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, without nftables and its netdev egress hook (Linux 5.16), or when
    /// another living process owns the tables.
    pub fn open(preference: Custody) -> Result<Guard, OpenGuardError> {
        Guard::open_as(preference, Layer::Timed)
    }

    /// The same as the layer behind the gate, which lets a managed address pass nowhere before it is told where
    /// the gate stands.
    ///
    /// # Errors
    /// As [`Guard::open`].
    pub fn behind_gate(preference: Custody) -> Result<Guard, OpenGuardError> {
        Guard::open_as(preference, Layer::Still)
    }

    fn open_as(preference: Custody, layer: Layer) -> Result<Guard, OpenGuardError> {
        let commands = Port::open(NETLINK_NETFILTER)?;
        let events = Port::open(NETLINK_NETFILTER)?;
        SockRef::from(&events).attach_filter(&foreign_commits(commands.id()))?;
        events.subscribe(EVENTS)?;
        let mut guard = Guard {
            commands,
            events,
            custody: preference,
            layer,
            erasure: Erasure::Destroy,
            slots: BTreeMap::new(),
            ports: BTreeSet::new(),
            gated: BTreeSet::new(),
            writes: 0,
            expected: Vec::new(),
            suspicious: true,
        };
        guard.be_alone()?;
        guard.build()?;
        match layer {
            Layer::Timed => guard.erasure = guard.probe_erasure()?,
            Layer::Still => {}
        }
        Ok(guard)
    }

    /// Whether this kernel can remove elements without minding their absence: asks it to remove
    /// one that is never there.
    fn probe_erasure(&mut self) -> io::Result<Erasure> {
        let mut batch = Batch::new();
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        encode_erasure(&mut batch, &[nowhere]);
        Ok(match batch.seal().send(&mut self.commands)? {
            Verdict::Committed => Erasure::Destroy,
            Verdict::Refused(_) | Verdict::Unclear => Erasure::Delete,
        })
    }

    /// Whether the tables are as installed. Costs one empty read unless somebody else has
    /// committed to nftables since the last look.
    ///
    /// # Errors
    /// When the kernel cannot be asked: attest nothing then.
    pub fn attest(&mut self) -> io::Result<Attestation> {
        self.suspicious |= self.foreign_commit_seen()?;
        if !self.suspicious {
            return Ok(Attestation::Intact);
        }
        self.inspect()
    }

    /// As [`Guard::attest`], but reads the tables back in any case.
    ///
    /// # Errors
    /// When the kernel cannot be asked: attest nothing then.
    pub fn inspect(&mut self) -> io::Result<Attestation> {
        self.suspicious = true;
        self.forget_gone_links()?;
        let found = attest::structure(&mut self.commands)?;
        if let Some(what) = difference(&self.expected, &found) {
            return Ok(Attestation::Broken { what });
        }
        for (family, set, keys) in self.expected_elements() {
            if attest::elements(&mut self.commands, family, set)? != keys {
                return Ok(Attestation::Broken {
                    what: format!("set {set} of family {family:?} differs"),
                });
            }
        }
        self.suspicious = false;
        Ok(Attestation::Intact)
    }

    /// Attests, and repairs what is broken.
    ///
    /// # Errors
    /// When the kernel cannot be asked or refuses the repair: the addresses may be open then, and
    /// only their lifetime ends them.
    pub fn tend(&mut self) -> Result<Upkeep, OpenGuardError> {
        match self.attest()? {
            Attestation::Intact => Ok(Upkeep::Intact),
            Attestation::Broken { what } => {
                self.repair()?;
                Ok(Upkeep::Repaired { what })
            }
        }
    }

    /// Rebuilds the tables: every managed address silent, none held.
    ///
    /// # Errors
    /// As [`Guard::open`].
    pub fn repair(&mut self) -> Result<(), OpenGuardError> {
        self.build()
    }

    /// Removes the tables: traffic of every managed address passes. For taking haft off a machine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn dismantle(mut self) -> Result<(), GuardWriteError> {
        let mut batch = Batch::new();
        for family in Family::ALL {
            ruleset::delete_table(&mut batch, family);
        }
        self.commit(&batch.seal())
    }

    fn build(&mut self) -> Result<(), OpenGuardError> {
        let mut last = OpenGuardError::Contested {
            attempts: BUILD_ATTEMPTS,
        };
        for _ in 0..BUILD_ATTEMPTS {
            self.foreign_commit_seen()?;
            let existing = attest::tables(&mut self.commands, ruleset::TABLE)?;
            if let Some(port) = existing
                .iter()
                .filter_map(|t| t.owner)
                .find(|o| *o != self.commands.id())
            {
                return Err(OpenGuardError::OwnedElsewhere { port });
            }
            self.adopt()?;
            let mut batch = Batch::new();
            for table in &existing {
                ruleset::delete_table(&mut batch, table.family);
            }
            self.encode_tables(&mut batch);
            let sealed = batch.seal();
            let refusal = match sealed.send(&mut self.commands)? {
                Verdict::Unclear => continue,
                Verdict::Refused(refusals) => refusals[0],
                Verdict::Committed => {
                    self.expected = attest::structure(&mut self.commands)?;
                    if self.foreign_commit_seen()? {
                        continue;
                    }
                    self.forget_writes();
                    return Ok(());
                }
            };
            match (refusal.errno, self.custody) {
                (libc::EOPNOTSUPP | libc::EINVAL, Custody::Owned) => {
                    self.custody = Custody::Watched
                }
                // A table or an interface has gone since it was looked at.
                (libc::ENOENT | libc::ENODEV | libc::EEXIST, _) => {}
                _ => {
                    return Err(OpenGuardError::Refused {
                        what: sealed.label(refusal),
                        source: io::Error::from_raw_os_error(refusal.errno),
                    });
                }
            }
            last = OpenGuardError::Refused {
                what: sealed.label(refusal),
                source: io::Error::from_raw_os_error(refusal.errno),
            };
        }
        Err(last)
    }

    /// Takes over what existing tables manage: addresses and interfaces.
    fn adopt(&mut self) -> io::Result<()> {
        for set in [ruleset::MANAGED4, ruleset::MANAGED6] {
            for key in attest::elements(&mut self.commands, Family::Inet, set)? {
                self.slots.entry(address(&key)?).or_default();
            }
        }
        for key in attest::elements(&mut self.commands, Family::Inet, ruleset::PORTS)? {
            let index = key.try_into().map(u32::from_ne_bytes);
            self.ports.extend(index.map(LinkIndex));
        }
        Ok(())
    }

    fn encode_tables(&mut self, batch: &mut Batch) {
        let flags = match self.custody {
            Custody::Owned => ruleset::TABLE_OWNER | ruleset::TABLE_PERSIST,
            Custody::Watched => 0,
        };
        ruleset::create_tables(batch, flags, self.layer);
        match self.layer {
            Layer::Timed => {}
            Layer::Still => self.ports.clear(),
        }
        for link in &self.gated {
            encode_gated(batch, *link, ElementChange::Keep);
        }
        let mut present = BTreeSet::new();
        for index in &self.ports {
            if let Some(name) = link_name(*index) {
                encode_port(batch, *index, &name);
                present.insert(*index);
            }
        }
        self.ports = present;
        for address in self.slots.keys() {
            encode_managed(batch, *address, ElementChange::Keep);
        }
    }

    /// After a rebuild nothing is held, and nothing decided before it counts.
    fn forget_writes(&mut self) {
        self.suspicious = false;
        self.writes += 1;
        let fresh = Slot {
            last_write: self.writes,
            ..Slot::default()
        };
        self.slots.values_mut().for_each(|slot| *slot = fresh);
    }

    /// Adds a new interface's egress chain to what is expected; anything else that differs is left
    /// for the next attestation to find.
    pub(super) fn expect_port(&mut self, index: LinkIndex) -> io::Result<()> {
        let chain = ruleset::egress_chain(index.0);
        let found = attest::structure(&mut self.commands)?;
        let others = found.iter().filter(|record| record.chain != chain);
        if others.eq(&self.expected) {
            self.expected = found;
        } else {
            self.suspicious = true;
        }
        Ok(())
    }

    /// Takes out what belonged to interfaces that are gone: nothing can leave through them. Before
    /// Linux 6.16 their egress chains went with them, later ones wait for the name to return.
    pub(super) fn forget_gone_links(&mut self) -> io::Result<()> {
        let mut gone = self.ports.clone();
        gone.retain(|index| link_name(*index).is_none());
        for index in gone {
            let chain = ruleset::egress_chain(index.0);
            let mut without_chain = Batch::new();
            ruleset::delete_egress(&mut without_chain, index.0);
            let mut without_port = Batch::new();
            let key = index.0.to_ne_bytes();
            let take = ElementChange::Take;
            ruleset::element(&mut without_port, Family::Inet, ruleset::PORTS, &key, take);
            for batch in [without_chain, without_port] {
                // Refused where it is gone already, which is what is wanted.
                batch.seal().send(&mut self.commands)?;
            }
            self.ports.remove(&index);
            self.expected.retain(|record| record.chain != chain);
        }
        Ok(())
    }

    fn expected_elements(&self) -> Vec<(Family, &'static str, BTreeSet<Vec<u8>>)> {
        let mut sets = Vec::new();
        for (v4, name) in [(true, ruleset::MANAGED4), (false, ruleset::MANAGED6)] {
            let keys: BTreeSet<Vec<u8>> = self
                .slots
                .keys()
                .filter(|address| address.is_ipv4() == v4)
                .map(|address| ruleset::key(*address))
                .collect();
            for family in Family::ALL {
                if v4 || family != Family::Arp {
                    sets.push((family, name, keys.clone()));
                }
            }
        }
        if self.layer == Layer::Still {
            let links = self.gated.iter().map(|link| link.0.to_ne_bytes().to_vec());
            let links: BTreeSet<Vec<u8>> = links.collect();
            let families = ruleset::GATED_FAMILIES.iter();
            sets.extend(families.map(|family| (*family, ruleset::GATED, links.clone())));
        }
        sets
    }

    /// Whether somebody else has committed since the last call.
    fn foreign_commit_seen(&mut self) -> io::Result<bool> {
        let mut seen = false;
        for _ in 0..EVENT_LIMIT {
            match self.events.read()? {
                Read::Messages(_) | Read::Overrun => seen = true,
                Read::Empty => return Ok(seen),
            }
        }
        Ok(true)
    }
}

/// Lets through only the announcement of a new generation, which ends every commit, and only where
/// the commit was not ours: renewals would otherwise wake their own writer.
fn foreign_commits(own: u32) -> [SockFilter; 6] {
    // Classic BPF loads in network order; netlink headers are in host order.
    let kind = u32::from(u16::from_be_bytes(
        (SUBSYSTEM | ruleset::NEWGEN).to_ne_bytes(),
    ));
    let port = u32::from_be_bytes(own.to_ne_bytes());
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_HALF, 0, 0, 4),
        SockFilter::new(JUMP_EQUAL, 0, 2, kind),
        SockFilter::new(LOAD_WORD, 0, 0, 12),
        SockFilter::new(JUMP_EQUAL, 0, 1, port),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// The interface's present name, if it still exists in this namespace.
fn link_name(index: LinkIndex) -> Option<String> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .ok()?;
    rustix::net::netdevice::index_to_name(socket, index.0).ok()
}

fn address(key: &[u8]) -> io::Result<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(key) {
        return Ok(IpAddr::from(octets));
    }
    <[u8; 16]>::try_from(key)
        .map(IpAddr::from)
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Names the first difference.
fn difference(expected: &[Record], found: &[Record]) -> Option<String> {
    let missing = expected.iter().find(|record| !found.contains(record));
    let added = found.iter().find(|record| !expected.contains(record));
    let named = |verb: &str, record: &Record| {
        format!(
            "{} {}{} of family {:?}",
            verb,
            record.what,
            if record.chain.is_empty() {
                String::new()
            } else {
                format!(" in chain {}", record.chain)
            },
            record.family
        )
    };
    match (missing, added) {
        (Some(record), _) => Some(named("missing or changed", record)),
        (None, Some(record)) => Some(named("foreign", record)),
        (None, None) if expected != found => Some("order of rules".to_owned()),
        (None, None) => None,
    }
}
