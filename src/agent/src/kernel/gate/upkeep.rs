//! The gate on its links: attached, taken over from an earlier agent, verified, put back.
//!
//! Never opens anything: a program is replaced in place or attached before the one that it supersedes is let go.

use super::bpf::{self, Way};
use super::filters::Handle;
use super::links::{Facts, beneath, hindered};
use super::program::{ENDS, Form, PLACES};
use super::{Footing, Gate, NoGate};
use crate::kernel::link::LINK_HEADER;
use crate::kernel::netlink::{self, MessageIter, Messages, NLM_F_ACK, NLM_F_DUMP, Read};
use haft_engine::clock::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::time::Duration;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
/// linux/if_link.h, linux/rtnetlink.h: counters, which nobody reads here, are most of a message.
const IFLA_EXT_MASK: u16 = 29;
const SKIP_STATISTICS: u32 = 1 << 3;
/// Dumps that race with changes are repeated this often.
const DUMP_ATTEMPTS: usize = 8;
/// Reports taken at once, so that a storm of them cannot hold the caller for ever.
const READ_LIMIT: usize = 256;
/// Every link is looked at again this often, since nothing reports a program that somebody puts before ours.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Links that one look asks the kernel about beside those that carry addresses: of what lies beneath these, in turn, and
/// of all, in turn. Each answer is a message of its own, and a bridge may have thousands of ports.
const ASKED_AT_ONCE: usize = 32;
const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
/// `struct tcmsg` (linux/rtnetlink.h).
const TC_HEADER: usize = 20;

/// What keeps a program on its link.
#[derive(Debug)]
pub(super) enum Hold {
    /// A link of tcx, pinned.
    Link(OwnedFd),
    /// A filter of the clsact qdisc.
    Filter(Handle),
}

/// A program of ours on one link and way.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) hold: Hold,
    pub(super) program: u32,
    pub(super) form: Form,
}

/// What a look at the gate led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tended {
    /// Nothing had changed.
    Intact,
    /// The set of links that carry guarded addresses may have changed.
    Links,
    /// Something was missing or not first, and is back.
    Repaired {
        /// The first such thing.
        what: String,
    },
    /// Something is missing or not first, and stays so.
    Broken {
        /// What.
        what: String,
    },
}

fn pin_name(link: u32, way: Way) -> String {
    match way {
        Way::In => format!("in-{link}"),
        Way::Out => format!("out-{link}"),
    }
}

fn pinned_by(name: &str) -> Option<(u32, Way)> {
    let (way, index) = name.split_once('-')?;
    let way = match way {
        "in" => Way::In,
        "out" => Way::Out,
        _ => return None,
    };
    Some((index.parse().ok()?, way))
}

/// A link of an interface that has gone has nothing to be taken off, which is no failure; nor is any other
/// refusal, since the kernel takes the program off with its last descriptor in any case.
pub(super) fn release(link: &OwnedFd) {
    let _ = bpf::detach(link);
}

impl Attached {
    fn release(&self) {
        match &self.hold {
            Hold::Link(link) => release(link),
            Hold::Filter(_) => {}
        }
    }
}

/// The next of these to be asked about, from the one after the last on.
fn in_turn(links: &BTreeSet<u32>, last: u32) -> Vec<u32> {
    let after = links.range((Bound::Excluded(last), Bound::Unbounded));
    let around = after.chain(links.range(..=last));
    around.take(ASKED_AT_ONCE).copied().collect()
}

impl Gate {
    /// Looks after the gate: new links, links that have gone, programs that were detached or are not first. To
    /// be called before each beat; costs one empty read between two looks.
    pub fn tend(&mut self, now: Moment) -> Tended {
        let changed = self.links_changed();
        if !changed && !self.stale && now.since(self.tended) < LOOK_EVERY {
            return Tended::Intact;
        }
        self.tended = now;
        self.stale = true;
        let before = self.gated();
        let tunnels = match self.tunnels.look() {
            Ok(tunnels) => tunnels,
            Err(error) => {
                return Tended::Broken {
                    what: format!(
                        "the policies of IPsec are not known: {}",
                        crate::chain(&error)
                    ),
                };
            }
        };
        let changed = changed || self.has_silently_changed();
        // Before it is mended, so that somebody who takes a program off is told of.
        let noticed = if changed { self.first_fault() } else { None };
        let most = self.footing.links_at_once();
        if (changed || self.is_behind())
            && let Err(error) = self.stand_on_every_link(most)
        {
            return Tended::Broken {
                what: crate::chain(&error),
            };
        }
        let outcome = match self.first_fault() {
            None => noticed.map_or(Tended::Intact, |what| Tended::Repaired { what }),
            Some(what) => match self.stand_on_every_link(most).map(|()| self.first_fault()) {
                Ok(None) => Tended::Repaired { what },
                Ok(Some(what)) => return Tended::Broken { what },
                Err(error) => {
                    return Tended::Broken {
                        what: crate::chain(&error),
                    };
                }
            },
        };
        self.stale = self.is_behind();
        match outcome {
            Tended::Intact if tunnels || before != self.gated() => Tended::Links,
            outcome => outcome,
        }
    }

