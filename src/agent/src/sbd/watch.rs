//! The thread `haft-sbd`: gives the watcher machine its answers and the time, and does what it says.
//!
//! It never waits for a disk: each has a thread of its own, and a question that gets no answer in time is
//! answered here with a failure. What it knows of the node's life goes to the lease thread as a [`Vouch`];
//! if this thread dies or the disks fall silent, that runs out and the watchdog is petted no more.

use super::act::EndMachine;
use super::vouch::Vouch;
use super::{SbdError, SbdNotice, SbdNotices};
use crate::kernel::clock::boot_now;
use haft_engine::clock::Moment;
use haft_fence_sbd::bank::in_words;
use haft_fence_sbd::device::Medium;
use haft_fence_sbd::disk::{SlotName, Timeouts};
use haft_fence_sbd::keeper::Keeper;
use haft_fence_sbd::majority::DiskIndex;
use haft_fence_sbd::volume::{Claim, Sighting, Volume, VolumeError};
use haft_fence_sbd::watcher::{
    Ask, BootTime, Command, Event, Petting, StartMode, Watcher, WatcherConfig,
};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Answers that may wait: one per disk, and late ones.
const ANSWERS_MAX: usize = 16;
/// The loop looks around at least this often; nothing depends on it.
const IDLE_WAKE: Duration = Duration::from_secs(1);

/// One shared disk.
pub struct Disk {
    /// For people.
    pub name: String,
    /// Its thread.
    pub keeper: Keeper,
}

/// Whom the watch talks to.
#[derive(Debug)]
pub struct Ends {
    /// The lease thread's side.
    pub vouch: Vouch,
    /// Where the lease thread says that the node has been admitted; start mode `always` waits for it.
    pub admitted: Receiver<()>,
    /// The process.
    pub notices: SbdNotices,
    /// What a pill does.
    pub machine: Box<dyn EndMachine>,
}

/// A disk's answer on its way.
enum Answer {
    Plain(Event),
    /// To [`Command::Attach`], which may have to wait before it is given.
    Attached(DiskIndex, Ask, Result<Found, String>),
}

enum Found {
    Owned(Sighting, Medium),
    Claimed(Timeouts),
}

/// The answer that a disk's question gets at this moment, unless the disk gives one before.
struct Owed {
    at: BootTime,
    event: Event,
}

impl Owed {
    fn answers(&self, question: Ask) -> bool {
        match &self.event {
            Event::Attached { ask, .. } | Event::Read { ask, .. } | Event::Cleared { ask, .. } => {
                *ask == question
            }
            Event::Woken => false,
        }
    }
}

/// The thread's state.
struct Watch {
    watcher: Watcher,
    node: SlotName,
    io: Duration,
    disks: Vec<Disk>,
    media: Vec<Option<Medium>>,
    owed: Vec<Option<Owed>>,
    tell: SyncSender<Answer>,
    hear: Receiver<Answer>,
    ends: Ends,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    On,
    Over,
}

/// Starts the thread. It runs until a pill, `exit` or a refused start ends it, else as long as the process.
///
/// # Errors
/// When there is no thread to be had.
pub fn start(config: WatcherConfig, disks: Vec<Disk>, ends: Ends) -> Result<(), SbdError> {
    let (tell, hear) = sync_channel(ANSWERS_MAX);
    let watch = Watch {
        node: config.node.clone(),
        io: config.io,
        media: disks.iter().map(|_| None).collect(),
        owed: disks.iter().map(|_| None).collect(),
        disks,
        tell,
        hear,
        ends,
        watcher: Watcher::new(config.clone()),
    };
    std::thread::Builder::new()
        .name("haft-sbd".to_owned())
        .spawn(move || watch.run(config.start))
        .map(|_| ())
        .map_err(|error| SbdError::Thread {
            why: error.to_string(),
        })
}

fn now() -> BootTime {
    BootTime(Duration::from_nanos(boot_now().0))
}

fn moment(time: BootTime) -> Moment {
    Moment(u64::try_from(time.0.as_nanos()).unwrap_or(u64::MAX))
}

