//! Rule R14: under `stonith` nothing is touched before the log says that this owner begins.

use super::*;
use crate::state::Progress;

fn granted(revision: u64, progress: Progress, want: Want) -> Input {
    let Input::Assigned(mut assignment) = assigned_as(Isolation::Stonith, revision, &[(30, want)])
    else {
        unreachable!();
    };
    for item in &mut assignment.items {
        item.progress = progress;
    }
    Input::Assigned(assignment)
}

fn asks() -> Output {
    Output::ReportBegun {
        resource: vip(),
        token: token(30),
    }
}

fn leased() -> Keeper {
    let mut keeper = Keeper::new(LIFE, T);
    keeper.step(ms(1_000), Input::LeaseEnds(ms(10_000)));
    keeper
}

#[test]
fn it_asks_for_the_logs_word_and_touches_nothing_before() {
    let mut keeper = leased();
    let outputs = keeper.step(ms(1_000), granted(30, Progress::NotBegun, Want::Hold));
    assert_eq!(outputs, [asks()]);
    assert!(keeper.holdings().is_empty());
    // Said again each ttl, and on a new stream.
    assert_eq!(keeper.next_wake(), ms(1_250));
    assert_eq!(keeper.step(ms(1_249), Input::Tick), []);
    assert_eq!(keeper.step(ms(1_250), Input::Tick), [asks()]);
    assert_eq!(keeper.standing_reports(), [asks()]);
    let outputs = keeper.step(ms(1_300), granted(31, Progress::Begun, Want::Hold));
    let arm = Operation::Arm(vip(), token(30));
    assert_eq!(outputs, [Output::Do(arm)]);
    assert!(keeper.standing_reports().is_empty());
}

#[test]
fn what_it_gives_back_before_it_begins_is_a_release_and_no_failed_stop() {
    let mut keeper = leased();
    keeper.step(ms(1_000), granted(30, Progress::NotBegun, Want::Hold));
    let outputs = keeper.step(ms(1_010), granted(31, Progress::NotBegun, Want::Release));
    assert_eq!(outputs, [released(30)]);
    // Final, whatever the log says later.
    let outputs = keeper.step(ms(1_020), granted(32, Progress::Begun, Want::Hold));
    assert!(
        !outputs.iter().any(|output| matches!(output, Output::Do(_))),
        "{outputs:?}"
    );
}

#[test]
fn without_a_lease_it_does_not_ask() {
    let mut keeper = Keeper::new(LIFE, T);
    let outputs = keeper.step(ms(1_000), granted(30, Progress::NotBegun, Want::Hold));
    assert_eq!(outputs, []);
    assert_eq!(
        keeper.step(ms(1_001), Input::LeaseEnds(ms(2_000))),
        [asks()]
    );
}

#[test]
fn under_lease_nothing_has_to_be_asked() {
    let mut keeper = leased();
    let outputs = keeper.step(ms(1_000), assigned(30, &[(30, Want::Hold)]));
    let arm = Operation::Arm(vip(), token(30));
    assert_eq!(outputs, [Output::Do(arm)]);
}
