//! The node that is watched: what to read, when to obey, and whether the disks still vouch for it.
//!
//! A pure machine. Its driver gives it answers and the time, carries out its [`Command`]s (each disk
//! through its own [`crate::keeper::Keeper`]), wakes it at [`Watcher::wake_at`], and asks
//! [`Watcher::petting`] in the same step in which it would pet the watchdog. It does not allocate slots
//! itself, reads no disk, resets no machine.
//!
//! ```text
//!            attach           sound, mailbox empty                  pill on any disk
//! Attaching ──────> Zeroing ─────────────────────> Watching ──────────────────────> condemned
//!     ^  │ fails        │ fails                     │    │ header or slot changed
//!     └──┴──────────────┘ (asked again)             │    └──────> Ended (this disk only)
//!                                                   └ read fails: asked again, not fresh meanwhile
//! ```
//!
//! Why `msgwait` is enough. Say a pill was verified on enough disks at time T. A read that *began*
//! after T sees it, and this machine obeys. A read that began before T vouches for at most
//! `stale_after` from its beginning, and the watchdog fires at most its period after the last petting.
//! A pet that was decided just before that end may be carried out late, by one period at most, or the
//! watchdog has fired meanwhile; and it lasts one period. The hardware may be late, too: a timer that runs
//! slow by a tenth, whole ticks, the reset itself. So a node that obeys no pill is reset within `stale_after`,
//! two periods, a tenth of one and a second from T on, and the driver must not arm a watchdog with a longer
//! period than [`Watcher::watchdog_max`], which keeps that sum within `msgwait`.

use std::time::Duration;

use crate::disk::{Header, Mailbox, Message, Pill, Slot, SlotName, SlotNumber, Timeouts, Word};
use crate::majority::{DiskCount, DiskIndex};
use crate::volume::{Clearing, Sighting};

mod disk_watch;

/// A tick of a timer that counts whole seconds, and the reset itself; as isolation `watchdog` allows for them.
const RESET_SLACK: Duration = Duration::from_secs(1);

use disk_watch::DiskWatch;

/// Time on a clock that only rises and counts suspend (CLOCK_BOOTTIME), since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// A later moment.
    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(pause))
    }
}

/// Whether a node that finds a pill from its former life may begin a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// Only if its mailboxes are empty or say `exit`: a human looks first.
    Clean,
    /// In any case; what lies there is taken out.
    Always,
}

/// What the machine must know.
#[derive(Clone, Debug)]
pub struct WatcherConfig {
    /// The own name, as allocated on the disks.
    pub node: SlotName,
    /// How many disks.
    pub disks: DiskCount,
    /// What to do about old pills.
    pub start: StartMode,
    /// Time for one read or write (the tool: three times `loop`). Longer makes a slow disk stale later,
    /// within what `msgwait` leaves.
    pub io: Duration,
}

/// Number of a question to a disk. An answer names the question, so that one that comes after it was
/// given up is not taken for the answer to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask(u64);

/// What happened. Every question gets exactly one answer, an error at the latest when the time for one
/// access (`io`, and `allocate` where a slot is allocated) is over.
#[derive(Clone, Debug)]
pub enum Event {
    /// Only time has passed.
    Woken,
    /// An answer to [`Command::Attach`].
    Attached {
        /// Whose.
        disk: DiskIndex,
        /// The question.
        ask: Ask,
        /// The own slot, or why there is none.
        found: Result<Sighting, String>,
    },
    /// An answer to [`Command::Read`].
    Read {
        /// Whose.
        disk: DiskIndex,
        /// The question.
        ask: Ask,
        /// What was read, or why nothing was (an error, or no answer in time).
        seen: Result<Sighting, String>,
    },
    /// An answer to [`Command::Clear`].
    Cleared {
        /// Whose.
        disk: DiskIndex,
        /// The question.
        ask: Ask,
        /// How it went.
        outcome: Result<Clearing, String>,
    },
}

