//! Who may pet, and when; over a timer that only takes notes.

use super::*;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Act {
    Arm(u64),
    Pet,
    Disarm,
}

/// Keeps the period that was asked for, or the least that its driver knows.
#[derive(Clone, Debug, Default)]
struct Notes {
    acts: Arc<Mutex<Vec<Act>>>,
    least: Duration,
}

impl Timer for Notes {
    fn arm(&mut self, wanted: Duration) -> Result<Duration, WatchdogError> {
        self.acts.lock().unwrap().push(Act::Arm(wanted.as_secs()));
        Ok(wanted.max(self.least))
    }
    fn pet(&mut self) -> Result<(), WatchdogError> {
        self.acts.lock().unwrap().push(Act::Pet);
        Ok(())
    }
    fn disarm(&mut self) -> Result<(), WatchdogError> {
        self.acts.lock().unwrap().push(Act::Disarm);
        Ok(())
    }
}

struct Bench {
    watchdog: SharedWatchdog,
    vouch: Vouch,
    acts: Arc<Mutex<Vec<Act>>>,
    heard: mpsc::Receiver<SbdNotice>,
}

fn ms(at: u64) -> Moment {
    Moment(at * 1_000_000)
}

fn bench(longest_ms: u64, least: Duration) -> Bench {
    let (vouch, _) = Vouch::none();
    let (notices, heard) = mpsc::channel(8);
    let notes = Notes {
        least,
        ..Notes::default()
    };
    let acts = Arc::clone(&notes.acts);
    vouch.set_longest(Duration::from_millis(longest_ms));
    Bench {
        watchdog: SharedWatchdog::with_disks(Box::new(notes), vouch.clone(), notices),
        vouch,
        acts,
        heard,
    }
}

impl Bench {
    fn took(&self) -> Vec<Act> {
        std::mem::take(&mut self.acts.lock().unwrap())
    }
}

/// Armed for the disks at 10 s with 4 s, vouched for until 14 s.
fn watched() -> Bench {
    let mut bench = bench(4_500, Duration::ZERO);
    bench.vouch.set_until(ms(14_000));
    bench.watchdog.tend(ms(10_000));
    bench.watchdog.tend(ms(10_000));
    assert_eq!(bench.took(), [Act::Arm(4), Act::Pet]);
    assert_eq!(bench.heard.try_recv(), Ok(SbdNotice::Watched));
    bench
}

#[test]
fn nothing_is_armed_and_nothing_may_be_held_before_the_disks_vouch() {
    let mut bench = bench(4_500, Duration::ZERO);
    bench.watchdog.tend(ms(10_000));
    assert!(!bench.watchdog.is_watched());
    let refused = bench.watchdog.arm(ms(10_000), Duration::from_secs(1));
    assert!(matches!(refused, OperationResult::Failed(_)), "{refused:?}");
    assert_eq!(bench.took(), []);
    bench.vouch.set_until(ms(10_500));
    bench.watchdog.tend(ms(10_100));
    assert_eq!(bench.took(), [Act::Arm(4)]);
    // Arming took so long that the disks' word has run out: no pet, and still nothing may be held.
    bench.watchdog.tend(ms(10_600));
    assert_eq!(bench.took(), []);
    assert!(!bench.watchdog.is_watched());
    bench.vouch.set_until(ms(11_000));
    bench.watchdog.tend(ms(10_700));
    assert_eq!(bench.took(), [Act::Pet]);
    assert!(bench.watchdog.is_watched());
}

#[test]
fn silent_disks_starve_the_watchdog_and_nobody_pets_it_then() {
    let mut bench = watched();
    let mut pets = Vec::new();
    for at in (10_010..20_000).step_by(10) {
        bench.watchdog.tend(ms(at));
        pets.extend(bench.took().into_iter().map(|act| (at, act)));
    }
    // A quarter of the period apart, and none at or after the end of what was vouched for.
    let at = |at| (at, Act::Pet);
    assert_eq!(pets, [at(11_000), at(12_000), at(13_000)]);
    // It is told to the keeper, too.
    assert_eq!(bench.watchdog.pet(ms(20_000)), OperationResult::Lapsed);
    assert_eq!(bench.took(), []);
    // Disks that answer again in time have it petted again.
    bench.vouch.set_until(ms(24_000));
    bench.watchdog.tend(ms(20_200));
    assert_eq!(bench.took(), [Act::Pet]);
}