    /// Attaches where a program is missing or not first, lets go of links that are no more. Of links that have come,
    /// and of those that have become ports, it takes `most`; the others wait for the next look.
    pub(super) fn stand_on_every_link(&mut self, most: usize) -> Result<(), NoGate> {
        self.pin_maps().map_err(NoGate::Home)?;
        self.links = self.list()?;
        self.readings += 1;
        self.beneath = beneath(&self.links);
        self.hindered = hindered(&self.links, &self.beneath);
        self.refused
            .retain(|index, _| self.links.contains_key(index));
        let mut room = self.leave(most).map_err(NoGate::Home)?;
        let wanted: BTreeMap<u32, Form> = self
            .links
            .values()
            .filter_map(|facts| Some((facts.index, facts.programs().ok()?)))
            .collect();
        self.coming.retain(|index| wanted.contains_key(index));
        for (index, form) in wanted {
            let stood = Way::BOTH
                .iter()
                .any(|way| self.attached.contains_key(&(index, *way)));
            if !stood && !self.refused.contains_key(&index) {
                if room == 0 {
                    self.coming.insert(index);
                    continue;
                }
                room -= 1;
            }
            self.coming.remove(&index);
            // A refusal of one way is not undone by the other.
            self.refused.remove(&index);
            for way in Way::BOTH {
                if !self.refused.contains_key(&index) && self.fault(index, form, way).is_some() {
                    self.attach(index, form, way)?;
                }
            }
        }
        Ok(())
    }

    /// Pins the maps again that somebody has unpinned: the programs have them still, and the next agent needs them.
    fn pin_maps(&mut self) -> io::Result<()> {
        for (name, fd) in [(PLACES, &self.ends.places), (ENDS, &self.ends.ends)] {
            if !self.is_pinned(name, fd) {
                self.home.unpin(name)?;
                bpf::pin(&self.home.pin(name), fd)?;
            }
        }
        Ok(())
    }

    fn is_pinned(&self, name: &str, map: &OwnedFd) -> bool {
        let ours = bpf::map_id(map).ok();
        let there = bpf::pinned(&self.home.pin(name));
        let there = there.and_then(|map| bpf::map_id(&map)).ok();
        ours.is_some() && ours == there
    }

    /// Lets go of links that are gone, and of `most` that the stack does not speak over any more; how many more of
    /// those this look could have taken.
    fn leave(&mut self, most: usize) -> io::Result<usize> {
        let mut room = most;
        self.leaving.clear();
        let stood: BTreeSet<u32> = self.attached.keys().map(|(index, _)| *index).collect();
        for index in stood {
            match self.links.get(&index).map(Facts::programs) {
                Some(Ok(_)) => continue,
                Some(Err(_)) if room == 0 => {
                    self.leaving.insert(index);
                    continue;
                }
                Some(Err(_)) => room -= 1,
                None => {}
            }
            for way in Way::BOTH {
                self.let_go(index, way)?;
            }
        }
        Ok(room)
    }

    /// Takes over what an earlier agent left: each gets our program in place. What cannot be taken over is handed
    /// back, to be kept until ours stand.
    pub(super) fn adopt(&mut self) -> Result<Vec<OwnedFd>, NoGate> {
        let links = self.list()?;
        match self.footing {
            Footing::Pinned => self.adopt_links(&links),
            Footing::Filters => self.adopt_filters(&links).map(|()| Vec::new()),
        }
    }

    fn adopt_links(&mut self, links: &BTreeMap<u32, Facts>) -> Result<Vec<OwnedFd>, NoGate> {
        let mut left = Vec::new();
        for name in self.home.pins().map_err(NoGate::Home)? {
            let Some((index, way)) = pinned_by(&name) else {
                continue;
            };
            let form = links.get(&index).and_then(|facts| facts.programs().ok());
            let adopted = form.and_then(|form| {
                let link = bpf::pinned(&self.home.pin(&name)).ok()?;
                let alive = bpf::place(&link).ok()?.link == index;
                let program = &self.loaded[&(form, way)];
                (alive && bpf::replace(&link, &program.fd).is_ok()).then_some(Attached {
                    hold: Hold::Link(link),
                    program: program.identity.id,
                    form,
                })
            });
            match adopted {
                Some(attached) => {
                    self.attached.insert((index, way), attached);
                }
                // Of a link that is gone, or that is a port by now, or one that does not take our program.
                None => {
                    left.extend(bpf::pinned(&self.home.pin(&name)));
                    self.home.unpin(&name).map_err(NoGate::Home)?;
                }
            }
        }
        Ok(left)
    }