/// How to end this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfFence {
    /// At once, without writing anything out.
    Reset,
    /// Power off at once.
    PowerOff,
    /// Crash with a dump.
    CrashDump,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open the disk, find or allocate the own slot, and read it. A claim that is still pending
    /// ([`crate::volume::Claim::Pending`]) is no slot: answer with a failure, not before the header's
    /// `allocate` time is over, and this is asked again.
    Attach {
        /// Which.
        disk: DiskIndex,
        /// The question's number, to be given back.
        ask: Ask,
    },
    /// Read header, own slot and mailbox.
    Read {
        /// Which.
        disk: DiskIndex,
        /// The question's number, to be given back.
        ask: Ask,
        /// The own slot there.
        slot: SlotNumber,
    },
    /// Empty the own mailbox if it still holds what was seen.
    Clear {
        /// Which.
        disk: DiskIndex,
        /// The question's number, to be given back.
        ask: Ask,
        /// The own slot there.
        slot: SlotNumber,
        /// What was seen.
        seen: Mailbox,
    },
    /// Obey a pill. No more petting, no more anything.
    SelfFence {
        /// How.
        how: SelfFence,
        /// Where the pill lay.
        disk: DiskIndex,
        /// Who sent it.
        from: Option<SlotName>,
    },
    /// Stop watching in good order: release everything, disarm the watchdog, end.
    Exit {
        /// Who asked for it.
        from: Option<SlotName>,
    },
    /// Do not begin: there is a message from a former life (start mode `clean`).
    RefuseStart {
        /// Where.
        disk: DiskIndex,
        /// What.
        mailbox: Mailbox,
    },
    /// For the log: a disk is of no more use until the watcher is started anew.
    DiskEnded {
        /// Which.
        disk: DiskIndex,
        /// Why.
        why: Ending,
    },
    /// For the log: a `test` message was seen; clearing it is the answer.
    Tested {
        /// Which.
        disk: DiskIndex,
        /// Who sent it.
        from: Option<SlotName>,
    },
}

/// Why a disk is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The header is another one: the disk was created anew, or is another disk.
    HeaderChanged,
    /// The slot is free or somebody else's.
    SlotLost {
        /// What it says now.
        now: Slot,
    },
    /// Its timeouts differ from those of the disks before it.
    TimeoutsDiffer {
        /// Its own.
        own: Timeouts,
        /// The others'.
        others: Timeouts,
    },
    /// It came late, after this life had begun on the other disks, with a pill in it. Obeying could
    /// mean a reset at every start for an old pill, and clearing could lose a new one. Not using the
    /// disk is safe: a new pill lies on so many disks that the others show it, or are too few to live.
    LatePill(Mailbox),
    /// `msgwait` leaves no time beside the watchdog's period and one loop.
    UselessTimeouts(Timeouts),
}

/// Whether the disks support petting the watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Petting {
    /// Yes, until then unless asked again.
    Until(BootTime),
    /// No: too few disks were read lately.
    TooFewFresh {
        /// Fresh ones.
        fresh: usize,
        /// Needed.
        needed: usize,
    },
    /// No, and never again in this life: a pill was seen.
    Condemned,
    /// No: the watcher was told to stop, or did not begin.
    Stopped,
}

/// Whether the machine still watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Nothing pets the watchdog yet, so nothing can be held, and a pill that is found is one for the
    /// former life. Ends when every disk was asked once and enough of them are watched.
    Starting,
    Watching,
    Condemned,
    Stopped,
}

/// The machine.
#[derive(Debug)]
pub struct Watcher {
    config: WatcherConfig,
    disks: Vec<DiskWatch>,
    timeouts: Option<Timeouts>,
    life: Life,
}

impl Watcher {
    /// A machine that will attach to every disk at its first [`Event::Woken`].
    pub fn new(config: WatcherConfig) -> Self {
        let disks = config.disks.each().map(DiskWatch::new).collect();
        Self {
            config,
            disks,
            timeouts: None,
            life: Life::Starting,
        }
    }

