//! Every address that the kernel has, and which of them are ours.
//!
//! Kept up to date by whoever feeds it the kernel's reports; after a loss of reports it must be given a full
//! list. Changes nothing in the kernel.

use super::super::link::LinkIndex;
use super::{Assigned, OWN_FLAGS, PROTOCOL, host_prefix};
use rustix::system::uname;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Linux version from which every address names who installed it (IFA_PROTO).
const PROTOCOL_SINCE: (u32, u32) = (5, 18);

/// Whether this kernel keeps IFA_PROTO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Marks {
    /// From Linux 5.18.
    Kept,
    /// Before: nobody can say for sure whose an address is.
    Lost,
}

impl Marks {
    /// What the running kernel does.
    pub fn of_this_kernel() -> Marks {
        Marks::of_release(&uname().release().to_string_lossy())
    }

    fn of_release(release: &str) -> Marks {
        let mut numbers = release
            .split(|char: char| !char.is_ascii_digit())
            .map(|digits| digits.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version >= PROTOCOL_SINCE {
            Marks::Kept
        } else {
            Marks::Lost
        }
    }
}

/// Whose an address is, as far as the kernel can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Ours: it carries [`PROTOCOL`].
    Ours,
    /// Somebody else's: never adopted, changed or removed (rule R13).
    Foreign,
    /// Looks exactly like one of ours on a kernel that keeps no marks.
    Unclear,
}

impl Assigned {
    /// One of ours as it reads back.
    pub(super) fn ours(address: IpAddr, link: LinkIndex, valid: Duration) -> Assigned {
        Assigned {
            address,
            prefix: host_prefix(address),
            link,
            valid: Some(valid),
            protocol: PROTOCOL,
            flags: OWN_FLAGS,
        }
    }

    /// Whose it is.
    pub fn origin(&self, marks: Marks) -> Origin {
        match marks {
            Marks::Kept if self.protocol == PROTOCOL => Origin::Ours,
            Marks::Kept => Origin::Foreign,
            Marks::Lost if self.is_made_like_ours() => Origin::Unclear,
            Marks::Lost => Origin::Foreign,
        }
    }
}

/// All addresses of one namespace.
#[derive(Debug)]
pub struct Census {
    marks: Marks,
    present: BTreeMap<(IpAddr, LinkIndex, u8), Assigned>,
}

impl Census {
    /// An empty one.
    pub fn new(marks: Marks) -> Census {
        Census {
            marks,
            present: BTreeMap::new(),
        }
    }

    /// What the kernel keeps of who installed an address.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// Takes a full list for the truth.
    pub fn replace(&mut self, all: Vec<Assigned>) {
        self.present = all.into_iter().map(|found| (key(&found), found)).collect();
    }

    /// An address was added or changed.
    pub fn seen(&mut self, found: Assigned) {
        self.present.insert(key(&found), found);
    }

    /// An address was removed.
    pub fn gone(&mut self, found: &Assigned) {
        self.present.remove(&key(found));
    }

    /// An interface is gone, and what was on it.
    pub fn link_gone(&mut self, link: LinkIndex) {
        self.present.retain(|(_, on, _), _| *on != link);
    }

    /// Every address.
    pub fn all(&self) -> impl Iterator<Item = &Assigned> {
        self.present.values()
    }

    /// Every copy of this address, on any interface, of any prefix length.
    pub fn copies(&self, address: IpAddr) -> impl Iterator<Item = &Assigned> {
        let first = (address, LinkIndex(0), 0);
        let last = (address, LinkIndex(u32::MAX), u8::MAX);
        self.present.range(first..=last).map(|(_, found)| found)
    }

    /// The copies that somebody else made.
    pub fn foreign(&self, address: IpAddr) -> impl Iterator<Item = &Assigned> {
        self.copies(address)
            .filter(|found| found.origin(self.marks) == Origin::Foreign)
    }
}

fn key(found: &Assigned) -> (IpAddr, LinkIndex, u8) {
    (found.address, found.link, found.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Assigned {
        let address = IpAddr::from([10, 0, 0, 1]);
        Assigned::ours(address, LinkIndex(3), Duration::from_secs(2))
    }

    #[test]
    fn only_a_marked_address_is_ours_where_the_kernel_keeps_marks() {
        let unmarked = Assigned {
            protocol: 0,
            ..ours()
        };
        assert_eq!(ours().origin(Marks::Kept), Origin::Ours);
        assert_eq!(unmarked.origin(Marks::Kept), Origin::Foreign);
    }

    #[test]
    fn what_cannot_be_told_apart_is_unclear_and_what_can_is_foreign() {
        let unmarked = Assigned {
            protocol: 0,
            ..ours()
        };
        assert_eq!(unmarked.origin(Marks::Lost), Origin::Unclear);
        let prefix = Assigned {
            prefix: 24,
            ..unmarked.clone()
        };
        let for_ever = Assigned {
            valid: None,
            ..unmarked.clone()
        };
        let preferred = Assigned {
            flags: 0,
            ..unmarked
        };
        for administrators in [prefix, for_ever, preferred] {
            assert_eq!(administrators.origin(Marks::Lost), Origin::Foreign);
        }
    }

    #[test]
    fn a_release_says_whether_marks_are_kept() {
        for (release, marks) in [
            ("5.10.0-32-amd64", Marks::Lost),
            ("5.17.15", Marks::Lost),
            ("5.18.0", Marks::Kept),
            ("6.1.0-18-amd64", Marks::Kept),
            ("strange", Marks::Lost),
        ] {
            assert_eq!(Marks::of_release(release), marks, "{release}");
        }
    }

    #[test]
    fn copies_of_one_address_are_told_apart_by_link_and_prefix() {
        let mut census = Census::new(Marks::Kept);
        let foreign = Assigned {
            prefix: 24,
            protocol: 0,
            ..ours()
        };
        let elsewhere = Assigned {
            link: LinkIndex(9),
            ..foreign.clone()
        };
        census.replace(vec![ours(), foreign.clone()]);
        census.seen(elsewhere.clone());
        let address = ours().address;
        assert_eq!(census.copies(address).count(), 3);
        assert_eq!(census.foreign(address).count(), 2);
        census.gone(&foreign);
        census.link_gone(LinkIndex(9));
        assert_eq!(census.foreign(address).count(), 0);
        assert_eq!(census.copies(address).count(), 1);
    }
}
