//! The gate on filters of clsact qdiscs, where the kernel has no tcx (before Linux 6.6).
//!
//! The same programs, first in the chain of every link. They live on without us as pinned links do; but anybody who
//! may configure the network can delete them then, and nobody looks: such a gate is never worth more than `watched`.
//! A program is replaced in place, or a new one stands before the old one goes.

use super::bpf::Way;
use super::filters::{Filter, Filters, Handle, NAME, Placing};
use super::links::Facts;
use super::program::Form;
use super::upkeep::{Attached, Hold};
use super::{Gate, NoGate};
use std::collections::BTreeMap;
use std::io;

/// Why a link is refused whose place for filters has only one way.
const INWARD_ONLY: &str =
    "it has an ingress qdisc, which has no place for what goes out: make it clsact";

/// The number of an error; of one that is not the kernel's, that of a failed device.
fn code_of(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Ours among a link's filters, in their order.
fn ours(filters: &[Filter]) -> Vec<Handle> {
    filters.iter().filter_map(Filter::ours).collect()
}

/// Takes every filter of ours off every link of this thread's namespace. Qdiscs stay: they do nothing by themselves,
/// and whoever else has filters there keeps them.
pub(super) fn unhook_everywhere() -> io::Result<()> {
    let mut filters = Filters::open()?;
    for link in filters.links()? {
        for way in Way::BOTH {
            unhook(&mut filters, link, way)?;
        }
    }
    Ok(())
}

fn unhook(filters: &mut Filters, link: u32, way: Way) -> io::Result<()> {
    let there = filters.on(link, way)?;
    for handle in ours(&there) {
        filters.remove(link, way, handle)?;
    }
    Ok(())
}

impl Gate {
    /// Takes over the filters that an earlier agent left: each gets our program in place. Those of links that are
    /// ports by now go.
    pub(super) fn adopt_filters(&mut self, links: &BTreeMap<u32, Facts>) -> Result<(), NoGate> {
        for (index, facts) in links {
            for way in Way::BOTH {
                let there = self.filters.on(*index, way).map_err(NoGate::Links)?;
                let mut ours = ours(&there).into_iter();
                let Some(handle) = ours.next() else {
                    continue;
                };
                let Ok(form) = facts.programs() else {
                    unhook(&mut self.filters, *index, way).map_err(NoGate::Links)?;
                    continue;
                };
                // What cannot be replaced is not taken over; the look that follows says why.
                if self
                    .put((*index, way), form, handle, Placing::Over)
                    .is_err()
                {
                    continue;
                }
                self.hold((*index, way), form, handle);
                // A second one is there where an agent died between putting and removing.
                for superseded in ours {
                    self.filters
                        .remove(*index, way, superseded)
                        .map_err(NoGate::Links)?;
                }
            }
        }
        Ok(())
    }

    /// Ours is the first filter when this returns, or the link is refused and its reason kept. A link that has gone
    /// meanwhile is no failure.
    pub(super) fn attach_filter(&mut self, index: u32, form: Form, way: Way) {
        let facts = self.links.get(&index);
        if facts.is_some_and(|facts| !facts.takes_filters()) {
            self.refused.insert(index, INWARD_ONLY.to_owned());
            // One for the way out would be in the way in.
            for way in Way::BOTH {
                if let Err(error) = self.let_go_of_filters(index, way) {
                    tracing::warn!(index, %error, "a filter stays on a link that is refused");
                }
            }
            return;
        }
        // Once more where somebody has changed what was listed just before.
        let outcome = match self.hook(index, form, way).map_err(code_of) {
            Err(libc::ENOENT | libc::EEXIST) => self.hook(index, form, way).map_err(code_of),
            outcome => outcome,
        };
        match outcome {
            Ok(()) | Err(libc::ENODEV) => {}
            Err(code) => {
                let why = io::Error::from_raw_os_error(code);
                // What stands there stays: it opens nothing.
                self.refused
                    .insert(index, format!("a filter of its clsact qdisc: {why}"));
            }
        }
    }

    fn hook(&mut self, index: u32, form: Form, way: Way) -> io::Result<()> {
        self.filters.make_room(index)?;
        let there = self.filters.on(index, way)?;
        let first = there.first().and_then(Filter::ours);
        let old = ours(&there);
        let handle = match (first, old.first()) {
            (Some(handle), _) => {
                self.put((index, way), form, handle, Placing::Over)?;
                handle
            }
            (None, Some(behind)) => {
                let handle = behind.next();
                if old.contains(&handle) {
                    self.filters.remove(index, way, handle)?;
                }
                self.put((index, way), form, handle, Placing::First)?;
                handle
            }
            (None, None) => {
                let handle = Handle::One;
                self.put((index, way), form, handle, Placing::First)?;
                handle
            }
        };
        self.hold((index, way), form, handle);
        for superseded in old.into_iter().filter(|one| *one != handle) {
            self.filters.remove(index, way, superseded)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        place: (u32, Way),
        form: Form,
        handle: Handle,
        placing: Placing,
    ) -> io::Result<()> {
        let program = &self.loaded[&(form, place.1)];
        let name = format!("{NAME}{}", form.program(place.1));
        self.filters
            .put(place, handle, placing, (&program.fd, &name))
    }

    fn hold(&mut self, place: (u32, Way), form: Form, handle: Handle) {
        let attached = Attached {
            hold: Hold::Filter(handle),
            program: self.loaded[&(form, place.1)].identity.id,
            form,
        };
        self.attached.insert(place, attached);
    }

    /// Takes our filters off a link.
    pub(super) fn let_go_of_filters(&mut self, index: u32, way: Way) -> io::Result<()> {
        self.attached.remove(&(index, way));
        unhook(&mut self.filters, index, way)
    }

    /// What is wrong with the filter on one link, if anything is.
    pub(super) fn filter_fault(
        &mut self,
        (index, way): (u32, Way),
        (held, program): (Handle, u32),
    ) -> Option<&'static str> {
        let Ok(there) = self.filters.on(index, way) else {
            return Some("its filters cannot be listed");
        };
        match there.first() {
            Some(first) if first.ours() == Some(held) && first.program == Some(program) => None,
            Some(_) => Some("its filter is not the first"),
            // The link has just gone, and its report is on the way.
            None if matches!(self.filters.is_there(index), Ok(false)) => None,
            None => Some("no filter"),
        }
    }
}
