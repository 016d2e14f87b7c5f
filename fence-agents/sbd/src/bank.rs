//! All disks of a cluster at once: each is asked in its own thread, and the slowest delays nobody much.
//!
//! One round of questions ends when every disk has answered, when `io_timeout` is over, or shortly
//! after enough of them gave a good answer. It counts nothing itself: what an answer is worth is said
//! by [`crate::poison`].

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use crate::device::Access;
use crate::disk::{Mailbox, SlotName};
use crate::keeper::Keeper;
use crate::majority::{DiskCount, DiskIndex};
use crate::poison::{Answer, Look, Plan};
use crate::settings::Settings;
use crate::volume::{Survey, Volume, VolumeError};

/// What the others get when enough have answered: time for a healthy but busy disk.
const STRAGGLER: Duration = Duration::from_millis(500);

/// The disks, with a thread each.
pub struct Bank {
    keepers: Vec<Keeper>,
    count: DiskCount,
    io_timeout: Duration,
}

impl Bank {
    /// Starts a thread for each disk. They are opened at the first question.
    pub fn open(settings: &Settings, access: Access) -> Self {
        let keepers = settings.disks.iter();
        Self {
            keepers: keepers
                .map(|path| Keeper::of_path(path.clone(), access, settings.plain_files))
                .collect(),
            count: settings.count,
            io_timeout: settings.io_timeout,
        }
    }

    /// A bank of any keepers, one per disk of `count`.
    pub const fn of(keepers: Vec<Keeper>, count: DiskCount, io_timeout: Duration) -> Self {
        Self {
            keepers,
            count,
            io_timeout,
        }
    }

    /// How many disks there are.
    pub const fn count(&self) -> DiskCount {
        self.count
    }

    /// Reads everything on every disk.
    pub fn survey(&self) -> Vec<Answer<Survey>> {
        self.round(|_| Some(Volume::survey))
    }

    /// Puts a message into the node's mailbox on every disk of the plan. An answer holds when the
    /// write had been read back.
    pub fn deliver(&self, node: &SlotName, plan: &Plan, mailbox: &Mailbox) -> Vec<Answer<Instant>> {
        self.round(|disk| {
            let (_, slot) = *plan.targets.iter().find(|(target, _)| *target == disk)?;
            let (node, mailbox, timeouts) = (node.clone(), mailbox.clone(), plan.timeouts);
            Some(move |volume: &mut Volume| {
                let now = volume.header()?.timeouts;
                if now != timeouts {
                    return Err(VolumeError::TimeoutsChanged(now));
                }
                volume.deliver(slot, &node, &mailbox)?;
                Ok(Instant::now())
            })
        })
    }

    /// Looks what lies in the node's mailbox on every disk of the plan.
    pub fn look(&self, node: &SlotName, plan: &Plan) -> Vec<Answer<Look>> {
        self.round(|disk| {
            let (_, slot) = *plan.targets.iter().find(|(target, _)| *target == disk)?;
            let node = node.clone();
            Some(move |volume: &mut Volume| Ok(Look::at(&node, &volume.sighting(slot)?)))
        })
    }

    /// One question to each disk; `None` leaves a disk out.
    fn round<T, W>(&self, question: impl Fn(DiskIndex) -> Option<W>) -> Vec<Answer<T>>
    where
        T: Send + 'static,
        W: FnOnce(&mut Volume) -> Result<T, VolumeError> + Send + 'static,
    {
        let mut deadline = Instant::now() + self.io_timeout;
        let mut answers: Vec<Answer<T>> = Vec::new();
        let mut owed = 0;
        let (tell, hear) = sync_channel(self.keepers.len());
        for (disk, keeper) in self.count.each().zip(&self.keepers) {
            let hung = format!("it does not answer within {:?}", self.io_timeout);
            let Some(work) = question(disk) else {
                answers.push(Err("the node has no slot there".to_owned()));
                continue;
            };
            let tell = tell.clone();
            let posted = keeper.post(deadline, work, move |answer| {
                // The round may be over.
                let _ = tell.try_send((disk, answer));
            });
            owed += usize::from(posted.is_ok());
            answers.push(Err(posted.err().map_or(hung, |error| error.to_string())));
        }
        let mut good = 0;
        while owed > 0 {
            let patience = deadline.saturating_duration_since(Instant::now());
            let Ok((disk, answer)) = hear.recv_timeout(patience) else {
                break;
            };
            owed -= 1;
            good += usize::from(answer.is_ok());
            answers[disk.at()] = answer.map_err(|error| in_words(&error));
            if good >= self.count.to_fence() {
                deadline = deadline.min(Instant::now() + STRAGGLER);
            }
        }
        answers
    }
}

/// The whole chain of an error in one line.
pub fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
