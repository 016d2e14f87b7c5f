//! The plans stepped by hand: what proves off, what does not, and when a plan gives up.

use super::*;

fn pace() -> PowerPace {
    PowerPace {
        read_spacing: Duration::from_millis(50),
        wait: Duration::from_millis(10),
        change_timeout: Duration::from_secs(20),
        commands_max: 1,
    }
}

/// Plays reads into a plan, moving time to wherever the plan wants it; tells commands and the end.
fn play(goal: Power, pace: PowerPace, reads: &[Power]) -> (Vec<Control>, Option<SwitchEnd>) {
    let mut now = Instant::now();
    let mut plan = SwitchPlan::new(goal, pace);
    let mut commands = Vec::new();
    let mut reads = reads.iter();
    loop {
        match plan.next(now) {
            Step::Read => match reads.next() {
                Some(power) => plan.on_read(now, *power),
                None => return (commands, None),
            },
            Step::Command(control) => {
                commands.push(control);
                plan.on_commanded(now);
            }
            Step::PauseUntil(at) => {
                assert!(at > now, "a plan that does not wait would spin");
                now = at;
            }
            Step::Finished(end) => return (commands, Some(end)),
        }
    }
}

use Power::{Off, On};

#[test]
fn already_off_takes_two_reads_and_no_command() {
    assert_eq!(play(Off, pace(), &[Off]), (vec![], None));
    assert_eq!(
        play(Off, pace(), &[Off, Off]),
        (vec![], Some(SwitchEnd::Already))
    );
}

#[test]
fn off_takes_two_consecutive_reads_after_the_command() {
    let down = vec![Control::Down];
    assert_eq!(play(Off, pace(), &[On, Off]), (down.clone(), None));
    assert_eq!(
        play(Off, pace(), &[On, Off, Off]),
        (down.clone(), Some(SwitchEnd::Switched))
    );
    assert_eq!(
        play(Off, pace(), &[On, On, Off, On, Off]),
        (down.clone(), None)
    );
    assert_eq!(
        play(Off, pace(), &[On, Off, On, Off, Off]),
        (down, Some(SwitchEnd::Switched))
    );
}

#[test]
fn a_machine_that_flaps_before_the_command_is_commanded_off() {
    let (commands, end) = play(Off, pace(), &[Off, On, Off, Off]);
    assert_eq!(
        (commands, end),
        (vec![Control::Down], Some(SwitchEnd::Switched))
    );
}

#[test]
fn a_machine_that_stays_on_ends_the_plan_at_its_timeout() {
    let reads = vec![On; 1000];
    let (commands, end) = play(Off, pace(), &reads);
    assert_eq!(
        (commands, end),
        (vec![Control::Down], Some(SwitchEnd::StillOther))
    );
}

#[test]
fn reads_are_spaced_as_configured() {
    let now = Instant::now();
    let mut plan = SwitchPlan::new(Off, pace());
    plan.on_read(now, Off);
    let next = now + Duration::from_millis(50);
    assert_eq!(plan.next(now), Step::PauseUntil(next));
    assert_eq!(plan.next(next), Step::Read);
}

#[test]
fn pauses_grow_while_the_machine_is_still_on_and_not_between_the_proving_reads() {
    let mut now = Instant::now();
    let fast = PowerPace {
        read_spacing: Duration::from_millis(10),
        ..pace()
    };
    let mut plan = SwitchPlan::new(Off, fast);
    plan.on_read(now, On);
    plan.on_commanded(now);
    let mut pauses = Vec::new();
    for power in [On; 16].into_iter().chain([Off]) {
        now += Duration::from_millis(1);
        plan.on_read(now, power);
        match plan.next(now) {
            Step::PauseUntil(at) => pauses.push((at - now).as_millis()),
            other => panic!("must pause, not {other:?}"),
        }
    }
    assert_eq!(pauses[..5], [10, 12, 15, 19, 24]);
    assert_eq!(pauses[13..], [181, 200, 200, 10]);
}

#[test]
fn on_takes_one_read_and_repeats_its_command_as_often_as_told() {
    assert_eq!(play(On, pace(), &[On]), (vec![], Some(SwitchEnd::Already)));
    assert_eq!(
        play(On, pace(), &[Off, On]),
        (vec![Control::Up], Some(SwitchEnd::Switched))
    );
    let twice = PowerPace {
        commands_max: 2,
        change_timeout: Duration::from_millis(60),
        ..pace()
    };
    let (commands, end) = play(On, twice, &[Off; 20]);
    assert_eq!(
        (commands, end),
        (vec![Control::Up, Control::Up], Some(SwitchEnd::StillOther))
    );
}

#[test]
fn a_read_from_before_the_word_saves_a_read_and_proves_nothing() {
    let begun = |before| {
        let now = Instant::now();
        let mut plan = SwitchPlan::new(Off, pace());
        plan.begin_from(now, before);
        (plan.next(now), plan.has_first_off_read())
    };
    assert_eq!(begun(On), (Step::Command(Control::Down), false));
    assert_eq!(begun(Off), (Step::Read, false));
}
