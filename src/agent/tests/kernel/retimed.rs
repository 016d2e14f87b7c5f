//! The cluster's timing is raised and lowered beside a real kernel, under an owner that goes on answering (R2a).
//!
//! The log, the assignments and the word that the agent says are as in `docs/timing.md`; what the kernel counts is
//! looked at from outside and in its own lists. Which order is safe is the engine's question, and tested there.

use crate::fixture::{VIP4, client};
use crate::gate::FileSystem;
use crate::lease::{LIFE, NODE, World, assignment, beside_a_lease_with, timed};
use crate::netns::{Wire, eventually};
use crate::probe::Probe;
use haft_agent::executor::Enforcement;
use haft_agent::order::Notice;
use haft_agent::shared_watchdog::SharedWatchdog;
use haft_agent::watchdog::Watchdog;
use haft_engine::clock::Timing;
use haft_engine::command::Command;
use haft_engine::ids::RequestId;
use haft_engine::keeper::{Output, Want};
use haft_engine::timing::{ClusterTiming, checks};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Ends well within a test's patience; W leaves a busy machine room to renew late.
const SHORT: Timing = Timing {
    beat: ms(200),
    ttl: ms(3_000),
    guard_life: ms(800),
    guard_renewal: ms(200),
    closing_after: ms(2_500),
    address_life: ms(5_000),
    gated_ttl: ms(3_000),
    gated_closing_after: ms(2_500),
    ..Timing::NORMAL
};

/// Ends long after a test has lost its patience.
const LONG: Timing = Timing {
    ttl: ms(60_000),
    guard_life: ms(14_000),
    guard_renewal: ms(1_000),
    closing_after: ms(50_000),
    address_life: ms(62_000),
    gated_ttl: ms(60_000),
    gated_closing_after: ms(50_000),
    ..SHORT
};

/// An owner and who looks at it.
struct Story<'a> {
    world: &'a mut World,
    wire: &'a Wire,
    probe: &'a Probe,
    revision: u64,
}

/// The address is there and answers.
fn answers(wire: &Wire, probe: &Probe) {
    assert!(probe.echoes(VIP4), "the owner is silent");
    let shown = wire.owner.ip("addr show dev own0");
    assert!(shown.contains("10.9.0.100"), "{shown}");
}

impl Story<'_> {
    /// Hands out the assignment, with what is not in the log for this life yet.
    fn assign(&mut self, told: Option<ClusterTiming>) {
        self.revision += 1;
        let order = assignment(self.revision, &[Want::Hold]);
        self.world.order(match told {
            Some(told) => timed(order, told),
            None => order,
        });
    }

    /// The log changes its timing, the agent is told and says that it counts by it, and the log hears that.
    fn change(&mut self, timing: Timing) {
        self.world.commit(Command::SetTiming {
            timing,
            expected: None,
            request: RequestId::default(),
        });
        let told = self.world.in_force();
        self.assign(Some(told));
        let word = Notice::Retimed(LIFE, told.generation);
        eventually("the agent counts by the new timing", || {
            answers(self.wire, self.probe);
            match self.world.notices.try_recv() {
                Ok(notice) => {
                    assert!(!gives_up(&notice), "{notice:?}");
                    notice == word
                }
                Err(_) => false,
            }
        });
        self.world.commit(Command::Retimed {
            node: NODE,
            incarnation: LIFE,
            generation: told.generation,
        });
        self.assign(None);
        answers(self.wire, self.probe);
    }

    /// The kernel's own word on how long the address stays.
    fn address_life(&self) -> Duration {
        let shown = self.wire.owner.ip("-j addr show dev own0 to 10.9.0.100");
        let seconds = shown.split("\"valid_life_time\":").nth(1);
        let digits = seconds.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let seconds = digits.and_then(|digits| digits.parse().ok());
        Duration::from_secs(seconds.unwrap_or_else(|| panic!("no lifetime: {shown}")))
    }
}

/// Whether anything of this life ends by it.
fn gives_up(notice: &Notice) -> bool {
    match notice {
        Notice::Report(_, report) => matches!(
            report,
            Output::ReportReleased { .. } | Output::ReportFailed { .. }
        ),
        Notice::Idle(_) => true,
        Notice::Retimed(..) | Notice::Rival(..) | Notice::Hindered(_) | Notice::Stands(_) => false,
    }
}

fn raised_and_lowered(world: &mut World, wire: &Wire, answering: &AtomicBool) {
    let probe = client(wire);
    world.admit();
    world.order(assignment(30, &[Want::Hold]));
    world.await_active();
    eventually("the address answers", || probe.echoes(VIP4));
    let mut story = Story {
        world: &mut *world,
        wire,
        probe: &probe,
        revision: 30,
    };

    story.change(LONG);
    assert!(story.address_life() > SHORT.address_life);
    // More beats than go out in the older ttl, to three coordinators; none is answered.
    answering.store(false, Ordering::SeqCst);
    let heard = || story.world.heard.load(Ordering::SeqCst);
    let unanswered = heard() + 3 * 20;
    eventually("the older ttl is over", || {
        answers(wire, &probe);
        heard() >= unanswered
    });
    answering.store(true, Ordering::SeqCst);

    story.change(SHORT);
    assert!(story.address_life() <= SHORT.address_life);
    // By the older ttl it would outlast the test's patience.
    answering.store(false, Ordering::SeqCst);
    eventually("the lease has ended", || !probe.echoes(VIP4));
    world.await_release();
    assert!(!wire.owner.ip("addr show dev own0").contains("10.9.0.100"));
}

fn dog() -> SharedWatchdog {
    SharedWatchdog::alone(Watchdog::at(Path::new("/dev/null")))
}

#[test]
fn an_owner_that_is_retimed_keeps_answering() {
    let wire = Wire::new();
    beside_a_lease_with(
        &wire,
        SHORT,
        dog(),
        Enforcement::Timed,
        |world, answering| {
            raised_and_lowered(world, &wire, answering);
        },
    );
}

#[test]
fn an_owner_that_is_retimed_behind_the_gate_keeps_answering() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let home = wire.owner.run(|| files.home());
    let gated = Enforcement::Gated(home);
    beside_a_lease_with(&wire, SHORT, dog(), gated, |world, answering| {
        raised_and_lowered(world, &wire, answering);
    });
}

#[test]
fn both_timings_keep_every_sum() {
    for timing in [SHORT, LONG] {
        let failing = checks(&timing).into_iter().find(|check| !check.holds);
        assert_eq!(failing, None);
    }
}