impl Watch {
    fn run(mut self, start: StartMode) {
        match start {
            StartMode::Clean => {}
            // Before that somebody may still be waiting for the old pill to have its effect.
            StartMode::Always => {
                while let Err(error) = self.ends.admitted.recv_timeout(IDLE_WAKE) {
                    if error == RecvTimeoutError::Disconnected {
                        return;
                    }
                }
            }
        }
        let mut next = Event::Woken;
        while self.take(next) == Course::On {
            next = self.await_event();
        }
        // What was vouched for by the last read runs out by itself, unless a pill was seen.
    }

    /// Steps the machine and says what it makes of the disks.
    fn take(&mut self, event: Event) -> Course {
        let commands = self.watcher.on_event(now(), event);
        match self.watcher.petting(now()) {
            Petting::Until(end) => {
                if let Some(period) = self.watcher.watchdog_max() {
                    self.ends.vouch.set_longest(period);
                }
                self.ends.vouch.set_until(moment(end));
            }
            Petting::TooFewFresh { .. } | Petting::Condemned => {
                self.ends.vouch.set_until(Moment(0));
            }
            // Told to end in good order: the last read covers the time for that.
            Petting::Stopped => {}
        }
        let mut course = Course::On;
        for command in commands {
            if self.carry_out(command) == Course::Over {
                course = Course::Over;
            }
        }
        course
    }

    /// The next answer, given by a disk or for it, or the time for the next question.
    fn await_event(&mut self) -> Event {
        loop {
            let at = now();
            let late = self
                .owed
                .iter_mut()
                .find_map(|owed| owed.take_if(|owed| owed.at <= at));
            if let Some(owed) = late {
                return owed.event;
            }
            let until = self
                .owed
                .iter()
                .flatten()
                .map(|owed| owed.at)
                .chain(self.watcher.wake_at())
                .min()
                .unwrap_or_else(|| at.after(IDLE_WAKE));
            let patience = until.0.saturating_sub(at.0).min(IDLE_WAKE);
            match self.hear.recv_timeout(patience) {
                Ok(Answer::Plain(event)) => return event,
                Ok(Answer::Attached(disk, ask, found)) => {
                    if let Some(event) = self.found(disk, ask, found) {
                        return event;
                    }
                }
                Err(_) => return Event::Woken,
            }
        }
    }

    /// What an attached disk comes to. A fresh claim is answered only when it can be looked at again.
    fn found(&mut self, disk: DiskIndex, ask: Ask, found: Result<Found, String>) -> Option<Event> {
        let found = match found {
            Ok(Found::Claimed(timeouts)) => {
                // Given up meanwhile: another question may be out, whose failure is owed here.
                let owed = self.owed[disk.at()].as_ref();
                if !owed.is_some_and(|owed| owed.answers(ask)) {
                    return None;
                }
                let pause = Duration::from_secs(timeouts.allocate.into());
                let found = Err("its slot was claimed just now".to_owned());
                self.owed[disk.at()] = Some(Owed {
                    at: now().after(pause),
                    event: Event::Attached { disk, ask, found },
                });
                return None;
            }
            Ok(Found::Owned(sighting, medium)) => match self.same_as(disk, medium) {
                Some(other) => Err(format!("it is the same disk as {other}")),
                None => {
                    self.media[disk.at()] = Some(medium);
                    Ok(sighting)
                }
            },
            Err(why) => Err(why),
        };
        if let Err(why) = &found {
            tracing::warn!(
                disk = self.disks[disk.at()].name,
                why,
                "cannot be watched yet"
            );
        }
        Some(Event::Attached { disk, ask, found })
    }

    /// Two names of one disk would count twice.
    fn same_as(&self, disk: DiskIndex, medium: Medium) -> Option<&str> {
        let others = self.media.iter().zip(&self.disks).enumerate();
        let other = others
            .filter(|(place, (known, _))| *place != disk.at() && **known == Some(medium))
            .map(|(_, (_, other))| other.name.as_str())
            .next();
        match medium {
            Medium::Block(_) | Medium::DirectFile(..) | Medium::BufferedFile(..) => other,
            Medium::Memory => None,
        }
    }

