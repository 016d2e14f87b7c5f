//! Hung disks, by a volume whose opening or whose reads wait until the test lets them go.
//!
//! The wait is a real blocked thread, as far as the keeper can tell; a disk that hangs in the kernel is
//! in the suite tests/agents.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::device::{Medium, Sectors};
use crate::disk::{Sector, SectorSize, SlotName, Timeouts};
use crate::volume::tests::{Fault, Memory};

/// A disk that answers only while its gate is open.
struct Gated {
    inner: Memory,
    gate: Arc<Mutex<Receiver<()>>>,
}

impl Sectors for Gated {
    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }
    fn medium(&self) -> Medium {
        self.inner.medium()
    }
    fn read(&mut self, first: Sector, into: &mut [u8]) -> Result<(), DeviceError> {
        // Closed for good lets everything pass, so that no thread outlives its test.
        let _ = self.gate.lock().unwrap().recv();
        self.inner.read(first, into)
    }
    fn write(&mut self, at: Sector, bytes: &[u8]) -> Result<(), DeviceError> {
        self.inner.write(at, bytes)
    }
}

/// A hung disk with the key to it.
pub(crate) struct Hung {
    pub(crate) keeper: Keeper,
    pub(crate) memory: Memory,
    pub(crate) opened: Arc<AtomicUsize>,
    pub(crate) key: SyncSender<()>,
}

pub(crate) fn hung(uuid: u8) -> Hung {
    let (key, gate) = sync_channel(1000);
    let gate = Arc::new(Mutex::new(gate));
    let memory = Memory::with(Timeouts::default(), uuid, &["a"]);
    let (inner, opened) = (memory.clone(), Arc::new(AtomicUsize::new(0)));
    let count = opened.clone();
    let keeper = Keeper::start(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(Volume::new(Box::new(Gated {
            inner: inner.clone(),
            gate: gate.clone(),
        })))
    });
    Hung {
        keeper,
        memory,
        opened,
        key,
    }
}

fn moments() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

fn long() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[test]
fn a_disk_that_does_not_answer_is_hung_and_its_thread_is_not_multiplied() {
    let disk = hung(1);
    for _ in 0..20 {
        let deadline = moments();
        let answer = disk.keeper.ask(deadline, Volume::header).wait(deadline);
        assert!(matches!(answer, Err(DiskError::Hung)));
    }
    assert_eq!(disk.opened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_full_queue_answers_at_once() {
    let disk = hung(1);
    let first = disk.keeper.ask(long(), Volume::header);
    // The thread has taken the first one when it has opened the disk.
    let deadline = long();
    while disk.opened.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "the thread never started");
        std::thread::yield_now();
    }
    let _second = disk.keeper.ask(long(), Volume::header);
    let third = disk.keeper.ask(long(), Volume::header).wait(long());
    assert!(matches!(third, Err(DiskError::Hung)));
    drop(disk.key);
    assert!(first.wait(long()).is_ok());
}

#[test]
fn a_disk_that_comes_back_answers_again() {
    let disk = hung(1);
    let deadline = moments();
    let answer = disk.keeper.ask(deadline, Volume::header).wait(deadline);
    assert!(matches!(answer, Err(DiskError::Hung)));
    drop(disk.key);
    let deadline = long();
    loop {
        // The queue may hold a late question until the thread has dropped it.
        if disk
            .keeper
            .ask(deadline, Volume::header)
            .wait(deadline)
            .is_ok()
        {
            break;
        }
        assert!(Instant::now() < deadline, "the disk never came back");
    }
    assert_eq!(disk.opened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_write_that_was_given_up_while_it_waited_never_reaches_the_disk() {
    let disk = hung(1);
    let deadline = moments();
    let stuck = disk.keeper.ask(deadline, Volume::header);
    let node = SlotName::new("late").unwrap();
    let claim = disk.keeper.ask(deadline, move |volume| volume.claim(&node));
    assert!(matches!(stuck.wait(deadline), Err(DiskError::Hung)));
    assert!(matches!(claim.wait(deadline), Err(DiskError::Hung)));
    drop(disk.key);
    let deadline = long();
    let survey = loop {
        if let Ok(survey) = disk.keeper.ask(deadline, Volume::survey).wait(deadline) {
            break survey;
        }
        assert!(Instant::now() < deadline, "the disk never came back");
    };
    assert_eq!(survey.entries.len(), 1, "{survey:?}");
    drop(disk.memory);
}

#[test]
fn a_disk_that_failed_is_opened_anew() {
    let memory = Memory::with(Timeouts::default(), 1, &["a"]);
    let opened = Arc::new(AtomicUsize::new(0));
    let (inner, count) = (memory.clone(), opened.clone());
    let keeper = Keeper::start(move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => Err(DeviceError::NotADisk { path: "x".into() }),
        _ => Ok(inner.volume()),
    });
    let ask = |fault| {
        memory.fail_with(fault);
        let node = SlotName::new("b").unwrap();
        keeper
            .ask(long(), move |volume| volume.claim(&node))
            .wait(long())
    };
    assert!(matches!(
        ask(Fault::None),
        Err(DiskError::Volume(VolumeError::Device(_)))
    ));
    assert!(ask(Fault::Refused).is_err());
    assert!(ask(Fault::None).is_ok());
    assert_eq!(opened.load(Ordering::SeqCst), 3);
}

#[test]
fn a_question_that_panics_is_no_answer() {
    let memory = Memory::with(Timeouts::default(), 1, &["a"]);
    let keeper = Keeper::start(move || Ok(memory.volume()));
    let answer = keeper
        .ask(long(), |_| -> Result<(), VolumeError> {
            panic!("planted by a test")
        })
        .wait(long());
    assert!(matches!(answer, Err(DiskError::Hung)));
    let next = keeper.ask(long(), Volume::header).wait(long());
    assert!(matches!(next, Err(DiskError::NoThread | DiskError::Hung)));
}
