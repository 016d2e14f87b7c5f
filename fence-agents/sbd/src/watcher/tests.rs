//! The watcher stepped by hand, and against disks, pauses and pills drawn from a seed.
//!
//! The drawn histories are judged by the one property that everything rests on: when `msgwait` has
//! passed since a pill lay on a majority, the node has obeyed, or its watchdog has fired.

use super::*;
use crate::disk::{SectorSize, Uuid};

mod histories;

pub(super) fn node() -> SlotName {
    SlotName::new("a").unwrap()
}

pub(super) const TIMEOUTS: Timeouts = Timeouts {
    watchdog: 5,
    allocate: 2,
    loop_: 1,
    msgwait: 10,
};

pub(super) fn at(ms: u64) -> BootTime {
    BootTime(Duration::from_millis(ms))
}

pub(super) fn config(disks: DiskCount, start: StartMode) -> WatcherConfig {
    WatcherConfig {
        node: node(),
        disks,
        start,
        io: Duration::from_secs(3),
    }
}

pub(super) fn mailbox(message: Message) -> Mailbox {
    match message {
        Message::Clear => Mailbox::EMPTY,
        Message::Test | Message::Exit | Message::Pill(_) => {
            Mailbox::message(message, SlotName::new("sender").unwrap())
        }
    }
}

pub(super) fn sighting(disk: DiskIndex, mailbox: Mailbox) -> Sighting {
    let uuid = Uuid([u8::try_from(disk.at()).unwrap(); 16]);
    Sighting {
        header: Header::new(SectorSize::B512, TIMEOUTS, uuid),
        number: SlotNumber::new(7).unwrap(),
        slot: Slot::Taken(Some(node())),
        mailbox,
    }
}

/// A watcher whose disks are answered by hand.
struct Bench {
    watcher: Watcher,
    now: BootTime,
    told: Vec<Command>,
}

impl Bench {
    fn new(disks: DiskCount, start: StartMode) -> Self {
        Self {
            watcher: Watcher::new(config(disks, start)),
            now: at(0),
            told: Vec::new(),
        }
    }

    fn event(&mut self, event: Event) {
        let commands = self.watcher.on_event(self.now, event);
        self.told.extend(commands);
    }

    /// Goes to a moment and wakes the machine.
    fn go(&mut self, ms: u64) {
        self.now = at(ms);
        self.event(Event::Woken);
    }

    /// Answers the oldest question to this disk.
    fn answer(&mut self, disk: usize, seen: Result<Sighting, String>) {
        let place = self.told.iter().position(|command| match command {
            Command::Attach { disk: of, .. }
            | Command::Read { disk: of, .. }
            | Command::Clear { disk: of, .. } => of.at() == disk,
            Command::SelfFence { .. }
            | Command::Exit { .. }
            | Command::RefuseStart { .. }
            | Command::DiskEnded { .. }
            | Command::Tested { .. } => false,
        });
        let event = match self.told.remove(place.expect("nothing was asked")) {
            Command::Attach { disk, ask } => Event::Attached {
                disk,
                ask,
                found: seen,
            },
            Command::Read { disk, ask, .. } => Event::Read { disk, ask, seen },
            Command::Clear { disk, ask, .. } => Event::Cleared {
                disk,
                ask,
                outcome: seen.map(|_| Clearing::Cleared),
            },
            other => panic!("{other:?} is no question"),
        };
        self.event(event);
    }

    fn empty(&mut self, disk: usize) {
        let index = disk_index(disk);
        self.answer(disk, Ok(sighting(index, Mailbox::EMPTY)));
    }

    fn holds(&mut self, disk: usize, message: Message) {
        let index = disk_index(disk);
        self.answer(disk, Ok(sighting(index, mailbox(message))));
    }

    fn fails(&mut self, disk: usize) {
        self.answer(disk, Err("it does not answer".to_owned()));
    }

    fn petting(&self) -> Petting {
        self.watcher.petting(self.now)
    }
}

fn disk_index(disk: usize) -> DiskIndex {
    DiskCount::Three.each().nth(disk).unwrap()
}

