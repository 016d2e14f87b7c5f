//! The hardware watchdog in the keeper's hands: armed, attested, petted, left in time, disarmed, starved.

use super::*;

const R: Timing = Timing::RELAXED;
const PERIOD: Duration = Duration::from_secs(1);

fn told(result: OperationResult) -> Input {
    Input::Done {
        operation: Operation::ArmWatchdog(R.watchdog),
        result,
    }
}

fn granted(revision: u64, want: Want, watchdog: Option<Duration>) -> Input {
    Input::Assigned(Assignment {
        timing: None,
        revision: LogIndex(revision),
        incarnation: LIFE,
        items: vec![AssignedItem {
            resource: vip(),
            token: token(30),
            spec: spec(Isolation::Watchdog),
            want,
            watchdog,
            progress: crate::state::Progress::NotBegun,
        }],
    })
}

/// Carries out everything at once: the driver's watchdog has the period asked for.
fn play(keeper: &mut Keeper, now: Moment, input: Input) -> Vec<Output> {
    let mut all = Vec::new();
    let mut inputs = std::collections::VecDeque::from([input]);
    while let Some(input) = inputs.pop_front() {
        for output in keeper.step(now, input) {
            if let Output::Do(operation) = &output {
                let result = match operation {
                    _ if !keeper.may_still(now, operation) => OperationResult::Lapsed,
                    Operation::ArmWatchdog(wanted) => OperationResult::Armed(*wanted),
                    _ => OperationResult::Done,
                };
                inputs.push_back(Input::Done {
                    operation: operation.clone(),
                    result,
                });
            }
            all.push(output);
        }
    }
    all
}

/// Acting under `watchdog` at 10 s, with a lease until 16 s.
fn acting() -> Keeper {
    let mut keeper = Keeper::new(LIFE, R);
    play(&mut keeper, ms(10_000), Input::LeaseEnds(ms(16_000)));
    play(&mut keeper, ms(10_000), granted(30, Want::Hold, None));
    let outputs = play(
        &mut keeper,
        ms(10_000),
        granted(31, Want::Hold, Some(PERIOD)),
    );
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::ReportActive { .. })),
        "{outputs:?}"
    );
    keeper
}

#[test]
fn nothing_is_done_before_the_log_holds_the_armed_period() {
    let mut keeper = Keeper::new(LIFE, R);
    play(&mut keeper, ms(10_000), Input::LeaseEnds(ms(16_000)));
    let outputs = play(&mut keeper, ms(10_000), granted(30, Want::Hold, None));
    assert_eq!(
        outputs,
        vec![
            Output::Do(Operation::ArmWatchdog(PERIOD)),
            Output::ReportArmed {
                resource: vip(),
                token: token(30),
                period: PERIOD
            }
        ]
    );
    // Said again until it is heard, and again on a new stream.
    let later = play(&mut keeper, ms(16_000), Input::LeaseEnds(ms(22_000)));
    assert!(later.contains(&Output::ReportArmed {
        resource: vip(),
        token: token(30),
        period: PERIOD
    }));
    assert_eq!(keeper.standing_reports().len(), 1);
    let acts = play(
        &mut keeper,
        ms(16_010),
        granted(31, Want::Hold, Some(PERIOD)),
    );
    assert!(acts.contains(&Output::Do(Operation::Arm(vip(), token(30)))));
}

#[test]
fn pets_end_two_periods_before_the_lease_and_the_holding_leaves_earlier() {
    let mut keeper = acting();
    let leave_by = 16_000 - 2_000 - 900 - 1_000;
    let mut pets = Vec::new();
    let mut removed = None;
    for at in (10_010..16_000).step_by(10) {
        for output in play(&mut keeper, ms(at), Input::Tick) {
            match output {
                Output::Do(Operation::PetWatchdog) => pets.push(at),
                Output::Do(Operation::Remove(..)) => removed = Some(at),
                Output::Do(Operation::DisarmWatchdog) => {
                    assert_eq!(removed, Some(at), "disarmed before everything was stopped");
                    assert_eq!(at, leave_by + 10);
                    assert!(pets.windows(2).all(|pair| pair[1] - pair[0] <= 250));
                    return;
                }
                _ => {}
            }
        }
    }
    panic!("it neither left nor disarmed: pets {pets:?}");
}

#[test]
fn a_pet_is_refused_when_its_turn_comes_too_late() {
    let keeper = acting();
    assert!(keeper.may_still(ms(14_000), &Operation::PetWatchdog));
    assert!(!keeper.may_still(ms(14_001), &Operation::PetWatchdog));
    assert!(!keeper.may_still(ms(11_000), &Operation::DisarmWatchdog));
}

