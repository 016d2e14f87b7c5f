//! The thread over disks in memory that hang when told to. The machine's end is a note, here and everywhere
//! but in the daemon's start. Real disks and the field's tool are in tests/agents.

use super::*;
use haft_fence_sbd::device::{DeviceError, Sectors};
use haft_fence_sbd::disk::{Mailbox, Message, Pill, Sector, SectorSize, SlotNumber, Uuid, Word};
use haft_fence_sbd::majority::DiskCount;
use haft_fence_sbd::volume::Overwrite;
use haft_fence_sbd::watcher::SelfFence;
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::mpsc;

/// Far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(30);
const IO: Duration = Duration::from_millis(400);
const TIMES: Timeouts = Timeouts {
    watchdog: 1,
    allocate: 0,
    loop_: 0,
    msgwait: 6,
};

#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<SelfFence>>>);

impl EndMachine for Recorder {
    fn end(&mut self, how: SelfFence) {
        self.0.lock().unwrap().push(how);
    }
}

/// A disk in memory with a gate: while it is shut, whoever reads or writes waits.
#[derive(Clone)]
struct Fake {
    bytes: Arc<Mutex<Vec<u8>>>,
    shut: Arc<(Mutex<bool>, Condvar)>,
    reads: Arc<Mutex<u32>>,
    medium: Medium,
}

impl Fake {
    fn new(medium: Medium) -> Fake {
        let fake = Fake {
            bytes: Arc::new(Mutex::new(vec![0; 512 * 511])),
            shut: Arc::default(),
            reads: Arc::default(),
            medium,
        };
        fake.lay_out(1);
        slot_of(&mut fake.volume());
        fake
    }

    fn lay_out(&self, uuid: u8) {
        let uuid = Uuid::from_random([uuid; 16]);
        self.volume()
            .create(TIMES, uuid, Overwrite::Anything)
            .unwrap();
    }

    fn volume(&self) -> Volume {
        Volume::new(Box::new(self.clone()))
    }

    fn send(&self, message: Message) {
        let mut volume = self.volume();
        let slot = slot_of(&mut volume);
        let mailbox = Mailbox {
            word: Word::Known(message),
            from: Some(SlotName::new("b").unwrap()),
        };
        volume.deliver(slot, &own(), &mailbox).unwrap();
    }

    fn word(&self) -> Word {
        let mut volume = self.volume();
        let slot = slot_of(&mut volume);
        volume.sighting(slot).unwrap().mailbox.word
    }

    fn set_shut(&self, shut: Shut) {
        *self.shut.0.lock().unwrap() = shut == Shut::Yes;
        self.shut.1.notify_all();
    }

    fn wait_at_the_gate(&self) {
        let closed = self.shut.0.lock().unwrap();
        drop(self.shut.1.wait_while(closed, |shut| *shut).unwrap());
    }

