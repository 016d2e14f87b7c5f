//! Reading the guard's tables back, to compare them with what was installed.
//!
//! Reads only. Volatile attributes (use counts, element counts) are left out of the comparison;
//! handles are in it, so that a table rebuilt by somebody else is seen as changed.

use super::super::netlink::{self, Attributes, Messages, NLM_F_DUMP, Port};
use super::batch::{Family, SUBSYSTEM, generic};
use super::ruleset::{self, TABLE};
use std::collections::BTreeSet;
use std::io;

/// Dumps that race with other people's commits are repeated this often.
const DUMP_ATTEMPTS: usize = 8;

/// One table, chain, rule or set as the kernel lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) family: Family,
    /// What it is, for messages.
    pub(super) what: &'static str,
    /// The chain that a chain or rule belongs to; empty for others.
    pub(super) chain: String,
    stable: Vec<u8>,
}

/// What to list: message, attribute that names the chain, attributes compared.
struct Listing {
    what: &'static str,
    get: u16,
    chain: Option<u16>,
    stable: &'static [u16],
}

/// Attributes from nf_tables.h: names, flags, handles, hooks, policies, types, expressions.
const LISTINGS: [Listing; 4] = [
    Listing {
        what: "table",
        get: ruleset::GETTABLE,
        chain: None,
        stable: &[2, 4],
    },
    Listing {
        what: "chain",
        get: ruleset::GETCHAIN,
        chain: Some(3),
        stable: &[2, 3, 4, 5, 7, 10],
    },
    Listing {
        what: "rule",
        get: ruleset::GETRULE,
        chain: Some(2),
        stable: &[2, 3, 4],
    },
    Listing {
        what: "set",
        get: ruleset::GETSET,
        chain: None,
        stable: &[2, 3, 5, 11, 16],
    },
];

/// A table of the guard's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) family: Family,
    /// Netlink port of the socket that owns it.
    pub(super) owner: Option<u32>,
}

/// The tables of this name that exist.
pub(super) fn tables(port: &mut Port, name: &str) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for family in Family::ALL {
        for body in called(name, port, ruleset::GETTABLE, family)? {
            let owner = netlink::find(&body, 7)
                .and_then(|payload| payload.try_into().ok())
                .map(u32::from_be_bytes);
            found.push(Found { family, owner });
        }
    }
    Ok(found)
}

/// Everything structural about the guard's tables, in the kernel's order.
pub(super) fn structure(port: &mut Port) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for family in Family::ALL {
        for listing in &LISTINGS {
            for body in ours(port, listing.get, family)? {
                let chain = listing.chain.and_then(|kind| netlink::find(&body, kind));
                records.push(Record {
                    family,
                    what: listing.what,
                    chain: chain.map(netlink::text).unwrap_or_default(),
                    stable: stable(&body, listing.stable),
                });
            }
        }
    }
    Ok(records)
}

/// The keys of one set; empty where the set does not exist.
pub(super) fn elements(
    port: &mut Port,
    family: Family,
    set: &str,
) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut request = begin(ruleset::GETSETELEM, family);
    request.name(1, TABLE).name(2, set).finish();
    let mut keys = BTreeSet::new();
    for body in dump(port, &request)? {
        let list = netlink::find(&body, 3).unwrap_or(&[]);
        for (_, element) in Attributes::new(list) {
            let key = netlink::find(element, 1).and_then(|data| netlink::find(data, 1));
            keys.extend(key.map(<[u8]>::to_vec));
        }
    }
    Ok(keys)
}

/// The bodies, past the generic header, of the objects in tables of the guard's name.
fn ours(port: &mut Port, get: u16, family: Family) -> io::Result<Vec<Vec<u8>>> {
    called(TABLE, port, get, family)
}

fn called(table: &str, port: &mut Port, get: u16, family: Family) -> io::Result<Vec<Vec<u8>>> {
    let mut request = begin(get, family);
    if get != ruleset::GETTABLE {
        // Honoured for rules and sets; chains are listed whole and sorted out here.
        request.name(1, table);
    }
    request.finish();
    let mut bodies = dump(port, &request)?;
    bodies.retain(|body| netlink::find(body, 1).map(netlink::text).as_deref() == Some(table));
    Ok(bodies)
}

fn begin(get: u16, family: Family) -> Messages {
    let mut request = Messages::default();
    request
        .begin(SUBSYSTEM | get, NLM_F_DUMP, 1)
        .fixed(&generic(family as u8));
    request
}

/// Runs a dump until it was not torn by a commit. A missing table lists as nothing.
fn dump(port: &mut Port, request: &Messages) -> io::Result<Vec<Vec<u8>>> {
    for _ in 0..DUMP_ATTEMPTS {
        let mut bodies = Vec::new();
        let errno = port.dump(request, |message| {
            bodies.extend(message.body.get(4..).map(<[u8]>::to_vec));
        })?;
        match errno {
            0 => return Ok(bodies),
            libc::ENOENT => return Ok(Vec::new()),
            libc::EINTR | libc::ENOBUFS => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

fn stable(body: &[u8], kinds: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, payload) in Attributes::new(body).filter(|(kind, _)| kinds.contains(kind)) {
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(payload);
    }
    bytes
}