#[test]
fn a_pill_starves_it_at_once() {
    let mut bench = watched();
    bench.vouch.set_until(Moment(0));
    bench.watchdog.tend(ms(11_000));
    assert_eq!(bench.watchdog.pet(ms(11_000)), OperationResult::Lapsed);
    assert_eq!(bench.took(), []);
}

#[test]
fn disks_never_pet_for_a_holding_under_isolation_watchdog() {
    let mut bench = watched();
    let second = Duration::from_secs(1);
    let armed = bench.watchdog.arm(ms(10_100), second);
    assert_eq!(armed, OperationResult::Armed(second));
    assert_eq!(bench.took(), [Act::Arm(1)]);
    // The keeper's lease has run out and it pets no more; the disks vouch all the same.
    for at in (10_200..13_900).step_by(100) {
        bench.watchdog.tend(ms(at));
    }
    assert_eq!(bench.took(), []);
    // With both of them willing it is petted.
    assert_eq!(bench.watchdog.pet(ms(13_900)), OperationResult::Done);
    assert_eq!(bench.took(), [Act::Pet]);
}

#[test]
fn what_the_keeper_gives_back_goes_on_for_the_disks_with_their_own_period() {
    let mut bench = watched();
    // Never longer than the disks allow, whatever the keeper would like.
    let armed = bench.watchdog.arm(ms(10_100), Duration::from_secs(10));
    assert_eq!(armed, OperationResult::Armed(Duration::from_secs(4)));
    bench.watchdog.arm(ms(10_100), Duration::from_secs(1));
    bench.took();
    assert_eq!(bench.watchdog.disarm(ms(10_200)), OperationResult::Done);
    assert_eq!(bench.took(), []);
    assert!(bench.watchdog.is_watched());
    bench.watchdog.tend(ms(10_200));
    assert_eq!(bench.took(), [Act::Arm(4)]);
    // Given back while the disks are silent it is not touched, since a new period would be a pet.
    bench.watchdog.arm(ms(10_300), Duration::from_secs(1));
    bench.took();
    bench.watchdog.disarm(ms(14_000));
    bench.watchdog.tend(ms(14_000));
    assert_eq!(bench.took(), []);
}

#[test]
fn it_is_disarmed_only_when_everything_ends() {
    let mut bench = watched();
    bench.watchdog.disarm_finally();
    assert_eq!(bench.took(), [Act::Disarm]);
    bench.watchdog.tend(ms(11_000));
    assert!(!bench.watchdog.is_watched());
    assert_eq!(bench.took(), []);
}

#[test]
fn a_driver_that_counts_longer_than_msgwait_allows_is_refused() {
    let mut bench = bench(4_500, Duration::from_secs(10));
    bench.vouch.set_until(ms(14_000));
    bench.watchdog.tend(ms(10_000));
    assert_eq!(bench.took(), [Act::Arm(4), Act::Disarm]);
    let heard = bench.heard.try_recv();
    assert!(
        matches!(heard, Ok(SbdNotice::Failed(SbdError::Watchdog { .. }))),
        "{heard:?}"
    );
    assert!(!bench.watchdog.is_watched());
}

#[test]
fn a_header_without_room_for_one_second_is_refused() {
    let mut bench = bench(999, Duration::ZERO);
    bench.vouch.set_until(ms(14_000));
    bench.watchdog.tend(ms(10_000));
    assert_eq!(bench.took(), []);
    let none = SbdNotice::Failed(SbdError::NoRoom { left_ms: 999 });
    assert_eq!(bench.heard.try_recv(), Ok(none));
}

#[test]
fn without_disks_the_keepers_orders_pass_as_they_are() {
    let mut watchdog = SharedWatchdog::alone(Watchdog::at(std::path::Path::new("/dev/null")));
    assert!(watchdog.is_watched());
    watchdog.tend(ms(10_000));
    assert_eq!(watchdog.next_wake(ms(10_000)), None);
    let refused = watchdog.arm(ms(10_000), Duration::from_secs(1));
    assert!(matches!(refused, OperationResult::Failed(_)), "{refused:?}");
    assert_eq!(watchdog.disarm(ms(10_000)), OperationResult::Done);
}
