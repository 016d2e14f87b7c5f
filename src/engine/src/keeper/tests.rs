//! Scenarios of the self-guard, and a property over random inputs. The kernel here only answers; it models no elements.

use super::*;
use crate::ids::Epoch;
use crate::spec::{Failback, Isolation, Unfenced, VirtualIpSpec};
use proptest::prelude::*;
use std::time::Duration;

mod begin;
mod gate;
mod stopping;
mod watchdog;

const T: Timing = Timing::FAST;
const LIFE: Incarnation = Incarnation(20);

fn ms(n: u64) -> Moment {
    Moment(n * 1_000_000)
}

fn token(index: u64) -> Token {
    Token {
        epoch: Epoch(1),
        index: LogIndex(index),
    }
}

fn vip() -> ResourceId {
    ResourceId::vip("web")
}

fn spec(isolation: Isolation) -> ResourceSpec {
    ResourceSpec::VirtualIp(VirtualIpSpec {
        address: [192, 0, 2, 7].into(),
        interface: "eth0".to_owned(),
        isolation,
        unfenced: Unfenced::Refused,
        preference: Vec::new(),
        failback: Failback::Never,
    })
}

fn assigned(revision: u64, items: &[(u64, Want)]) -> Input {
    assigned_as(Isolation::Lease, revision, items)
}

fn assigned_as(isolation: Isolation, revision: u64, items: &[(u64, Want)]) -> Input {
    Input::Assigned(Assignment {
        timing: None,
        revision: LogIndex(revision),
        incarnation: LIFE,
        items: items
            .iter()
            .map(|(index, want)| AssignedItem {
                resource: vip(),
                token: token(*index),
                spec: spec(isolation),
                want: *want,
                watchdog: None,
                progress: crate::state::Progress::Begun,
            })
            .collect(),
    })
}

fn done(operation: Operation) -> Input {
    Input::Done {
        operation,
        result: OperationResult::Done,
    }
}

fn released(index: u64) -> Output {
    Output::ReportReleased {
        resource: vip(),
        token: token(index),
    }
}