    /// The old one goes when the new one is first: never neither. A link that has gone meanwhile is no failure.
    fn attach(&mut self, index: u32, form: Form, way: Way) -> Result<(), NoGate> {
        match self.footing {
            Footing::Pinned => self.attach_link(index, form, way),
            Footing::Filters => {
                self.attach_filter(index, form, way);
                Ok(())
            }
        }
    }

    fn attach_link(&mut self, index: u32, form: Form, way: Way) -> Result<(), NoGate> {
        // The same program cannot stand there twice.
        let there = self
            .attached
            .get(&(index, way))
            .map(|attached| attached.program);
        let known = &self.loaded[&(form, way)];
        let fresh;
        let program = if there == Some(known.identity.id) {
            fresh = self.programs.of(form, way)?;
            &fresh
        } else {
            known
        };
        let link = match bpf::attach(&program.fd, index, way) {
            Ok(link) => link,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            Err(error) => {
                self.refused.insert(index, error.to_string());
                return Ok(());
            }
        };
        let pin = pin_name(index, way);
        let pinned = link.try_clone().map_err(NoGate::Home)?;
        let fresh = Attached {
            hold: Hold::Link(link),
            program: program.identity.id,
            form,
        };
        // Kept before anything can fail: without a descriptor or a pin it would be taken off again.
        let old = self.attached.insert((index, way), fresh);
        self.home.unpin(&pin).map_err(NoGate::Home)?;
        bpf::pin(&self.home.pin(&pin), &pinned).map_err(NoGate::Home)?;
        if let Some(old) = old {
            old.release();
        }
        Ok(())
    }

    /// Takes our program off a link and away from its pin, and both before it returns: a program that a worker
    /// of the kernel takes off later would refuse the next one of the same kind, as one that stands there already.
    fn let_go(&mut self, index: u32, way: Way) -> io::Result<()> {
        match self.footing {
            Footing::Pinned => {
                if let Some(attached) = self.attached.remove(&(index, way)) {
                    attached.release();
                }
                self.home.unpin(&pin_name(index, way))
            }
            Footing::Filters => self.let_go_of_filters(index, way),
        }
    }

    /// Looks at the maps, at the links that carry addresses, and at the next of all, in turn.
    fn first_fault(&mut self) -> Option<String> {
        for (name, fd) in [(PLACES, &self.ends.places), (ENDS, &self.ends.ends)] {
            if !self.is_pinned(name, fd) {
                return Some(format!("its map {name} is not pinned any more"));
            }
        }
        let around = self.next_in_turn(self.looked_at, self.footing.look_links());
        let last = around.last().copied().unwrap_or(0);
        let carrying = self.carrying.iter().map(|link| link.0);
        let looked_at: Vec<(u32, Form)> = carrying
            .chain(around)
            .filter(|index| !self.refused.contains_key(index) && !self.coming.contains(index))
            .filter_map(|index| Some((index, self.links.get(&index)?.programs().ok()?)))
            .collect();
        self.looked_at = last;
        looked_at.into_iter().find_map(|(index, form)| {
            let what = Way::BOTH
                .into_iter()
                .find_map(|way| self.fault(index, form, way))?;
            Some(format!("on {}: {what}", self.links[&index].name))
        })
    }

