//! Announcements: who speaks for which address, and when.
//!
//! Repeats and refreshes by the kernel side's schedule, starts anew when a rival claims the address. A
//! failure to announce is logged and retried by the schedule; it never stops an owner.

use crate::chain;
use crate::kernel::announce::{Announcer, RivalWatch, Schedule};
use crate::kernel::link::{Link, LinkIndex};
use haft_engine::clock::Moment;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// Every address that is announced.
#[derive(Debug, Default)]
pub(super) struct Voice {
    schedules: BTreeMap<IpAddr, (LinkIndex, Schedule)>,
    mouths: BTreeMap<LinkIndex, Mouth>,
}

/// The sockets of one interface.
#[derive(Debug)]
struct Mouth {
    announcer: Announcer,
    /// Absent if it could not be opened; addresses are announced without it.
    rivals: Option<RivalWatch>,
}

impl Voice {
    /// Announces `address` on `link` from now on, beginning at once.
    pub(super) fn start(&mut self, address: IpAddr, link: &Link, now: Moment) {
        self.schedules
            .insert(address, (link.index, Schedule::starting(address, now)));
        if let Entry::Vacant(place) = self.mouths.entry(link.index) {
            match open(link) {
                Ok(mouth) => {
                    place.insert(mouth);
                }
                Err(error) => {
                    tracing::warn!(%address, err = error, "cannot announce");
                }
            }
        }
        self.retarget(link.index);
        self.speak(now);
    }

    /// The interface has a new hardware address or is usable again.
    pub(super) fn again(&mut self, address: IpAddr, link: &Link, now: Moment) {
        self.mouths.remove(&link.index);
        if self.schedules.contains_key(&address) {
            self.start(address, link, now);
        }
    }

    /// Announces `address` no more.
    pub(super) fn stop(&mut self, address: IpAddr) {
        let Some((link, _)) = self.schedules.remove(&address) else {
            return;
        };
        if self.schedules.values().any(|(other, _)| *other == link) {
            self.retarget(link);
        } else {
            self.mouths.remove(&link);
        }
    }

    /// Hears rivals, announces what is due, says when the next announcement is.
    pub(super) fn speak(&mut self, now: Moment) -> Moment {
        for mouth in self.mouths.values_mut() {
            let heard = mouth.rivals.as_mut().map(RivalWatch::read);
            match heard {
                Some(Ok(rivals)) => {
                    for rival in rivals {
                        if let Some((_, schedule)) = self.schedules.get_mut(&rival.address) {
                            tracing::warn!(address = %rival.address, mac = ?rival.mac, "another machine claims the address");
                            schedule.again(now);
                        }
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(err = chain(&error), "cannot hear rivals");
                    mouth.rivals = None;
                }
                None => {}
            }
        }
        for (address, (link, schedule)) in &mut self.schedules {
            if !schedule.take(now) {
                continue;
            }
            if let Some(mouth) = self.mouths.get(link)
                && let Err(error) = mouth.announcer.announce(*address)
            {
                tracing::debug!(%address, err = chain(&error), "announcement failed");
            }
        }
        self.schedules
            .values()
            .map(|(_, schedule)| schedule.next())
            .min()
            .unwrap_or(Moment(u64::MAX))
    }

    /// Readable when a rival was heard.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.mouths
            .values()
            .filter_map(|mouth| mouth.rivals.as_ref().map(AsFd::as_fd))
    }

    fn retarget(&mut self, link: LinkIndex) {
        let ours: Vec<IpAddr> = self
            .schedules
            .iter()
            .filter(|(_, (on, _))| *on == link)
            .map(|(address, _)| *address)
            .collect();
        if let Some(rivals) = self
            .mouths
            .get_mut(&link)
            .and_then(|mouth| mouth.rivals.as_mut())
            && let Err(error) = rivals.retarget(&ours)
        {
            tracing::debug!(err = chain(&error), "cannot listen for rivals");
        }
    }
}

fn open(link: &Link) -> Result<Mouth, String> {
    let announcer = Announcer::open(link).map_err(|error| chain(&error))?;
    let rivals = RivalWatch::open(link, &[]);
    if let Err(error) = &rivals {
        tracing::debug!(err = chain(error), "cannot listen for rivals");
    }
    Ok(Mouth {
        announcer,
        rivals: rivals.ok(),
    })
}
