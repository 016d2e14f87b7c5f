//! Shared disks with a slot a machine, and each machine's watcher: what is true of `docs/sbd.md` without its bytes.
//!
//! A disk here is a slot table and what each machine sees of it. Left out are formats and queues (the
//! agent's own suites have them). A read that returns an older content is one fault on one of three disks: a node all of
//! whose disks show it the past cannot be reached by any pill.

use crate::clock::{MS, TrueTime};
use crate::net::Place;
use crate::raft::nanos;
use haft_engine::clock::{Moment, Timing};
use std::time::Duration;

/// The times that all users of the disks obey (in the disks' headers).
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskTimes {
    /// Between two reads of the own slot.
    pub(crate) pause: Duration,
    /// Time for one disk to answer.
    pub(crate) io: Duration,
    /// Period of the watchdog.
    pub(crate) period: Duration,
    /// What the executor waits after a verified pill.
    pub(crate) msgwait: Duration,
}

impl DiskTimes {
    /// Of the order of a ttl, so that runs of every preset see many; real ones are whole seconds.
    pub(crate) fn of(timing: &Timing) -> DiskTimes {
        let pause = timing.ttl / 2;
        let io = timing.ttl / 4;
        let period = timing.ttl * 2;
        let times = DiskTimes {
            pause,
            io,
            period,
            msgwait: Duration::ZERO,
        };
        // The last read that saw no pill vouches for `stale`; a pet decided then may be late by a period and lasts one;
        // the hardware may be late each time; two clocks may differ by rho.
        let needed = times.stale() + times.fires_within() * 2;
        DiskTimes {
            msgwait: needed + needed / 500 + Duration::from_millis(5),
            ..times
        }
    }

    /// How long one read vouches for the node, from its beginning.
    pub(crate) fn stale(&self) -> Duration {
        self.pause + self.io
    }

    /// The watchdog resets the machine within this of a pet: a timer may run slow by a tenth.
    pub(crate) fn fires_within(&self) -> Duration {
        self.period + self.period / 10 + Duration::from_millis(5)
    }
}

/// What lies in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// Nothing to obey.
    Clear,
    /// End yourself.
    Pill,
}

/// What one machine makes of one disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sight {
    /// Nothing answers until then.
    pub(crate) hung_until: TrueTime,
    /// Reads show what lay there before the newest write until then.
    pub(crate) stale_until: TrueTime,
}

/// One shared disk.
#[derive(Clone, Debug)]
pub(crate) struct SharedDisk {
    slots: Vec<(Word, Word)>,
    sights: Vec<Sight>,
    /// The array is gone.
    pub(crate) gone_until: TrueTime,
    /// Writes are acknowledged and lost.
    pub(crate) loses_until: TrueTime,
    /// The slot of this machine names another node.
    pub(crate) misnamed: Option<Place>,
}

/// What came of a write, as the host sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrote {
    /// Acknowledged, which proves nothing.
    Acknowledged,
    /// Not done.
    Failed,
    /// No answer; a hung disk may yet carry it out at this time.
    Hangs(TrueTime),
}

impl SharedDisk {
    /// A healthy one with a slot a machine.
    pub(crate) fn new(places: usize) -> SharedDisk {
        SharedDisk {
            slots: vec![(Word::Clear, Word::Clear); places],
            sights: vec![Sight::default(); places],
            gone_until: 0,
            loses_until: 0,
            misnamed: None,
        }
    }

    /// What `place` makes of it.
    pub(crate) fn sight(&mut self, place: Place) -> &mut Sight {
        &mut self.sights[place]
    }

    /// Whether no machine's sight of it is disturbed.
    pub(crate) fn is_sound(&self, now: TrueTime) -> bool {
        now >= self.gone_until
            && self.misnamed.is_none()
            && self
                .sights
                .iter()
                .all(|one| now >= one.hung_until && now >= one.stale_until)
    }

    /// Whether some machine reads the past from it.
    pub(crate) fn is_stale(&self, now: TrueTime) -> bool {
        self.sights.iter().any(|one| now < one.stale_until)
    }

    /// `host` reads the slot of `of`.
    pub(crate) fn read(&self, now: TrueTime, host: Place, of: Place) -> Option<Word> {
        let sight = self.sights[host];
        if now < self.gone_until || now < sight.hung_until || self.misnamed == Some(of) {
            return None;
        }
        let (newest, before) = self.slots[of];
        Some(if now < sight.stale_until {
            before
        } else {
            newest
        })
    }