    /// Takes one event; gives what to do about it, in order.
    pub fn on_event(&mut self, now: BootTime, event: Event) -> Vec<Command> {
        match self.life {
            Life::Starting | Life::Watching => {}
            Life::Condemned | Life::Stopped => return Vec::new(),
        }
        let mut out = Vec::new();
        match event {
            Event::Woken => {}
            Event::Attached { disk, ask, found } => self.on_attached(disk, ask, found, &mut out),
            Event::Read { disk, ask, seen } => self.on_read(disk, ask, seen, &mut out),
            Event::Cleared { disk, ask, outcome } => {
                let watch = self.disks.get_mut(disk.at());
                if let Some(watch) = watch.filter(|watch| watch.owes(ask)) {
                    watch.on_cleared(outcome);
                }
            }
        }
        match self.life {
            Life::Starting => {
                if self.is_ready() {
                    self.life = Life::Watching;
                }
                self.ask_due(now, &mut out);
            }
            Life::Watching => self.ask_due(now, &mut out),
            Life::Condemned | Life::Stopped => {}
        }
        out
    }

    /// When to send the next [`Event::Woken`] if nothing else happens; `None` while every disk owes an
    /// answer or has ended.
    pub fn wake_at(&self) -> Option<BootTime> {
        match self.life {
            Life::Starting | Life::Watching => {
                self.disks.iter().filter_map(DiskWatch::due_at).min()
            }
            Life::Condemned | Life::Stopped => None,
        }
    }

    /// Whether the disks support petting the watchdog now. Ask in the same step, with the clock just
    /// read.
    pub fn petting(&self, now: BootTime) -> Petting {
        let needed = self.config.disks.to_live();
        match self.life {
            Life::Condemned => return Petting::Condemned,
            Life::Stopped => return Petting::Stopped,
            Life::Starting => return Petting::TooFewFresh { fresh: 0, needed },
            Life::Watching => {}
        }
        let mut ends: Vec<BootTime> = self
            .disks
            .iter()
            .filter_map(|watch| Some(watch.last_fresh()?.after(self.stale_after()?)))
            .filter(|end| *end > now)
            .collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        match ends.get(needed - 1) {
            Some(end) => Petting::Until(*end),
            None => Petting::TooFewFresh {
                fresh: ends.len(),
                needed,
            },
        }
    }

    /// Time from the beginning of a read during which it vouches for the node; `None` before the first
    /// header was seen.
    pub fn stale_after(&self) -> Option<Duration> {
        let timeouts = self.timeouts?;
        Some(spare(timeouts)?.min(loop_pause(timeouts) + self.config.io))
    }

    /// Longest period that the watchdog may be armed with: the header's, cut to what lets a late pet and a slow
    /// timer end within `msgwait` all the same. `None` before the first header was seen.
    pub fn watchdog_max(&self) -> Option<Duration> {
        let timeouts = self.timeouts?;
        let left = Duration::from_secs(timeouts.msgwait.into())
            .saturating_sub(self.stale_after()?)
            .saturating_sub(RESET_SLACK);
        // Two periods and a tenth of one.
        Some(Duration::from_secs(timeouts.watchdog.into()).min(left * 10 / 21))
    }

    /// Whether this life may begin.
    fn is_ready(&self) -> bool {
        let watched = self.disks.iter().filter_map(DiskWatch::last_fresh).count();
        self.disks.iter().all(DiskWatch::was_met) && watched >= self.config.disks.to_live()
    }

    /// Why a disk does not vouch for the node at the moment, for people; `None` when it does.
    pub fn trouble(&self, disk: DiskIndex) -> Option<String> {
        self.disks.get(disk.at()).and_then(DiskWatch::trouble)
    }