#[test]
fn a_failed_stop_starves_the_watchdog() {
    let mut keeper = acting();
    let mut said = Vec::new();
    let mut outputs = keeper.step(ms(10_100), granted(32, Want::Release, Some(PERIOD)));
    let mut last_pet = 0;
    for at in (10_100..14_000).step_by(10) {
        for output in std::mem::take(&mut outputs) {
            match output {
                Output::Do(Operation::PetWatchdog) => {
                    last_pet = at;
                    outputs.extend(keeper.step(ms(at), done(Operation::PetWatchdog)));
                }
                Output::Do(operation) => outputs.extend(keeper.step(
                    ms(at),
                    Input::Done {
                        operation,
                        result: OperationResult::Failed("busy".to_owned()),
                    },
                )),
                other => said.push(other),
            }
        }
        outputs.extend(keeper.step(ms(at), Input::LeaseEnds(ms(at + 6_000))));
    }
    assert!(
        matches!(
            said.as_slice(),
            [Output::ReportFailed {
                difficulty: Difficulty::Stop,
                ..
            }]
        ),
        "{said:?}"
    );
    assert!(
        (10_740..=11_000).contains(&last_pet),
        "last pet at {last_pet}"
    );
}

#[test]
fn a_watchdog_that_cannot_be_armed_hands_the_holding_back() {
    for trouble in [
        OperationResult::Failed("no such device".to_owned()),
        // A driver that counts longer than the ttl admits.
        OperationResult::Armed(Duration::from_secs(3)),
    ] {
        let mut keeper = Keeper::new(LIFE, R);
        keeper.step(ms(10_000), Input::LeaseEnds(ms(90_000)));
        let mut outputs = keeper.step(ms(10_000), granted(30, Want::Hold, None));
        let mut seen = Vec::new();
        for at in (10_000..80_000).step_by(50) {
            for output in std::mem::take(&mut outputs) {
                match output {
                    Output::Do(Operation::ArmWatchdog(_)) => {
                        outputs.extend(keeper.step(ms(at), told(trouble.clone())));
                    }
                    Output::Do(operation) => outputs.extend(keeper.step(ms(at), done(operation))),
                    other => seen.push(other),
                }
            }
            outputs.extend(keeper.step(ms(at), Input::Tick));
        }
        assert!(seen.contains(&released(30)), "{trouble:?}: {seen:?}");
        assert!(
            !seen.iter().any(|output| matches!(
                output,
                Output::ReportActive { .. } | Output::ReportArmed { .. }
            )),
            "{trouble:?}: {seen:?}"
        );
    }
}

#[test]
fn the_end_of_the_session_disarms_before_it_is_idle() {
    let mut keeper = acting();
    let outputs = play(&mut keeper, ms(10_500), Input::SessionOver);
    let place = |wanted: &Output| outputs.iter().position(|output| output == wanted);
    let removed = place(&Output::Do(Operation::Remove(vip(), token(30)))).unwrap();
    let disarmed = place(&Output::Do(Operation::DisarmWatchdog)).unwrap();
    let idle = place(&Output::Idle).unwrap();
    assert!(removed < disarmed && disarmed < idle, "{outputs:?}");
}

#[test]
fn a_driver_that_refuses_to_disarm_is_asked_again_without_a_spin_and_petted_meanwhile() {
    let mut keeper = acting();
    play(&mut keeper, ms(10_010), Input::LeaseEnds(ms(60_000)));
    let mut outputs = keeper.step(ms(10_020), granted(32, Want::Release, Some(PERIOD)));
    let (mut asked, mut petted) = (0, 0);
    for at in (10_020_u64..15_020).step_by(10) {
        for _ in 0..100 {
            for output in std::mem::take(&mut outputs) {
                let Output::Do(operation) = output else {
                    continue;
                };
                let result = match operation {
                    Operation::DisarmWatchdog => {
                        asked += 1;
                        OperationResult::Failed("device busy".to_owned())
                    }
                    Operation::PetWatchdog => {
                        petted += 1;
                        OperationResult::Done
                    }
                    _ => OperationResult::Done,
                };
                outputs.extend(keeper.step(ms(at), Input::Done { operation, result }));
            }
        }
        assert!(keeper.next_wake() > ms(at), "would spin at {at} ms");
        outputs.extend(keeper.step(ms(at + 10), Input::Tick));
    }
    assert!((5..=12).contains(&asked), "asked {asked} times in 5 s");
    assert!(petted >= 15, "petted {petted} times in 5 s");
}

proptest! {
    /// A watchdog that counts from each pet as late as it may be carried out fires before the lease ends.
    #[test]
    fn it_fires_before_the_lease_ends(extensions in proptest::collection::vec((10_u64..2_000, 0_u64..7_000), 1..40)) {
        let mut keeper = acting();
        let mut now = 10_000;
        let mut end = 16_000;
        let mut fires_at: Option<u64> = None;
        for (wait, lease) in extensions {
            let until = now + wait;
            while now < until {
                now += 10;
                for output in keeper.step(ms(now), Input::Tick) {
                    if let Output::Do(operation) = output {
                        let result = if keeper.may_still(ms(now), &operation) { OperationResult::Done } else { OperationResult::Lapsed };
                        if operation == Operation::PetWatchdog && result == OperationResult::Done {
                            // Late by a whole period, and lasting another.
                            fires_at = Some(now + 2_000);
                            prop_assert!(now + 2_000 <= end, "petted at {now} with a lease until {end}");
                        }
                        if operation == Operation::DisarmWatchdog { fires_at = None; }
                        keeper.step(ms(now), Input::Done { operation, result });
                    }
                }
            }
            if let Some(at) = fires_at { prop_assert!(at <= end); }
            end = end.max(now + lease);
            keeper.step(ms(now), Input::LeaseEnds(ms(end)));
        }
    }
}