/// Watching one disk since zero.
fn one() -> Bench {
    let mut bench = Bench::new(DiskCount::One, StartMode::Clean);
    bench.go(0);
    bench.empty(0);
    bench
}

#[test]
fn a_read_vouches_from_its_beginning_for_loop_and_io() {
    let mut bench = one();
    assert_eq!(bench.petting(), Petting::Until(at(4000)));
    bench.go(1000);
    bench.now = at(3500);
    bench.empty(0);
    // Asked at 1 s, answered at 3.5 s: what it says is as old as the question.
    assert_eq!(bench.petting(), Petting::Until(at(5000)));
    bench.now = at(5000);
    let stale = Petting::TooFewFresh {
        fresh: 0,
        needed: 1,
    };
    assert_eq!(bench.petting(), stale);
}

#[test]
fn a_slow_io_allowance_never_exceeds_what_msgwait_leaves() {
    let mut bench = Bench::new(DiskCount::One, StartMode::Clean);
    bench.watcher.config.io = Duration::from_secs(60);
    assert_eq!(bench.watcher.stale_after(), None);
    bench.go(0);
    bench.empty(0);
    assert_eq!(bench.watcher.stale_after(), Some(Duration::from_secs(5)));
    // Not the header's 5 s: 5 s of staleness, 1 s for the reset, a pet that is late by a period, that period,
    // and a tenth of it.
    let longest = Duration::from_secs(4) * 10 / 21;
    assert_eq!(bench.watcher.watchdog_max(), Some(longest));
}

#[test]
fn a_hung_disk_gets_no_second_question() {
    let mut bench = one();
    for ms in [1000, 2000, 3000, 60_000] {
        bench.go(ms);
    }
    assert_eq!(bench.told.len(), 1, "{:?}", bench.told);
    assert_eq!(bench.watcher.wake_at(), None);
    bench.fails(0);
    assert_eq!(
        bench.told.len(),
        1,
        "it is asked again at once: the loop is over"
    );
    assert!(bench.watcher.trouble(disk_index(0)).is_some());
    bench.empty(0);
    assert_eq!(bench.petting(), Petting::Until(at(64_000)));
    assert_eq!(bench.watcher.trouble(disk_index(0)), None);
}

#[test]
fn an_answer_to_a_question_that_was_given_up_is_not_taken_for_the_next() {
    let mut bench = one();
    bench.go(1000);
    let Some(Command::Read { ask, disk, .. }) = bench.told.first().cloned() else {
        panic!("{:?}", bench.told);
    };
    bench.now = at(4000);
    bench.fails(0);
    let seen = Ok(sighting(disk, Mailbox::EMPTY));
    bench.event(Event::Read { disk, ask, seen });
    assert!(matches!(bench.petting(), Petting::TooFewFresh { .. }));
}

#[test]
fn each_pill_is_obeyed_in_its_own_way_and_ends_all_petting() {
    for (pill, how) in [
        (Pill::Reset, SelfFence::Reset),
        (Pill::Off, SelfFence::PowerOff),
        (Pill::CrashDump, SelfFence::CrashDump),
    ] {
        let mut bench = one();
        bench.go(1000);
        bench.holds(0, Message::Pill(pill));
        let obeyed = Command::SelfFence {
            how,
            disk: disk_index(0),
            from: SlotName::new("sender").ok(),
        };
        assert_eq!(bench.told, [obeyed]);
        assert_eq!(bench.petting(), Petting::Condemned);
        bench.go(2000);
        assert_eq!(bench.told.len(), 1, "nothing more is asked");
    }
}

#[test]
fn a_pill_on_one_disk_of_three_is_obeyed() {
    let mut bench = Bench::new(DiskCount::Three, StartMode::Clean);
    bench.go(0);
    (0..3).for_each(|disk| bench.empty(disk));
    bench.go(1000);
    bench.empty(0);
    bench.holds(2, Message::Pill(Pill::Reset));
    assert_eq!(bench.petting(), Petting::Condemned);
}