    fn on_attached(
        &mut self,
        disk: DiskIndex,
        ask: Ask,
        found: Result<Sighting, String>,
        out: &mut Vec<Command>,
    ) {
        let begun = self.life == Life::Watching;
        let watch = self.disks.get_mut(disk.at());
        let Some(watch) = watch.filter(|watch| watch.owes(ask)) else {
            return;
        };
        let seen = match found {
            Ok(seen) => seen,
            Err(why) => return watch.failed(why),
        };
        let ending = unfit(&self.config.node, self.timeouts, &seen);
        let late_pill = (begun && seen.mailbox.word.pill().is_some())
            .then(|| Ending::LatePill(seen.mailbox.clone()));
        if let Some(why) = ending.or(late_pill) {
            watch.end(&why);
            out.push(Command::DiskEnded { disk, why });
            return;
        }
        let quiet = matches!(
            seen.mailbox.word,
            Word::Known(Message::Clear | Message::Exit)
        );
        if !quiet && !begun && self.config.start == StartMode::Clean {
            self.life = Life::Stopped;
            out.push(Command::RefuseStart {
                disk,
                mailbox: seen.mailbox,
            });
            return;
        }
        self.timeouts = Some(seen.header.timeouts);
        watch.attached(&seen);
    }

    fn on_read(
        &mut self,
        disk: DiskIndex,
        ask: Ask,
        seen: Result<Sighting, String>,
        out: &mut Vec<Command>,
    ) {
        let Some(watch) = self.disks.get_mut(disk.at()) else {
            return;
        };
        if !watch.owes(ask) {
            return;
        }
        let seen = match seen {
            Ok(seen) => seen,
            Err(why) => return watch.failed(why),
        };
        let Some(header) = watch.header() else { return };
        if let Some(why) = changed(&self.config.node, &header, &seen) {
            watch.end(&why);
            out.push(Command::DiskEnded { disk, why });
            return;
        }
        watch.sighted(&seen);
        let from = seen.mailbox.from.clone();
        match seen.mailbox.word {
            Word::Known(Message::Clear) => {}
            Word::Known(Message::Test) => out.push(Command::Tested { disk, from }),
            Word::Known(Message::Exit) => {
                self.life = Life::Stopped;
                out.push(Command::Exit { from });
            }
            Word::Known(Message::Pill(pill)) => {
                self.life = Life::Condemned;
                out.push(Command::SelfFence {
                    how: SelfFence::by(pill),
                    disk,
                    from,
                });
            }
            // Cleared like `test`, as the tool does: it may be a word of a later version.
            Word::Unknown(_) => {}
        }
    }

    fn ask_due(&mut self, now: BootTime, out: &mut Vec<Command>) {
        let pause = self.timeouts.map_or(Duration::from_secs(1), loop_pause);
        for watch in &mut self.disks {
            out.extend(watch.ask(now, pause));
        }
    }
}

impl SelfFence {
    const fn by(pill: Pill) -> Self {
        match pill {
            Pill::Reset => Self::Reset,
            Pill::Off => Self::PowerOff,
            Pill::CrashDump => Self::CrashDump,
        }
    }
}

/// A header may say zero; a loop without a pause would keep the disk busy for nothing.
fn loop_pause(timeouts: Timeouts) -> Duration {
    Duration::from_secs(timeouts.loop_.into()).max(Duration::from_millis(100))
}

/// What `msgwait` leaves beside the watchdog's period.
fn spare(timeouts: Timeouts) -> Option<Duration> {
    let spare = timeouts.msgwait.checked_sub(timeouts.watchdog)?;
    Some(Duration::from_secs(spare.into()))
}

fn unfit(node: &SlotName, others: Option<Timeouts>, seen: &Sighting) -> Option<Ending> {
    let own = seen.header.timeouts;
    if !seen.slot.belongs_to(node) {
        return Some(Ending::SlotLost {
            now: seen.slot.clone(),
        });
    }
    if spare(own).is_none_or(|spare| spare <= loop_pause(own)) || own.watchdog == 0 {
        return Some(Ending::UselessTimeouts(own));
    }
    match others {
        Some(others) if others != own => Some(Ending::TimeoutsDiffer { own, others }),
        Some(_) | None => None,
    }
}

fn changed(node: &SlotName, header: &Header, seen: &Sighting) -> Option<Ending> {
    if seen.header != *header {
        Some(Ending::HeaderChanged)
    } else if !seen.slot.belongs_to(node) {
        Some(Ending::SlotLost {
            now: seen.slot.clone(),
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
