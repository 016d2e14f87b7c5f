//! The plans stepped by hand: what proves off, what does not, and when a plan gives up.

use super::*;
use Reading::{Off, On, Unclear};

fn pace() -> PowerPace {
    PowerPace {
        read_spacing: Duration::from_millis(50),
        wait: Duration::from_millis(10),
        change_timeout: Duration::from_secs(20),
        commands_max: 1,
    }
}

/// Plays rounds of reads into a plan, moving time to wherever the plan wants it; tells how often it
/// commanded, and the end.
fn play(goal: Goal, pace: PowerPace, rounds: &[&[Reading]]) -> (u32, Option<SwitchEnd>) {
    let mut now = Instant::now();
    let mut plan = SwitchPlan::new(goal, pace);
    let mut commands = 0;
    let mut rounds = rounds.iter();
    loop {
        match plan.next(now) {
            Step::Read => match rounds.next() {
                Some(round) => plan.on_read(now, round),
                None => return (commands, None),
            },
            Step::Command => {
                commands += 1;
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

#[test]
fn already_off_takes_two_rounds_of_every_outlet_and_no_command() {
    assert_eq!(play(Goal::Off, pace(), &[&[Off, Off]]), (0, None));
    let already = (0, Some(SwitchEnd::Already));
    assert_eq!(
        play(Goal::Off, pace(), &[&[Off, Off], &[Off, Off]]),
        already
    );
}

#[test]
fn one_outlet_that_is_on_keeps_the_node_from_being_off() {
    let rounds: Vec<&[Reading]> = vec![&[Off, On]; 1000];
    assert_eq!(
        play(Goal::Off, pace(), &rounds),
        (1, Some(SwitchEnd::StillOther))
    );
    assert_eq!(node_state(&[Off, On]), On);
    assert_eq!(node_state(&[Unclear, On]), On);
}

#[test]
fn an_unclear_outlet_is_never_off() {
    let rounds: Vec<&[Reading]> = vec![&[Off, Unclear]; 1000];
    assert_eq!(
        play(Goal::Off, pace(), &rounds),
        (1, Some(SwitchEnd::StillOther))
    );
    assert_eq!(node_state(&[Off, Unclear]), Unclear);
    assert_eq!(node_state(&[]), Unclear);
    assert_eq!(node_state(&[Off, Off]), Off);
}

#[test]
fn off_takes_two_consecutive_rounds_after_the_command() {
    assert_eq!(play(Goal::Off, pace(), &[&[On], &[Off]]), (1, None));
    let switched = (1, Some(SwitchEnd::Switched));
    assert_eq!(play(Goal::Off, pace(), &[&[On], &[Off], &[Off]]), switched);
    assert_eq!(
        play(Goal::Off, pace(), &[&[On], &[Off], &[On], &[Off]]),
        (1, None)
    );
    assert_eq!(
        play(
            Goal::Off,
            pace(),
            &[&[On], &[Off], &[Unclear], &[Off], &[Off]]
        ),
        switched
    );
}

#[test]
fn an_outlet_that_flaps_before_the_command_is_commanded_off() {
    let rounds: [&[Reading]; 4] = [&[Off], &[On], &[Off], &[Off]];
    assert_eq!(
        play(Goal::Off, pace(), &rounds),
        (1, Some(SwitchEnd::Switched))
    );
}

#[test]
fn no_outlets_prove_nothing() {
    let rounds: Vec<&[Reading]> = vec![&[]; 1000];
    assert_eq!(
        play(Goal::Off, pace(), &rounds),
        (1, Some(SwitchEnd::StillOther))
    );
    assert_eq!(
        play(Goal::On, pace(), &rounds),
        (1, Some(SwitchEnd::StillOther))
    );
}

#[test]
fn rounds_are_spaced_as_configured() {
    let now = Instant::now();
    let mut plan = SwitchPlan::new(Goal::Off, pace());
    plan.on_read(now, &[Off]);
    let next = now + Duration::from_millis(50);
    assert_eq!(plan.next(now), Step::PauseUntil(next));
    assert_eq!(plan.next(next), Step::Read);
}

#[test]
fn on_takes_one_round_of_every_outlet_and_repeats_its_command_as_often_as_told() {
    assert_eq!(
        play(Goal::On, pace(), &[&[On, On]]),
        (0, Some(SwitchEnd::Already))
    );
    assert_eq!(play(Goal::On, pace(), &[&[On, Off], &[On, Off]]), (1, None));
    assert_eq!(
        play(Goal::On, pace(), &[&[Off], &[On]]),
        (1, Some(SwitchEnd::Switched))
    );
    let twice = PowerPace {
        commands_max: 2,
        change_timeout: Duration::from_millis(60),
        ..pace()
    };
    let rounds: Vec<&[Reading]> = vec![&[Off]; 20];
    assert_eq!(
        play(Goal::On, twice, &rounds),
        (2, Some(SwitchEnd::StillOther))
    );
}