#[test]
fn two_of_three_disks_must_be_fresh_and_one_of_two() {
    let mut three = Bench::new(DiskCount::Three, StartMode::Clean);
    three.go(0);
    three.empty(0);
    three.empty(1);
    // The third owes its first answer: the start is not over.
    assert!(matches!(three.petting(), Petting::TooFewFresh { .. }));
    three.fails(2);
    assert_eq!(three.petting(), Petting::Until(at(4000)));
    three.go(1000);
    three.empty(0);
    assert_eq!(
        three.petting(),
        Petting::Until(at(4000)),
        "the second newest"
    );
    three.now = at(4000);
    let few = Petting::TooFewFresh {
        fresh: 1,
        needed: 2,
    };
    assert_eq!(three.petting(), few);
    let mut two = Bench::new(DiskCount::Two, StartMode::Clean);
    two.go(0);
    two.empty(0);
    two.fails(1);
    assert_eq!(two.petting(), Petting::Until(at(4000)));
}

#[test]
fn start_mode_clean_refuses_whatever_is_not_clear_or_exit() {
    for message in [
        Message::Test,
        Message::Pill(Pill::Reset),
        Message::Pill(Pill::Off),
        Message::Pill(Pill::CrashDump),
    ] {
        let mut bench = Bench::new(DiskCount::Three, StartMode::Clean);
        bench.go(0);
        bench.empty(0);
        bench.holds(1, message);
        let refused = Command::RefuseStart {
            disk: disk_index(1),
            mailbox: mailbox(message),
        };
        assert_eq!(bench.told.last(), Some(&refused));
        assert_eq!(bench.petting(), Petting::Stopped);
    }
}

#[test]
fn an_exit_from_the_former_life_is_taken_out_before_the_watch_begins() {
    let mut bench = Bench::new(DiskCount::One, StartMode::Clean);
    bench.go(0);
    bench.holds(0, Message::Exit);
    assert!(matches!(bench.told[0], Command::Clear { .. }));
    assert!(matches!(bench.petting(), Petting::TooFewFresh { .. }));
    bench.empty(0);
    bench.empty(0);
    assert_eq!(bench.petting(), Petting::Until(at(4000)));
}

#[test]
fn start_mode_always_takes_an_old_pill_out_and_obeys_the_next() {
    let mut bench = Bench::new(DiskCount::One, StartMode::Always);
    bench.go(0);
    bench.holds(0, Message::Pill(Pill::Off));
    let Command::Clear { disk, ask, .. } = bench.told.remove(0) else {
        panic!("an old pill is cleared");
    };
    // A new pill came before the old one was out: it is left alone, read, and obeyed.
    let outcome = Ok(Clearing::Changed);
    bench.event(Event::Cleared { disk, ask, outcome });
    bench.holds(0, Message::Pill(Pill::Reset));
    assert_eq!(bench.petting(), Petting::Condemned);
}

#[test]
fn a_disk_that_cannot_be_cleared_vouches_for_nothing() {
    let mut bench = Bench::new(DiskCount::One, StartMode::Always);
    bench.go(0);
    bench.holds(0, Message::Pill(Pill::Off));
    for ms in [1000, 2000, 3000] {
        bench.fails(0);
        bench.go(ms);
        assert!(matches!(bench.told.last(), Some(Command::Clear { .. })));
        assert!(matches!(bench.petting(), Petting::TooFewFresh { .. }));
    }
}

#[test]
fn a_disk_that_comes_late_with_a_pill_is_neither_obeyed_nor_cleared_nor_counted() {
    for start in [StartMode::Clean, StartMode::Always] {
        let mut bench = Bench::new(DiskCount::Three, start);
        bench.go(0);
        bench.empty(0);
        bench.empty(1);
        bench.fails(2);
        bench.go(1000);
        bench.holds(2, Message::Pill(Pill::Off));
        let why = Ending::LatePill(mailbox(Message::Pill(Pill::Off)));
        let disk = disk_index(2);
        assert_eq!(bench.told.last(), Some(&Command::DiskEnded { disk, why }));
        assert_eq!(bench.petting(), Petting::Until(at(4000)));
    }
}

