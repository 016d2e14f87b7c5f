//! Drawn histories: disks that are slow, fail and hang, a driver that pauses, a pill at some moment.
//!
//! The model has a real watchdog: it fires its period after the last petting, whatever the machine
//! believes. The verdict is taken from the model alone.

use proptest::prelude::*;

use super::*;

/// One access: how long it takes, and whether it works.
#[derive(Clone, Copy, Debug)]
struct Access {
    takes_ms: u64,
    works: bool,
}

#[derive(Clone, Debug)]
struct History {
    disks: DiskCount,
    start: StartMode,
    /// What each disk does with its accesses, in turn, again and again.
    accesses: Vec<Vec<Access>>,
    /// Pauses of the driver between its steps, in turn, again and again.
    pauses_ms: Vec<u64>,
    /// When the pill was verified on a majority.
    pill_ms: u64,
    /// Which disk is left out where a majority is not all.
    without: usize,
}

fn history() -> impl Strategy<Value = History> {
    let access = (
        prop_oneof![8 => 0..50_u64, 2 => 50..4000_u64, 1 => 4000..20_000_u64],
        prop_oneof![9 => Just(true), 1 => Just(false)],
    )
        .prop_map(|(takes_ms, works)| Access { takes_ms, works });
    let accesses = prop::collection::vec(prop::collection::vec(access, 1..30), 3);
    let pause = prop_oneof![20 => 1..100_u64, 2 => 100..3000_u64, 1 => 3000..15_000_u64];
    let disks = prop_oneof![
        Just(DiskCount::One),
        Just(DiskCount::Two),
        Just(DiskCount::Three)
    ];
    let start = prop_oneof![Just(StartMode::Clean), Just(StartMode::Always)];
    let pauses = prop::collection::vec(pause, 1..60);
    (disks, start, accesses, pauses, 3000..40_000_u64, 0..3_usize).prop_map(
        |(disks, start, accesses, pauses_ms, pill_ms, without)| History {
            disks,
            start,
            accesses,
            pauses_ms,
            pill_ms,
            without,
        },
    )
}

/// An answer on its way.
struct Owed {
    arrives: u64,
    event: Event,
}

/// How the node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Obeyed(u64),
    WatchdogFired(u64),
    Alive,
}

/// The world around the machine.
struct World {
    history: History,
    used: Vec<usize>,
    owed: Vec<Owed>,
}

impl World {
    fn has_pill(&self, disk: usize, read_ms: u64) -> bool {
        let count = self.history.disks.get();
        let spared = count == 3 && disk == self.history.without;
        read_ms >= self.history.pill_ms && !spared
    }

    fn carry_out(&mut self, now: u64, command: Command) {
        let (Command::Attach { disk, .. }
        | Command::Read { disk, .. }
        | Command::Clear { disk, .. }) = &command
        else {
            return;
        };
        let place = disk.at();
        let script = &self.history.accesses[place];
        let access = script[self.used[place] % script.len()];
        self.used[place] += 1;
        // The driver gives up after `io`; the disk's own time decides what was read.
        let takes = access.takes_ms.min(3000);
        let answers = access.works && access.takes_ms <= 3000;
        let holds = if self.has_pill(place, now + takes) {
            Message::Pill(Pill::Reset)
        } else {
            Message::Clear
        };
        let seen = if answers {
            Ok(sighting(*disk, mailbox(holds)))
        } else {
            Err("failed".to_owned())
        };
        let event = match command {
            Command::Attach { disk, ask } => Event::Attached {
                disk,
                ask,
                found: seen,
            },
            Command::Read { disk, ask, .. } => Event::Read { disk, ask, seen },
            Command::Clear { disk, ask, .. } => Event::Cleared {
                disk,
                ask,
                outcome: Err("the disk is read-only".to_owned()),
            },
            _ => return,
        };
        self.owed.push(Owed {
            arrives: now + takes,
            event,
        });
    }
}

/// Lives through a history until well after the pill's `msgwait`.
fn live(history: &History) -> (End, bool) {
    let mut watcher = Watcher::new(config(history.disks, history.start));
    let mut world = World {
        used: vec![0; 3],
        owed: Vec::new(),
        history: history.clone(),
    };
    let watchdog = u64::from(TIMEOUTS.watchdog) * 1000;
    // Armed at the first petting; before that nothing is held, and nothing can be lost.
    let mut fires: Option<u64> = None;
    let mut now = 0;
    for step in 0.. {
        now += history.pauses_ms[step % history.pauses_ms.len()];
        if fires.is_some_and(|at| now >= at) {
            return (End::WatchdogFired(fires.unwrap()), true);
        }
        if now > history.pill_ms + 60_000 {
            break;
        }
        let mut events = vec![Event::Woken];
        let (due, later): (Vec<Owed>, Vec<Owed>) = std::mem::take(&mut world.owed)
            .into_iter()
            .partition(|owed| owed.arrives <= now);
        world.owed = later;
        events.extend(due.into_iter().map(|owed| owed.event));
        for event in events {
            for command in watcher.on_event(at(now), event) {
                if let Command::SelfFence { .. } = command {
                    return (End::Obeyed(now), fires.is_some());
                }
                world.carry_out(now, command);
            }
        }
        if let Petting::Until(_) = watcher.petting(at(now)) {
            fires = Some(now + watchdog);
        }
    }
    (End::Alive, fires.is_some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn when_msgwait_is_over_no_node_with_a_pill_is_alive_on_a_petted_watchdog(
        history in history(),
    ) {
        let (end, petted) = live(&history);
        let over = history.pill_ms + u64::from(TIMEOUTS.msgwait) * 1000;
        match end {
            // A driver that was paused obeys late, but then its watchdog was dead first.
            End::Obeyed(when) | End::WatchdogFired(when) => prop_assert!(
                when <= over || !petted, "{end:?}, over at {over}"
            ),
            // Never petted: it held nothing.
            End::Alive => prop_assert!(!petted, "alive at the end"),
        }
    }
}

#[test]
fn a_quiet_history_lives_until_its_pill_and_obeys_within_a_loop() {
    let quick = Access {
        takes_ms: 5,
        works: true,
    };
    for disks in [DiskCount::One, DiskCount::Two, DiskCount::Three] {
        let history = History {
            disks,
            start: StartMode::Clean,
            accesses: vec![vec![quick]; 3],
            pauses_ms: vec![20],
            pill_ms: 30_000,
            without: 1,
        };
        let (end, petted) = live(&history);
        assert!(petted);
        assert!(
            matches!(end, End::Obeyed(when) if (30_000..31_100).contains(&when)),
            "{end:?}"
        );
    }
}