    fn carry_out(&mut self, command: Command) -> Course {
        match command {
            Command::Attach { disk, ask } => self.attach(disk, ask),
            Command::Read { disk, ask, slot } => {
                let work = move |volume: &mut Volume| volume.sighting(slot);
                let event = move |seen| Event::Read { disk, ask, seen };
                self.question(disk, self.io, work, event, Answer::Plain);
            }
            Command::Clear {
                disk,
                ask,
                slot,
                seen,
            } => {
                let work = move |volume: &mut Volume| volume.clear(slot, &seen);
                let event = move |outcome| Event::Cleared { disk, ask, outcome };
                self.question(disk, self.io, work, event, Answer::Plain);
            }
            Command::SelfFence { how, disk, from } => {
                let disk = &self.disks[disk.at()].name;
                tracing::error!(disk, ?from, ?how, "a pill: this machine ends");
                self.ends.machine.end(how);
                return Course::Over;
            }
            Command::Exit { from } => {
                tracing::warn!(?from, "told by the disks to end in good order");
                self.notify(SbdNotice::Exit);
                return Course::Over;
            }
            Command::RefuseStart { disk, mailbox } => {
                let from = mailbox.from.as_ref();
                self.notify(SbdNotice::Failed(SbdError::OldMessage {
                    disk: self.disks[disk.at()].name.clone(),
                    word: mailbox.word.to_string(),
                    from: from.map_or_else(String::new, |from| format!(" from {from}")),
                }));
                return Course::Over;
            }
            Command::DiskEnded { disk, why } => {
                let disk = &self.disks[disk.at()].name;
                tracing::error!(
                    disk,
                    ?why,
                    "of no more use until haft-agent is started anew"
                );
            }
            Command::Tested { disk, from } => {
                let disk = &self.disks[disk.at()].name;
                tracing::info!(disk, ?from, "a test message; it is cleared");
            }
        }
        Course::On
    }

    fn attach(&mut self, disk: DiskIndex, ask: Ask) {
        let node = self.node.clone();
        let work = move |volume: &mut Volume| match volume.claim(&node)? {
            Claim::Owned(slot) => {
                let medium = volume.survey()?.medium;
                Ok(Found::Owned(volume.sighting(slot)?, medium))
            }
            Claim::Pending(_, timeouts) => Ok(Found::Claimed(timeouts)),
        };
        let late = |found| Event::Attached { disk, ask, found };
        self.owe(disk, self.io, late(Err(silent(self.io))));
        let tell = self.tell.clone();
        let posted =
            self.disks[disk.at()]
                .keeper
                .post(Instant::now() + self.io, work, move |found| {
                    let found = found.map_err(|error| in_words(&error));
                    // Full: given up; what is owed is given in its time.
                    let _ = tell.try_send(Answer::Attached(disk, ask, found));
                });
        self.note_unasked(disk, posted.err());
    }

    /// Asks a disk, and owes the machine a failure if it does not answer in time.
    fn question<T: Send + 'static>(
        &mut self,
        disk: DiskIndex,
        io: Duration,
        work: impl FnOnce(&mut Volume) -> Result<T, VolumeError> + Send + 'static,
        event: impl Fn(Result<T, String>) -> Event + Send + 'static,
        answer: impl FnOnce(Event) -> Answer + Send + 'static,
    ) {
        self.owe(disk, io, event(Err(silent(io))));
        let tell = self.tell.clone();
        let posted = self.disks[disk.at()]
            .keeper
            .post(Instant::now() + io, work, move |result| {
                let result = result.map_err(|error| in_words(&error));
                let _ = tell.try_send(answer(event(result)));
            });
        self.note_unasked(disk, posted.err());
    }

    /// One question is out per disk, so that this replaces what was owed for the one before, which has been
    /// answered; the machine drops answers to questions that are not out.
    fn owe(&mut self, disk: DiskIndex, within: Duration, event: Event) {
        self.owed[disk.at()] = Some(Owed {
            at: now().after(within),
            event,
        });
    }

    /// A queue that is full is a hung disk: its failure comes when its time is over, not in a tight loop.
    fn note_unasked(&self, disk: DiskIndex, error: Option<haft_fence_sbd::keeper::DiskError>) {
        if let Some(error) = error {
            let disk = &self.disks[disk.at()].name;
            tracing::warn!(disk, err = in_words(&error), "cannot be asked");
        }
    }

    fn notify(&self, notice: SbdNotice) {
        // Closed: the process is ending.
        let _ = self.ends.notices.try_send(notice);
    }
}

fn silent(io: Duration) -> String {
    format!("it does not answer within {} ms", io.as_millis())
}

#[cfg(test)]
mod tests;