#[test]
fn test_and_unknown_words_are_cleared_and_the_watch_goes_on() {
    let unknown = Mailbox {
        word: Word::Unknown(42),
        from: None,
    };
    for odd in [mailbox(Message::Test), unknown] {
        let mut bench = one();
        bench.go(1000);
        bench.answer(0, Ok(sighting(disk_index(0), odd.clone())));
        assert!(
            matches!(bench.told.last(), Some(Command::Clear { seen, .. }) if *seen == odd),
            "{:?}",
            bench.told
        );
        bench
            .told
            .retain(|command| !matches!(command, Command::Tested { .. }));
        bench.empty(0);
        bench.go(2000);
        assert!(matches!(bench.told.last(), Some(Command::Read { .. })));
        assert_eq!(bench.petting(), Petting::Until(at(5000)));
    }
}

#[test]
fn exit_stops_the_watch_in_good_order() {
    let mut bench = one();
    bench.go(1000);
    bench.holds(0, Message::Exit);
    assert!(matches!(bench.told[..], [Command::Exit { .. }]));
    assert_eq!(
        (bench.petting(), bench.watcher.wake_at()),
        (Petting::Stopped, None)
    );
}

#[test]
fn a_changed_header_or_slot_ends_that_disk_only() {
    let new_header = |seen: &mut Sighting| seen.header.uuid = Some(Uuid([9; 16]));
    let new_timeouts = |seen: &mut Sighting| seen.header.timeouts.msgwait = 99;
    let freed = |seen: &mut Sighting| seen.slot = Slot::Free;
    let taken = |seen: &mut Sighting| seen.slot = Slot::Taken(SlotName::new("b").ok());
    let changes: [&dyn Fn(&mut Sighting); 4] = [&new_header, &new_timeouts, &freed, &taken];
    for change in changes {
        let mut bench = Bench::new(DiskCount::Two, StartMode::Clean);
        bench.go(0);
        bench.empty(0);
        bench.empty(1);
        bench.go(1000);
        let mut seen = sighting(disk_index(0), mailbox(Message::Pill(Pill::Off)));
        change(&mut seen);
        bench.answer(0, Ok(seen));
        assert!(matches!(bench.told.last(), Some(Command::DiskEnded { .. })));
        bench.told.pop();
        bench.empty(1);
        assert_eq!(bench.petting(), Petting::Until(at(5000)));
        bench.go(9000);
        assert_eq!(bench.told.len(), 1, "the other disk is still read");
    }
}

#[test]
fn a_disk_unfit_for_the_watch_is_not_begun_with() {
    let useless = |seen: &mut Sighting| seen.header.timeouts.watchdog = 9;
    let stranger = |seen: &mut Sighting| seen.slot = Slot::Taken(SlotName::new("b").ok());
    let changes: [&dyn Fn(&mut Sighting); 2] = [&useless, &stranger];
    for change in changes {
        let mut bench = Bench::new(DiskCount::One, StartMode::Clean);
        bench.go(0);
        let mut seen = sighting(disk_index(0), Mailbox::EMPTY);
        change(&mut seen);
        bench.answer(0, Ok(seen));
        assert!(matches!(bench.told[..], [Command::DiskEnded { .. }]));
        assert!(matches!(bench.petting(), Petting::TooFewFresh { .. }));
    }
    let mut bench = Bench::new(DiskCount::Two, StartMode::Clean);
    bench.go(0);
    bench.empty(0);
    let mut seen = sighting(disk_index(1), Mailbox::EMPTY);
    seen.header.timeouts.allocate = 3;
    bench.answer(1, Ok(seen));
    let why = Ending::TimeoutsDiffer {
        own: Timeouts {
            allocate: 3,
            ..TIMEOUTS
        },
        others: TIMEOUTS,
    };
    let disk = disk_index(1);
    assert_eq!(bench.told.last(), Some(&Command::DiskEnded { disk, why }));
}