/// Carries out every operation at once and successfully; returns all outputs in order.
fn settle(keeper: &mut Keeper, now: Moment, input: Input) -> Vec<Output> {
    let mut all = Vec::new();
    let mut inputs = std::collections::VecDeque::from([input]);
    while let Some(input) = inputs.pop_front() {
        for output in keeper.step(now, input) {
            if let Output::Do(operation) = &output {
                let result = if keeper.may_still(now, operation) {
                    OperationResult::Done
                } else {
                    OperationResult::Lapsed
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

/// Acting under token 30 with a lease until 1.25 s, at 1 s.
fn acting() -> Keeper {
    let mut keeper = Keeper::new(LIFE, T);
    keeper.step(ms(1_000), Input::GuardsAttested(Attestation::Intact));
    settle(&mut keeper, ms(1_000), Input::LeaseEnds(ms(1_250)));
    settle(&mut keeper, ms(1_000), assigned(30, &[(30, Want::Hold)]));
    keeper
}

#[test]
fn a_grant_is_armed_then_installed_then_addressed_then_reported() {
    let mut keeper = Keeper::new(LIFE, T);
    keeper.step(ms(1_000), Input::GuardsAttested(Attestation::Intact));
    assert_eq!(
        keeper.step(ms(1_000), assigned(30, &[(30, Want::Hold)])),
        vec![]
    );
    let arm = Operation::Arm(vip(), token(30));
    let install = Operation::Install(vip(), token(30));
    let add = Operation::AddAddress(vip(), token(30));
    assert_eq!(
        keeper.step(ms(1_000), Input::LeaseEnds(ms(1_250))),
        vec![Output::Do(arm.clone())]
    );
    assert_eq!(
        keeper.step(ms(1_001), done(arm)),
        vec![Output::Do(install.clone())]
    );
    assert_eq!(
        keeper.step(ms(1_002), done(install)),
        vec![
            Output::Do(add.clone()),
            Output::Do(Operation::Renew(vec![(vip(), token(30))]))
        ]
    );
    assert_eq!(
        keeper.step(ms(1_003), done(add)),
        vec![Output::ReportActive {
            resource: vip(),
            token: token(30),
            guard: Attestation::Intact,
            address_life: T.address_life,
        }]
    );
}

#[test]
fn a_pause_between_arming_and_installing_is_noticed() {
    let mut keeper = Keeper::new(LIFE, T);
    keeper.step(ms(1_000), Input::LeaseEnds(ms(1_250)));
    keeper.step(ms(1_000), assigned(30, &[(30, Want::Hold)]));
    let arm = Operation::Arm(vip(), token(30));
    let late = ms(1_250).before(T.guard_life * 2) + Duration::from_nanos(1);
    assert_eq!(keeper.step(late, done(arm)), vec![]);
    assert!(!keeper.may_still(late, &Operation::Install(vip(), token(30))));
}

#[test]
fn renewals_stop_two_guard_lives_before_the_lease_ends() {
    let mut keeper = acting();
    let last = ms(1_250).before(T.guard_life * 2);
    let renew = Operation::Renew(vec![(vip(), token(30))]);
    assert!(settle(&mut keeper, last, Input::Tick).contains(&Output::Do(renew.clone())));
    assert!(!keeper.may_still(last + Duration::from_nanos(1), &renew));
    assert_eq!(
        settle(&mut keeper, last + T.guard_renewal, Input::Tick),
        vec![]
    );
}

#[test]
fn a_lapse_under_a_live_lease_is_armed_again_and_is_no_release() {
    let mut keeper = acting();
    let renew = Operation::Renew(vec![(vip(), token(30))]);
    keeper.step(ms(1_025), Input::Tick);
    let lapsed = Input::Done {
        operation: renew,
        result: OperationResult::Lapsed,
    };
    let outputs = settle(&mut keeper, ms(1_100), lapsed);
    assert_eq!(keeper.lapses(), 1);
    assert_eq!(
        &outputs[..3],
        &[
            Output::Do(Operation::Arm(vip(), token(30))),
            Output::Do(Operation::Install(vip(), token(30))),
            Output::Do(Operation::Announce(vip(), token(30))),
        ]
    );
}

#[test]
fn a_lease_renewed_after_its_end_brings_the_address_back_under_the_same_token() {
    let mut keeper = acting();
    let lapsed = |keeper: &mut Keeper| {
        let renew = Operation::Renew(vec![(vip(), token(30))]);
        keeper.step(
            ms(1_300),
            Input::Done {
                operation: renew,
                result: OperationResult::Lapsed,
            },
        )
    };
    assert_eq!(lapsed(&mut keeper), vec![]);
    let outputs = settle(&mut keeper, ms(1_320), Input::LeaseEnds(ms(1_560)));
    assert!(outputs.contains(&Output::Do(Operation::Install(vip(), token(30)))));
}

#[test]
fn one_ttl_after_the_end_everything_is_removed_and_released() {
    let mut keeper = acting();
    assert_eq!(keeper.step(ms(1_499), Input::Tick), vec![]);
    let outputs = settle(&mut keeper, ms(1_500), Input::Tick);
    assert_eq!(
        outputs,
        vec![
            Output::Do(Operation::Remove(vip(), token(30))),
            released(30)
        ]
    );
    settle(&mut keeper, ms(1_510), Input::LeaseEnds(ms(1_750)));
    assert_eq!(
        settle(&mut keeper, ms(1_510), assigned(31, &[(30, Want::Hold)])),
        vec![]
    );
}

#[test]
fn a_planned_move_removes_and_releases_at_once() {
    let mut keeper = acting();
    let outputs = settle(&mut keeper, ms(1_010), assigned(40, &[(30, Want::Release)]));
    assert_eq!(
        outputs,
        vec![
            Output::Do(Operation::Remove(vip(), token(30))),
            released(30)
        ]
    );
}

#[test]
fn a_release_is_final_and_repeated_while_the_assignment_names_it() {
    let mut keeper = acting();
    settle(&mut keeper, ms(1_010), assigned(40, &[(30, Want::Release)]));
    settle(&mut keeper, ms(1_010), Input::LeaseEnds(ms(9_000)));
    let again = settle(&mut keeper, ms(1_020), assigned(41, &[(30, Want::Hold)]));
    assert_eq!(again, vec![]);
    assert_eq!(keeper.standing_reports(), vec![released(30)]);
    assert_eq!(keeper.next_wake(), ms(1_260));
    assert_eq!(
        settle(&mut keeper, ms(1_260), Input::Tick),
        vec![released(30)]
    );
    settle(&mut keeper, ms(1_270), assigned(42, &[]));
    assert_eq!(settle(&mut keeper, ms(3_000), Input::Tick), vec![]);
    let granted = settle(&mut keeper, ms(3_000), assigned(50, &[(50, Want::Hold)]));
    assert!(granted.contains(&Output::Do(Operation::AddAddress(vip(), token(50)))));
}

#[test]
fn a_grant_to_be_released_is_released_without_being_acted_upon() {
    let mut keeper = Keeper::new(LIFE, T);
    settle(&mut keeper, ms(1_000), Input::LeaseEnds(ms(1_250)));
    assert_eq!(
        settle(&mut keeper, ms(1_000), assigned(30, &[(30, Want::Release)])),
        vec![released(30)]
    );
}

#[test]
fn older_revisions_and_other_lives_are_ignored() {
    let mut keeper = acting();
    assert_eq!(
        settle(&mut keeper, ms(1_001), assigned(29, &[(30, Want::Release)])),
        vec![]
    );
    let foreign = Input::Assigned(Assignment {
        timing: None,
        revision: LogIndex(99),
        incarnation: Incarnation(19),
        items: Vec::new(),
    });
    assert_eq!(settle(&mut keeper, ms(1_001), foreign), vec![]);
}

#[test]
fn what_the_log_no_longer_names_is_stopped() {
    let mut keeper = acting();
    let outputs = settle(&mut keeper, ms(1_010), assigned(40, &[]));
    assert!(outputs.contains(&Output::Do(Operation::Remove(vip(), token(30)))));
}

#[test]
fn a_newer_token_is_acted_upon_only_after_the_older_is_released() {
    let mut keeper = acting();
    let outputs = settle(&mut keeper, ms(1_010), assigned(40, &[(40, Want::Hold)]));
    let at = |wanted: &Output| outputs.iter().position(|output| output == wanted);
    let release = at(&released(30));
    let arm = at(&Output::Do(Operation::Arm(vip(), token(40))));
    assert!(release.is_some() && release < arm);
}

fn failed_removal(keeper: &mut Keeper, now: Moment) -> Vec<Output> {
    keeper.step(
        now,
        Input::Done {
            operation: Operation::Remove(vip(), token(30)),
            result: OperationResult::Failed("busy".to_owned()),
        },
    )
}

#[test]
fn for_a_lease_the_lapse_of_the_guard_proves_a_failed_removal() {
    let mut keeper = acting();
    keeper.step(ms(1_010), assigned(40, &[(30, Want::Release)]));
    let outputs = failed_removal(&mut keeper, ms(1_011));
    assert!(!outputs.contains(&released(30)));
    assert!(keeper.next_wake() < ms(1_070));
    keeper.step(ms(1_070), Input::Tick);
    let outputs = failed_removal(&mut keeper, ms(1_071));
    assert!(outputs.contains(&released(30)));
    assert!(!outputs.contains(&Output::Do(Operation::Renew(vec![(vip(), token(30))]))));
}

#[test]
fn for_stonith_a_failed_removal_is_never_released() {
    let mut keeper = Keeper::new(LIFE, T);
    settle(&mut keeper, ms(1_000), Input::LeaseEnds(ms(1_250)));
    let hold = assigned_as(Isolation::Stonith, 30, &[(30, Want::Hold)]);
    settle(&mut keeper, ms(1_000), hold);
    let release = assigned_as(Isolation::Stonith, 40, &[(30, Want::Release)]);
    keeper.step(ms(1_010), release);
    for at in (1_011..9_000).step_by(900) {
        assert!(!failed_removal(&mut keeper, ms(at)).contains(&released(30)));
        keeper.step(ms(at + 899), Input::Tick);
    }
    assert!(
        settle(
            &mut keeper,
            ms(9_999),
            done(Operation::Remove(vip(), token(30)))
        )
        .contains(&released(30))
    );
}

#[test]
fn a_broken_guard_is_installed_again() {
    let mut keeper = acting();
    let outputs = settle(
        &mut keeper,
        ms(1_010),
        Input::GuardsAttested(Attestation::Broken),
    );
    assert!(outputs.contains(&Output::Do(Operation::Install(vip(), token(30)))));
}

#[test]
fn a_vanished_address_is_added_again_without_a_second_report() {
    let mut keeper = acting();
    assert_eq!(
        settle(&mut keeper, ms(1_010), Input::AddressVanished(vip())),
        vec![Output::Do(Operation::AddAddress(vip(), token(30)))]
    );
}

#[test]
fn a_lost_carrier_is_reported_and_after_patience_handed_back() {
    let mut keeper = acting();
    settle(&mut keeper, ms(1_000), Input::LeaseEnds(ms(9_000)));
    let down = settle(&mut keeper, ms(1_010), Input::Carrier(vip(), Carrier::Down));
    assert!(matches!(down[..], [Output::ReportFailed { .. }]));
    let outputs = settle(&mut keeper, ms(1_260), Input::Tick);
    assert!(outputs.contains(&released(30)));
    settle(&mut keeper, ms(1_300), assigned(50, &[(50, Want::Hold)]));
    assert!(!settle(&mut keeper, ms(1_600), Input::Tick).contains(&released(50)));
    assert!(settle(&mut keeper, ms(1_801), Input::Tick).contains(&released(50)));
}

#[test]
fn failures_pause_longer_each_time_and_are_complained_of_once() {
    let mut keeper = Keeper::new(LIFE, T);
    keeper.step(ms(1_000), Input::LeaseEnds(ms(9_000)));
    keeper.step(ms(1_000), assigned(30, &[(30, Want::Hold)]));
    let fail = |keeper: &mut Keeper, at| {
        keeper.step(
            at,
            Input::Done {
                operation: Operation::Arm(vip(), token(30)),
                result: OperationResult::Failed("no such link".to_owned()),
            },
        )
    };
    assert_eq!(fail(&mut keeper, ms(1_000)).len(), 1);
    assert_eq!(keeper.next_wake(), ms(1_025));
    keeper.step(ms(1_025), Input::Tick);
    assert_eq!(fail(&mut keeper, ms(1_025)).len(), 0);
    assert_eq!(keeper.next_wake(), ms(1_075));
}

#[test]
fn shutdown_and_the_end_of_the_session_release_everything_then_idle() {
    for input in [Input::Shutdown, Input::SessionOver] {
        let mut keeper = acting();
        let outputs = settle(&mut keeper, ms(1_010), input);
        assert_eq!(
            outputs,
            vec![
                Output::Do(Operation::Remove(vip(), token(30))),
                released(30),
                Output::Idle
            ]
        );
        assert_eq!(
            settle(&mut keeper, ms(1_020), assigned(50, &[(50, Want::Hold)])),
            vec![released(50)]
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Lease(u64),
    Assign(Vec<(u64, Want)>),
    Answer(u8),
    Attest(Attestation),
    Vanish,
    Carrier(Carrier),
}

fn steps() -> impl Strategy<Value = Step> {
    let want = prop_oneof![3 => Just(Want::Hold), 1 => Just(Want::Release)];
    prop_oneof![
        4 => (1u64..120).prop_map(Step::Wait),
        3 => (100u64..250).prop_map(Step::Lease),
        2 => proptest::collection::vec((30u64..36, want), 0..2).prop_map(Step::Assign),
        8 => (0u8..8).prop_map(Step::Answer),
        1 => Just(Step::Attest(Attestation::Broken)),
        1 => Just(Step::Attest(Attestation::Intact)),
        1 => Just(Step::Vanish),
        1 => Just(Step::Carrier(Carrier::Down)),
        1 => Just(Step::Carrier(Carrier::Up)),
    ]
}

proptest! {
    /// Whatever happens: no kernel write under a released token, none that the lease does not permit,
    /// and no release of a touched stonith holding without a successful removal.
    #[test]
    fn no_write_outside_the_lease_or_after_a_release(script in proptest::collection::vec(steps(), 1..120)) {
        let mut keeper = Keeper::new(LIFE, T);
        let mut now = 1_000;
        let mut lease = None;
        let mut revision = 30;
        let mut pending: std::collections::VecDeque<Operation> = Default::default();
        let mut given_up = token(0);
        let mut touched: BTreeMap<Token, bool> = BTreeMap::new();
        for step in script {
            let input = match step {
                Step::Wait(by) => { now += by; Input::Tick }
                Step::Lease(by) => {
                    let end = ms(now + by);
                    lease = lease.max(Some(end));
                    Input::LeaseEnds(end)
                }
                Step::Assign(items) => {
                    revision += 1;
                    assigned_as(Isolation::Stonith, revision, &items)
                }
                Step::Answer(how) => match pending.pop_front() {
                    None => Input::Tick,
                    Some(operation) => {
                        let result = match how {
                            0 => OperationResult::Lapsed,
                            1 => OperationResult::Failed("no".to_owned()),
                            _ => OperationResult::Done,
                        };
                        if let (Operation::Remove(_, token), OperationResult::Done) = (&operation, &result) {
                            touched.insert(*token, false);
                        }
                        Input::Done { operation, result }
                    }
                },
                Step::Attest(attestation) => Input::GuardsAttested(attestation),
                Step::Vanish => Input::AddressVanished(vip()),
                Step::Carrier(carrier) => Input::Carrier(vip(), carrier),
            };
            for output in keeper.step(ms(now), input) {
                match output {
                    Output::Do(operation) => {
                        if let Operation::Arm(_, token) | Operation::Install(_, token) | Operation::AddAddress(_, token) = &operation {
                            prop_assert!(*token > given_up, "acts under a released token");
                            touched.insert(*token, true);
                        }
                        if !matches!(operation, Operation::Remove(..)) {
                            prop_assert!(lease.is_some_and(|end| ms(now) + T.guard_life * 2 <= end));
                        }
                        pending.push_back(operation);
                    }
                    Output::ReportReleased { token, .. } => {
                        prop_assert!(!touched.get(&token).copied().unwrap_or(false), "released while in the kernel");
                        given_up = given_up.max(token);
                    }
                    Output::ReportActive { token, .. } => prop_assert!(token > given_up),
                    Output::ReportFailed { .. } | Output::ReportArmed { .. } | Output::ReportBegun { .. } | Output::Idle => {}
                }
            }
            prop_assert!(keeper.next_wake() > ms(now) || !pending.is_empty(), "would spin");
        }
    }
}
