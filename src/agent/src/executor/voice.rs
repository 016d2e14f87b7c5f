//! Announcements: who speaks for which address, and when.
//!
//! Repeats and refreshes by the kernel side's schedule, starts anew when a rival claims the address. A
//! failure to announce is logged and retried by the schedule; it never stops an owner.

use super::rivals::Rivals;
use crate::chain;
use crate::kernel::announce::{Announcer, RivalWatch, Schedule};
use crate::kernel::link::{Link, LinkIndex};
use haft_engine::clock::Moment;
use haft_engine::machine::Claim;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Every address that is announced.
#[derive(Debug, Default)]
pub(super) struct Voice {
    schedules: BTreeMap<IpAddr, (LinkIndex, Schedule)>,
    mouths: BTreeMap<LinkIndex, Mouth>,
    /// When each address was last defended.
    defended: BTreeMap<IpAddr, Moment>,
    rivals: Rivals,
    /// Where each address is asked about and listened for.
    ears: BTreeMap<IpAddr, LinkIndex>,
}

/// Between two defences of one address. A rival that answers each of our announcements with its own would
/// otherwise be answered in turn without end (RFC 5227 section 2.4 limits defence for the same reason; its
/// 10 s would leave clients with the rival's address for too long after a failover).
const DEFEND_EVERY: Duration = Duration::from_secs(1);

/// The sockets of one interface.
#[derive(Debug)]
struct Mouth {
    /// The interface's name.
    link: String,
    announcer: Announcer,
    /// Absent if it could not be opened; addresses are announced without it.
    rivals: Option<RivalWatch>,
}

impl Voice {
    /// Announces `address` on `link` from now on, beginning at once.
    pub(super) fn start(&mut self, address: IpAddr, link: &Link, now: Moment) {
        self.schedules
            .insert(address, (link.index, Schedule::starting(address, now)));
        self.listen(address, link, now);
        self.speak(now);
    }

    /// Asks whether anybody else has the address, before it is claimed, and listens from now on. What is heard
    /// is told and delays nothing.
    pub(super) fn listen(&mut self, address: IpAddr, link: &Link, now: Moment) {
        self.ears.insert(address, link.index);
        self.rivals.begin(address, now);
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
        self.ask(now);
    }

    /// Hardware addresses of this machine, which are nobody's rival.
    pub(super) fn set_own(&mut self, own: BTreeSet<[u8; 6]>) {
        self.rivals.set_own(own);
    }

    /// What has been heard of rivals and is to be told now.
    pub(super) fn rivals(&mut self, now: Moment) -> Vec<(IpAddr, Option<Claim>)> {
        self.rivals.news(now)
    }

    fn ask(&mut self, now: Moment) {
        for address in self.rivals.questions(now) {
            let mouth = self.ears.get(&address).and_then(|on| self.mouths.get(on));
            if let Some(mouth) = mouth
                && let Err(error) = mouth.announcer.probe(address)
            {
                tracing::debug!(%address, err = chain(&error), "cannot ask for rivals");
            }
        }
    }

    /// The interface has a new hardware address or is usable again.
    pub(super) fn again(&mut self, address: IpAddr, link: &Link, now: Moment) {
        if let Some(old) = self.mouths.remove(&link.index) {
            close_elsewhere(old);
        }
        if self.schedules.contains_key(&address) {
            self.start(address, link, now);
        }
    }

    /// Announces `address` no more. The interface's sockets stay for the next one: closing a packet socket
    /// waits for the network's readers, some 15 ms (tried), which the lease thread cannot spare.
    pub(super) fn stop(&mut self, address: IpAddr) {
        self.defended.remove(&address);
        self.schedules.remove(&address);
        self.rivals.end(address);
        let Some(link) = self.ears.remove(&address) else {
            return;
        };
        self.retarget(link);
    }

    /// Hears rivals, announces what is due, says when the next announcement is.
    pub(super) fn speak(&mut self, now: Moment) -> Moment {
        for mouth in self.mouths.values_mut() {
            let heard = mouth.rivals.as_mut().map(RivalWatch::read);
            match heard {
                Some(Ok(rivals)) => {
                    for rival in rivals {
                        let claim = Claim {
                            mac: rival.mac,
                            link: mouth.link.clone(),
                        };
                        if !self.rivals.hear(rival.address, claim, now) {
                            continue;
                        }
                        let last = self.defended.get(&rival.address);
                        if last.is_some_and(|last| now.since(*last) < DEFEND_EVERY) {
                            continue;
                        }
                        if let Some((_, schedule)) = self.schedules.get_mut(&rival.address) {
                            self.defended.insert(rival.address, now);
                            tracing::warn!(address = %rival.address, mac = ?rival.mac, "another machine claims the address");
                            schedule.again(now);
                        }
                    }
                }
                // An interface that goes down says so once; the socket lives on.
                Some(Err(error)) => tracing::debug!(err = chain(&error), "cannot hear rivals"),
                None => {}
            }
        }
        self.ask(now);
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
            .chain(std::iter::once(self.rivals.next()))
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
            .ears
            .iter()
            .filter(|(_, on)| **on == link)
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

/// Closes an interface's sockets on a thread of its own; a change of hardware address or carrier is rare.
fn close_elsewhere(mouth: Mouth) {
    let spawned = std::thread::Builder::new()
        .name("haft-close".to_owned())
        .spawn(move || drop(mouth));
    // Without a thread they are closed here after all.
    if let Err(error) = spawned {
        tracing::debug!(err = chain(&error), "closed on the lease thread");
    }
}

fn open(link: &Link) -> Result<Mouth, String> {
    let announcer = Announcer::open(link).map_err(|error| chain(&error))?;
    let rivals = RivalWatch::open(link, &[]);
    if let Err(error) = &rivals {
        tracing::debug!(err = chain(error), "cannot listen for rivals");
    }
    Ok(Mouth {
        link: link.name.clone(),
        announcer,
        rivals: rivals.ok(),
    })
}
