//! A stop that does not come to its end (R7).

use super::*;

fn failed_stop(why: &str) -> Output {
    Output::ReportFailed {
        resource: vip(),
        token: token(30),
        difficulty: Difficulty::Stop,
        why: why.to_owned(),
    }
}

/// Acting under `stonith`, asked to release at 1 s, with a lease that lasts.
fn stopping() -> Keeper {
    let mut keeper = Keeper::new(LIFE, T);
    settle(&mut keeper, ms(1_000), Input::LeaseEnds(ms(9_000)));
    settle(
        &mut keeper,
        ms(1_000),
        assigned_as(Isolation::Stonith, 30, &[(30, Want::Hold)]),
    );
    let outputs = keeper.step(
        ms(1_001),
        assigned_as(Isolation::Stonith, 31, &[(30, Want::Release)]),
    );
    assert!(outputs.contains(&Output::Do(Operation::Remove(vip(), token(30)))));
    keeper
}

#[test]
fn a_removal_that_is_refused_is_owned_up_to_once_after_the_stop_deadline() {
    let mut keeper = stopping();
    let refused = || Input::Done {
        operation: Operation::Remove(vip(), token(30)),
        result: OperationResult::Failed("busy".to_owned()),
    };
    let mut said = Vec::new();
    for at in 1_002..2_000 {
        for output in keeper.step(ms(at), Input::Tick) {
            match output {
                Output::Do(Operation::Remove(..)) => said.extend(keeper.step(ms(at), refused())),
                other => said.push(other),
            }
        }
        if at == 1_002 {
            said.extend(keeper.step(ms(at), refused()));
        }
        if at < 1_001 + 500 {
            assert_eq!(said, vec![], "before the deadline, at {at} ms");
        }
    }
    assert_eq!(said, vec![failed_stop("busy")]);
}

#[test]
fn a_removal_without_an_answer_is_owned_up_to() {
    let mut keeper = stopping();
    assert_eq!(keeper.step(ms(1_500), Input::Tick), vec![]);
    assert_eq!(keeper.next_wake(), ms(1_501));
    assert_eq!(
        keeper.step(ms(1_501), Input::Tick),
        vec![failed_stop("its removal has no answer from the kernel")]
    );
    assert_eq!(
        keeper.step(ms(1_600), done(Operation::Remove(vip(), token(30)))),
        vec![released(30)]
    );
}
