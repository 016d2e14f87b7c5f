//! One thread per disk: whoever asks waits as long as they like, not as long as the disk does.
//!
//! A read from a disk whose path is gone blocks in the kernel, often for ever, and no signal ends it.
//! So each disk has one thread, started once, that opens it and does all its work in turn. Questions go
//! to it over a queue of one; an answer that does not come by the deadline is [`DiskError::Hung`]. A
//! thread that is stuck is not replaced: a second one would only get stuck beside it. A question whose
//! deadline passed while it waited is not carried out at all, so that a write that was given up does
//! not reach the disk minutes later; the one that is already in the kernel's hands may.
//!
//! Dropping a [`Keeper`] does not wait for its thread. A process cannot end while the kernel holds one
//! of its threads: [`crate::front`] is how the fence agent ends all the same.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use thiserror::Error;

use crate::device::{Access, BlockDevice, DeviceError, PlainFiles};
use crate::volume::{Volume, VolumeError};

/// Why there is no answer from a disk.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The disk did not answer in time; what was asked of it may still happen.
    #[error("the disk does not answer")]
    Hung,
    /// The disk's thread could not be started or has ended.
    #[error("the disk has no thread")]
    NoThread,
    /// The disk answered with an error.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

type Opened<'a> = Result<&'a mut Volume, VolumeError>;
type Work = Box<dyn FnOnce(Opened<'_>) -> Health + Send>;

/// Whether the disk is worth keeping open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Sound,
    Failed,
}

struct Job {
    deadline: Instant,
    work: Work,
}

/// A disk with its thread.
pub struct Keeper {
    queue: Option<SyncSender<Job>>,
}

/// An answer that is awaited.
pub struct Pending<T> {
    answer: Receiver<Result<T, DiskError>>,
}

impl Keeper {
    /// A keeper for the disk at `path`, which is opened at the first question and again after a failure.
    pub fn of_path(path: PathBuf, access: Access, plain: PlainFiles) -> Self {
        Self::start(move || {
            let device = BlockDevice::open(&path, access, plain)?;
            Ok(Volume::new(Box::new(device)))
        })
    }

    /// A keeper for whatever `open` opens, in the keeper's thread.
    pub fn start(open: impl FnMut() -> Result<Volume, DeviceError> + Send + 'static) -> Self {
        let (queue, jobs) = sync_channel(1);
        let started = std::thread::Builder::new()
            .name("sbd-disk".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || keep(open, &jobs));
        Self {
            queue: started.is_ok().then_some(queue),
        }
    }

    /// Asks, and has the answer given to `reply` in the disk's thread, if there is one. No reply comes
    /// after a question whose deadline had passed before its turn came: count the time yourself.
    ///
    /// # Errors
    /// [`DiskError::Hung`] at once when an earlier question still waits.
    pub fn post<T: 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&mut Volume) -> Result<T, VolumeError> + Send + 'static,
        reply: impl FnOnce(Result<T, VolumeError>) + Send + 'static,
    ) -> Result<(), DiskError> {
        let work: Work = Box::new(|opened| {
            let answer = opened.and_then(work);
            let health = match &answer {
                Err(VolumeError::Device(_)) => Health::Failed,
                Ok(_) | Err(_) => Health::Sound,
            };
            reply(answer);
            health
        });
        let queue = self.queue.as_ref().ok_or(DiskError::NoThread)?;
        queue
            .try_send(Job { deadline, work })
            .map_err(|error| match error {
                TrySendError::Full(_) => DiskError::Hung,
                TrySendError::Disconnected(_) => DiskError::NoThread,
            })
    }

    /// Asks. The answer is waited for with [`Pending::wait`].
    pub fn ask<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&mut Volume) -> Result<T, VolumeError> + Send + 'static,
    ) -> Pending<T> {
        let (tell, answer) = sync_channel(1);
        let told = tell.clone();
        let posted = self.post(deadline, work, move |result| {
            // Nobody may be listening any more.
            let _ = told.try_send(result.map_err(DiskError::from));
        });
        if let Err(error) = posted {
            let _ = tell.try_send(Err(error));
        }
        Pending { answer }
    }
}

impl<T> Pending<T> {
    /// Waits for the answer until `deadline`.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn wait(self, deadline: Instant) -> Result<T, DiskError> {
        let patience = deadline.saturating_duration_since(Instant::now());
        match self.answer.recv_timeout(patience) {
            Ok(answer) => answer,
            // Disconnected: the question's turn came too late, or its thread died of it.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(DiskError::Hung),
        }
    }
}

fn keep(mut open: impl FnMut() -> Result<Volume, DeviceError>, jobs: &Receiver<Job>) {
    let mut opened: Option<Volume> = None;
    while let Ok(job) = jobs.recv() {
        if Instant::now() >= job.deadline {
            continue;
        }
        let health = match &mut opened {
            Some(volume) => (job.work)(Ok(volume)),
            None => match open() {
                Ok(volume) => {
                    let volume = opened.insert(volume);
                    // Opening may have taken long: the question may be late by now.
                    if Instant::now() >= job.deadline {
                        Health::Sound
                    } else {
                        (job.work)(Ok(volume))
                    }
                }
                Err(error) => (job.work)(Err(error.into())),
            },
        };
        // A path that failed may be another one next time.
        if health == Health::Failed {
            opened = None;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