    /// What is wrong with the program on one link, if anything is.
    fn fault(&mut self, index: u32, form: Form, way: Way) -> Option<&'static str> {
        let Some(attached) = self.attached.get(&(index, way)) else {
            return Some("no program");
        };
        if attached.form != form {
            return Some("the program for another kind of link");
        }
        let program = attached.program;
        match &attached.hold {
            Hold::Link(link) => self.link_fault((index, way), (link, program)),
            Hold::Filter(handle) => {
                let handle = *handle;
                self.filter_fault((index, way), (handle, program))
            }
        }
    }

    fn link_fault(
        &self,
        (index, way): (u32, Way),
        (link, program): (&OwnedFd, u32),
    ) -> Option<&'static str> {
        match bpf::first(index, way) {
            Ok(Some(first)) if first == program => {}
            // The link has just gone, and its report is on the way.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return None,
            Ok(_) | Err(_) => return Some("its program is not the first"),
        }
        let ours = bpf::place(link).ok();
        let pinned = bpf::pinned(&self.home.pin(&pin_name(index, way)));
        match pinned.and_then(|link| bpf::place(&link)) {
            Ok(place) if place.link == index && Some(place) == ours => None,
            Ok(_) | Err(_) => Some("its link is not pinned"),
        }
    }

    /// Whether a link is otherwise than was told when it was last reported: the kernel reports no XDP program that comes
    /// or goes as a link of bpf(2). Asks about the links that carry addresses, and about the next of what lies beneath
    /// them and of all, in turn; a link that does not answer has changed.
    fn has_silently_changed(&mut self) -> bool {
        let carrying = self.carrying.iter().map(|link| link.0);
        let below = carrying.clone().filter_map(|link| self.beneath.get(&link));
        let below: BTreeSet<u32> = below.flatten().copied().collect();
        let below = in_turn(&below, self.asked_beneath);
        let next = self.next_in_turn(self.asked_about, ASKED_AT_ONCE);
        let asked: BTreeSet<u32> = carrying.chain(below.iter().chain(&next).copied()).collect();
        self.asked_about = next.last().copied().unwrap_or(0);
        self.asked_beneath = below.last().copied().unwrap_or(0);
        let known = asked
            .into_iter()
            .filter(|link| self.links.contains_key(link));
        let known: Vec<u32> = known.collect();
        known.into_iter().any(|index| match self.ask_about(index) {
            Ok(Some(facts)) => !self.links[&index].is_still(&facts),
            // It has just gone, and its report is on the way.
            Ok(None) => false,
            Err(_) => true,
        })
    }

    /// What the kernel says of one link; nothing where it is gone.
    fn ask_about(&mut self, index: u32) -> io::Result<Option<Facts>> {
        let mut about = [0; LINK_HEADER];
        about[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut request = Messages::default();
        request
            .begin(RTM_GETLINK, NLM_F_ACK, 1)
            .fixed(&about)
            .attr(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes())
            .finish();
        let mut told = None;
        let outcome = self.lister.dump(&request, |message| {
            if message.kind == RTM_NEWLINK {
                told = Facts::parse(message.body);
            }
        })?;
        match outcome {
            0 => told.map(Some).ok_or(io::ErrorKind::InvalidData.into()),
            libc::ENODEV => Ok(None),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// The links that a look takes beside those that carry addresses, from the one after the last look's on.
    fn next_in_turn(&self, last: u32, most: usize) -> Vec<u32> {
        let after = (Bound::Excluded(last), Bound::Unbounded);
        let from_the_start = self.links.range(..=last);
        let around = self.links.range(after).chain(from_the_start);
        let around = around.take(most);
        around.map(|(index, _)| *index).collect()
    }

    /// Whether interfaces have changed since the last call.
    fn links_changed(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..READ_LIMIT {
            match self.watch.read() {
                Ok(Read::Empty) => return changed,
                Ok(Read::Messages(bytes)) => {
                    changed = true;
                    MessageIter(bytes)
                        .filter(|message| message.kind == RTM_NEWLINK)
                        .filter_map(|message| netlink::u32_at(message.body, 4))
                        .for_each(|index| self.offload.reported(index));
                }
                Ok(Read::Overrun) => {
                    changed = true;
                    self.offload.forget();
                }
                Err(_) => return true,
            }
        }
        true
    }

    fn list(&mut self) -> Result<BTreeMap<u32, Facts>, NoGate> {
        let links = self.dump(RTM_GETLINK, &[0; LINK_HEADER], |kind, body| {
            (kind == RTM_NEWLINK).then(|| Facts::parse(body)).flatten()
        })?;
        let queues = self.dump(RTM_GETQDISC, &[0; TC_HEADER], |kind, body| {
            (kind == RTM_NEWQDISC).then(|| Facts::queue(body)).flatten()
        })?;
        let mut links: BTreeMap<u32, Facts> = links
            .into_iter()
            .map(|facts| (facts.index, facts))
            .collect();
        for (index, kind) in queues {
            if let Some(facts) = links.get_mut(&index) {
                facts.has(kind);
            }
        }
        let names = links
            .values()
            .map(|facts| (facts.index, facts.name.as_str()));
        for index in self.offload.of(names) {
            if let Some(facts) = links.get_mut(&index) {
                facts.offload();
            }
        }
        Ok(links)
    }

    fn dump<T>(
        &mut self,
        what: u16,
        header: &[u8],
        read: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NoGate> {
        let mut request = Messages::default();
        request.begin(what, NLM_F_DUMP, 1).fixed(header).finish();
        let mut last = 0;
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            last = self
                .lister
                .dump(&request, |message| {
                    found.extend(read(message.kind, message.body));
                })
                .map_err(NoGate::Links)?;
            match last {
                0 => return Ok(found),
                libc::EINTR | libc::ENOBUFS => {}
                _ => break,
            }
        }
        Err(NoGate::Links(io::Error::from_raw_os_error(last)))
    }
}