    fn reads(&self) -> u32 {
        *self.reads.lock().unwrap()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shut {
    No,
    Yes,
}

impl Sectors for Fake {
    fn sector_size(&self) -> SectorSize {
        SectorSize::B512
    }
    fn medium(&self) -> Medium {
        self.medium
    }
    fn read(&mut self, first: Sector, into: &mut [u8]) -> Result<(), DeviceError> {
        self.wait_at_the_gate();
        *self.reads.lock().unwrap() += 1;
        let at = usize::from(first.get()) * 512;
        into.copy_from_slice(&self.bytes.lock().unwrap()[at..at + into.len()]);
        Ok(())
    }
    fn write(&mut self, at: Sector, bytes: &[u8]) -> Result<(), DeviceError> {
        self.wait_at_the_gate();
        let at = usize::from(at.get()) * 512;
        self.bytes.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

fn own() -> SlotName {
    SlotName::new("a").unwrap()
}

fn slot_of(volume: &mut Volume) -> SlotNumber {
    match volume.claim(&own()).unwrap() {
        Claim::Owned(slot) | Claim::Pending(slot, _) => slot,
    }
}

struct Node {
    vouch: Vouch,
    heard: mpsc::Receiver<SbdNotice>,
    machine: Recorder,
}

fn node(disks: &[&Fake], mode: StartMode) -> Node {
    let (vouch, admitted) = Vouch::none();
    let (notices, heard) = mpsc::channel(8);
    let machine = Recorder::default();
    let config = WatcherConfig {
        node: own(),
        disks: DiskCount::try_from(disks.len()).unwrap(),
        start: mode,
        io: IO,
    };
    let disks = disks.iter().map(|fake| {
        let inner = (*fake).clone();
        Disk {
            name: "fake".to_owned(),
            keeper: Keeper::start(move || Ok(inner.volume())),
        }
    });
    let ends = Ends {
        vouch: vouch.clone(),
        admitted,
        notices,
        machine: Box::new(machine.clone()),
    };
    start(config, disks.collect(), ends).unwrap();
    Node {
        vouch,
        heard,
        machine,
    }
}

fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::yield_now();
    }
}

impl Node {
    fn vouched(&self) -> bool {
        self.vouch.holds(boot_now())
    }

    fn acts(&self) -> Vec<SelfFence> {
        self.machine.0.lock().unwrap().clone()
    }

    fn await_notice(&mut self) -> SbdNotice {
        let mut notice = None;
        eventually("a notice", || {
            notice = self.heard.try_recv().ok();
            notice.is_some()
        });
        notice.unwrap()
    }
}

#[test]
fn every_pill_is_obeyed_in_its_own_way_and_starves_the_watchdog() {
    for (pill, how) in [
        (Pill::Reset, SelfFence::Reset),
        (Pill::Off, SelfFence::PowerOff),
        (Pill::CrashDump, SelfFence::CrashDump),
    ] {
        let disk = Fake::new(Medium::Memory);
        let node = node(&[&disk], StartMode::Clean);
        eventually("the disk vouches", || node.vouched());
        assert_eq!(node.acts(), []);
        disk.send(Message::Pill(pill));
        eventually("the pill is obeyed", || !node.acts().is_empty());
        assert_eq!(node.acts(), [how]);
        assert!(!node.vouched());
        assert_eq!(disk.word(), Word::Known(Message::Pill(pill)), "evidence");
    }
}

#[test]
fn a_test_message_is_cleared_and_ends_nothing() {
    let disk = Fake::new(Medium::Memory);
    let mut node = node(&[&disk], StartMode::Clean);
    eventually("the disk vouches", || node.vouched());
    disk.send(Message::Test);
    eventually("it is cleared", || {
        disk.word() == Word::Known(Message::Clear)
    });
    assert_eq!(node.acts(), []);
    assert!(node.heard.try_recv().is_err());
}

#[test]
fn one_hung_disk_of_three_hangs_nothing_and_two_take_the_vouch_away() {
    let disks = [0, 1, 2].map(|_| Fake::new(Medium::Memory));
    let [one, two, three] = &disks;
    let node = node(&[one, two, three], StartMode::Clean);
    eventually("the disks vouch", || node.vouched());
    one.set_shut(Shut::Yes);
    let before = (two.reads(), three.reads());
    // Many turns of the others, far beyond what the last read of the hung one covers.
    eventually("the others are read on", || {
        two.reads() > before.0 + 40 && three.reads() > before.1 + 40
    });
    eventually("two vouch", || node.vouched());
    two.set_shut(Shut::Yes);
    eventually("one of three does not vouch", || !node.vouched());
    let before = three.reads();
    eventually("it is read on", || three.reads() > before + 40);
    assert!(!node.vouched());
    two.set_shut(Shut::No);
    eventually("the disk that answers again counts again", || {
        node.vouched()
    });
    one.set_shut(Shut::No);
    // A disk that had not been attached before it hung would end with a pill in it: it is not used then.
    let before = one.reads();
    eventually("it is watched again", || one.reads() > before + 40);
    // The thread is alive to obey.
    one.send(Message::Pill(Pill::Reset));
    eventually("the pill is obeyed", || node.acts() == [SelfFence::Reset]);
}

#[test]
fn a_disk_that_hangs_from_the_start_vouches_once_it_answers() {
    let disk = Fake::new(Medium::Memory);
    disk.set_shut(Shut::Yes);
    let node = node(&[&disk], StartMode::Clean);
    assert!(!node.vouched());
    disk.set_shut(Shut::No);
    eventually("it vouches", || node.vouched());
}

#[test]
fn a_node_without_a_slot_takes_one() {
    let disk = Fake::new(Medium::Memory);
    disk.lay_out(2);
    let node = node(&[&disk], StartMode::Clean);
    eventually("the disk vouches", || node.vouched());
    let survey = disk.volume().survey().unwrap();
    assert!(survey.slot_of(&own()).is_some());
}

#[test]
fn another_header_ends_the_disk() {
    let disk = Fake::new(Medium::Memory);
    let node = node(&[&disk], StartMode::Clean);
    eventually("the disk vouches", || node.vouched());
    disk.lay_out(2);
    slot_of(&mut disk.volume());
    eventually("it vouches no more", || !node.vouched());
    assert_eq!(node.acts(), []);
}

#[test]
fn an_old_pill_refuses_a_clean_start_and_says_what_to_do() {
    let disk = Fake::new(Medium::Memory);
    disk.send(Message::Pill(Pill::Off));
    let mut node = node(&[&disk], StartMode::Clean);
    let SbdNotice::Failed(error) = node.await_notice() else {
        panic!("not refused");
    };
    let said = format!("{error}\n{}", error.fix());
    for part in [
        "fake",
        "`off`",
        "from b",
        "fence_haft_sbd clear",
        "sbd.start",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!node.vouched());
    assert_eq!(node.acts(), []);
    assert_eq!(disk.word(), Word::Known(Message::Pill(Pill::Off)));
}

#[test]
fn an_old_pill_is_taken_out_only_after_admission() {
    let disk = Fake::new(Medium::Memory);
    disk.send(Message::Pill(Pill::Reset));
    let reads = disk.reads();
    let node = node(&[&disk], StartMode::Always);
    assert!(!node.vouched());
    assert_eq!(disk.reads(), reads, "looked at before admission");
    node.vouch.admit();
    eventually("the disk vouches", || node.vouched());
    assert_eq!(disk.word(), Word::Known(Message::Clear));
    assert_eq!(node.acts(), []);
}

#[test]
fn exit_ends_the_process_and_leaves_the_time_for_it() {
    let disk = Fake::new(Medium::Memory);
    let mut node = node(&[&disk], StartMode::Clean);
    eventually("the disk vouches", || node.vouched());
    disk.send(Message::Exit);
    assert_eq!(node.await_notice(), SbdNotice::Exit);
    assert_eq!(node.acts(), []);
}

#[test]
fn three_names_of_one_disk_do_not_make_a_majority() {
    let disk = Fake::new(Medium::Block(7));
    let node = node(&[&disk, &disk, &disk], StartMode::Clean);
    eventually("it is read", || {
        assert!(!node.vouched());
        disk.reads() > 200
    });
    assert_eq!(node.acts(), []);
}