    /// `host` writes into the slot of `of`.
    pub(crate) fn write(&mut self, now: TrueTime, host: Place, of: Place, word: Word) -> Wrote {
        let hung = self.sights[host].hung_until;
        if now < self.gone_until || self.misnamed == Some(of) {
            return Wrote::Failed;
        }
        if now < hung {
            return Wrote::Hangs(hung);
        }
        if now >= self.loses_until {
            self.put(of, word);
        }
        Wrote::Acknowledged
    }

    /// The platter takes it.
    pub(crate) fn put(&mut self, of: Place, word: Word) {
        let (newest, _) = self.slots[of];
        self.slots[of] = (word, newest);
    }

    /// No fault any more; what was written stays.
    pub(crate) fn heal(&mut self) {
        self.sights.fill(Sight::default());
        self.gone_until = 0;
        self.loses_until = 0;
        self.misnamed = None;
    }
}

/// Whether a node that finds a pill from its former life may begin a new one (`docs/sbd.md`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StartMode {
    /// Only with empty mailboxes; a human looks first. Attaches once the disks vouch.
    Clean,
    /// Attaches, takes the pill out, and holds nothing before the disks vouch.
    Always,
}

/// What a pill does to the machine that obeys it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Obeyed {
    /// It boots again at once.
    Reset,
    /// It stays off.
    Off,
}

/// Where a watcher stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watching {
    /// Not begun.
    No,
    /// The disks are looked at; nothing may be held yet. So many pets so far.
    Begun(u32),
    /// The watchdog is armed and the disks vouched again since.
    Watched,
    /// Its thread is dead, the process lives.
    Dead,
}

/// The watcher of one life of an agent.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    /// Where it stands.
    pub(crate) stage: Watching,
    reads: Vec<Option<Moment>>,
}

impl Watcher {
    /// One that has not begun.
    pub(crate) fn idle() -> Watcher {
        Watcher {
            stage: Watching::No,
            reads: Vec::new(),
        }
    }

    /// Looks at these disks from now on.
    pub(crate) fn begin(&mut self, disks: usize) {
        self.stage = Watching::Begun(0);
        self.reads = vec![None; disks];
    }

    /// A read that began now showed no pill.
    pub(crate) fn saw_nothing(&mut self, disk: usize, now: Moment) {
        self.reads[disk] = Some(now);
    }

    /// Whether enough disks vouch for this node: 1 of 1, 2 of 3.
    pub(crate) fn vouched(&self, now: Moment, times: &DiskTimes) -> bool {
        let fresh = self.reads.iter().flatten();
        let fresh = fresh
            .filter(|read| now.since(**read) < times.stale())
            .count();
        fresh >= majority(self.reads.len())
    }
}

/// Disks that a pill must lie on, and that a node must see: 1 of 1, 2 of 3.
pub(crate) fn majority(disks: usize) -> usize {
    disks / 2 + 1
}

/// The time in which a disk answers or counts as hung.
pub(crate) fn io_takes(times: &DiskTimes, hangs: bool) -> TrueTime {
    if hangs { nanos(times.io) } else { MS }
}

#[cfg(test)]
mod tests {
    use super::{DiskTimes, SharedDisk, Watcher, Word, Wrote};
    use crate::clock::MS;
    use haft_engine::clock::{Moment, Timing};

    #[test]
    fn a_lost_write_is_acknowledged_and_not_read_back() {
        let mut disk = SharedDisk::new(2);
        disk.loses_until = 10 * MS;
        assert_eq!(disk.write(MS, 0, 1, Word::Pill), Wrote::Acknowledged);
        assert_eq!(disk.read(2 * MS, 0, 1), Some(Word::Clear));
        assert_eq!(disk.write(11 * MS, 0, 1, Word::Pill), Wrote::Acknowledged);
        assert_eq!(disk.read(12 * MS, 0, 1), Some(Word::Pill));
        assert_eq!(disk.read(12 * MS, 0, 0), Some(Word::Clear));
    }

    #[test]
    fn two_of_three_disks_vouch_for_as_long_as_a_read_is_fresh() {
        let times = DiskTimes::of(&Timing::FAST);
        let mut watcher = Watcher::idle();
        watcher.begin(3);
        watcher.saw_nothing(0, Moment(1));
        assert!(!watcher.vouched(Moment(2), &times));
        watcher.saw_nothing(2, Moment(1));
        assert!(watcher.vouched(Moment(2), &times));
        assert!(!watcher.vouched(Moment(1) + times.stale(), &times));
    }
}
