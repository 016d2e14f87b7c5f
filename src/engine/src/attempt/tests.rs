//! Every way in which the devices of a level can answer, and every edit and change of hands meanwhile.

use super::{Attempt, Shortfall, Stale};
use crate::clock::Moment;
use crate::command::{FenceAction, FenceCause, HoldReason, NodeRole, Verdict};
use crate::ids::{
    BootId, DeviceName, Generation, Incarnation, LogIndex, NodeId, NodeName, OrderId,
};
use crate::leader::{FenceRun, StatusFirst};
use crate::spec::{Domains, FenceDeviceSpec, HostArgument, NodeSpec, Observes};
use crate::state::{ClusterState, Device, FenceOrder, Node, OrderPhase, Session};
use crate::witness::{Challenge, Heard, Speaker, Witness};
use std::collections::BTreeMap;
use std::time::Duration;

const OWN: NodeId = NodeId(1);
const TARGET: NodeId = NodeId(2);
const LIFE: Incarnation = Incarnation(20);
const ORDER: OrderId = OrderId(30);
const ATTEMPT: u32 = 3;
const BOOT: BootId = BootId([7; 16]);
const S: Duration = Duration::from_secs(1);

fn run(action: FenceAction, devices: &[&str]) -> FenceRun {
    FenceRun {
        order: ORDER,
        attempt: ATTEMPT,
        node: TARGET,
        incarnation: LIFE,
        boot: BOOT,
        action,
        devices: devices.iter().map(|name| DeviceName::from(*name)).collect(),
        delay: S,
        status: StatusFirst::No,
        deadline: Moment(0) + 60 * S,
    }
}

/// What is proved when the devices answer so, one after the other; the last ones may not be asked at all.
fn proved(
    action: FenceAction,
    answers: &[(Verdict, Option<Observes>)],
) -> (Result<Verdict, Shortfall>, usize) {
    let names = ["a", "b", "c"];
    let mut attempt = Attempt::new(run(action, &names[..answers.len()]));
    let mut asked = 0;
    while attempt.device().is_some() {
        let (verdict, observes) = answers[asked];
        attempt.found(verdict, observes);
        asked += 1;
    }
    if attempt.to_challenge() {
        attempt.challenged(Challenge(1));
    }
    (attempt.verdict(), asked)
}

#[test]
fn an_off_is_proved_by_all_devices_of_which_one_sees_the_machine() {
    use Observes::{Poison, Power, Storage};
    use Verdict::{Confirmed, Refused, Unknown};
    let off = |answers: &[_]| proved(FenceAction::Off, answers);
    let (power, ports) = ((Confirmed, Some(Power)), (Confirmed, Some(Storage)));
    assert_eq!(off(&[power]), (Ok(Confirmed), 1));
    assert_eq!(off(&[(Confirmed, Some(Poison))]), (Ok(Confirmed), 1));
    assert_eq!(off(&[power, power, power]), (Ok(Confirmed), 3));
    assert_eq!(off(&[ports, power]), (Ok(Confirmed), 2));
    assert_eq!(off(&[ports, ports]), (Err(Shortfall::MachineRuns), 2));
    assert_eq!(off(&[]), (Err(Shortfall::NoDevice), 0));
    // The first that does not confirm ends it: what it proves cannot become more.
    assert_eq!(off(&[(Refused, Some(Power)), power]), (Ok(Refused), 1));
    assert_eq!(off(&[power, (Unknown, None), power]), (Ok(Unknown), 2));
    assert_eq!(off(&[power, (Refused, Some(Storage))]), (Ok(Refused), 2));
}

#[test]
fn a_power_on_goes_through_all_devices_and_is_proved_by_all() {
    use Observes::{Power, Storage};
    use Verdict::{Confirmed, Refused, Unknown};
    let on = |answers: &[_]| proved(FenceAction::On, answers);
    let power = (Confirmed, Some(Power));
    assert_eq!(on(&[power, power]), (Ok(Confirmed), 2));
    assert_eq!(on(&[(Confirmed, Some(Storage))]), (Ok(Confirmed), 1));
    assert_eq!(on(&[(Refused, None), power]), (Ok(Refused), 2));
    assert_eq!(
        on(&[(Refused, None), (Unknown, None), power]),
        (Ok(Unknown), 3)
    );
    assert_eq!(on(&[]), (Err(Shortfall::NoDevice), 0));
}

#[test]
fn a_try_that_is_left_early_proves_nothing() {
    let mut attempt = Attempt::new(run(FenceAction::Off, &["a", "b"]));
    assert_eq!(attempt.verdict(), Err(Shortfall::NotAllCalled));
    attempt.found(Verdict::Confirmed, Some(Observes::Power));
    assert_eq!(attempt.verdict(), Err(Shortfall::NotAllCalled));
}

fn heard(challenge: u64, boot: BootId) -> Heard {
    Heard {
        challenge: Challenge(challenge),
        witness: Witness {
            by: NodeId(3),
            speaker: Speaker::Coordinator,
            boot,
        },
    }
}

#[test]
fn an_off_is_proved_only_after_the_machine_was_asked_itself() {
    let mut attempt = Attempt::new(run(FenceAction::Off, &["a", "b"]));
    attempt.found(Verdict::Confirmed, Some(Observes::Power));
    assert!(!attempt.to_challenge(), "the second supply may feed it yet");
    assert!(attempt.ends_with_this_device());
    attempt.found(Verdict::Confirmed, Some(Observes::Power));
    assert!(attempt.to_challenge());
    assert_eq!(attempt.verdict(), Err(Shortfall::NotChallenged));
    attempt.challenged(Challenge(7));
    assert_eq!(attempt.verdict(), Ok(Verdict::Confirmed));
    assert_eq!(attempt.lie(), None);
}

#[test]
fn what_answers_the_challenge_from_the_boot_that_is_to_have_ended_is_a_witness_and_nothing_else_is()
{
    let mut attempt = Attempt::new(run(FenceAction::Off, &["a", "b"]));
    // A datagram that waited in somebody's socket since before the off.
    attempt.heard(heard(7, BOOT));
    attempt.found(Verdict::Confirmed, Some(Observes::Power));
    attempt.found(Verdict::Confirmed, Some(Observes::Storage));
    attempt.challenged(Challenge(7));
    attempt.heard(heard(6, BOOT));
    // It came back on power: a reboot.
    attempt.heard(heard(7, BootId([8; 16])));
    assert_eq!(attempt.lie(), None);
    attempt.heard(heard(7, BOOT));
    let lie = attempt.lie().expect("it answered");
    assert_eq!(lie.witness.by, NodeId(3));
    // A closed port claims nothing that an answer contradicts.
    assert_eq!(lie.devices, [DeviceName::from("a")]);
}

#[test]
fn a_reading_that_did_not_last_is_no_claim() {
    let mut attempt = Attempt::new(run(FenceAction::Off, &["a"]));
    // Off, on again (it is no second off reading), off, off.
    attempt.challenged(Challenge(7));
    attempt.heard(heard(7, BOOT));
    attempt.challenged(Challenge(8));
    attempt.found(Verdict::Confirmed, Some(Observes::Power));
    assert_eq!(attempt.lie(), None);
}

#[test]
fn a_power_on_asks_no_machine() {
    let mut attempt = Attempt::new(run(FenceAction::On, &["a"]));
    attempt.found(Verdict::Confirmed, Some(Observes::Power));
    assert!(!attempt.to_challenge());
    assert_eq!(attempt.verdict(), Ok(Verdict::Confirmed));
}

/// Two devices with delays of 2 s and 4 s for a node whose try is under way.
fn state() -> ClusterState {
    let mut state = ClusterState::default();
    let node = Node {
        id: TARGET,
        name: NodeName::from("n2"),
        role: NodeRole::AgentOnly,
        host: String::new(),
        key_sha256: [0; 32],
        spec: NodeSpec::default(),
        generation: Generation(1),
        session: Session::Closing {
            incarnation: LIFE,
            closing: LogIndex(25),
        },
        terms: None,
        boot: BootId([7; 16]),
        boot_epoch: Default::default(),
        place: Default::default(),
        witnessed: None,
        fenced_at_ms: Vec::new(),
        quarantined: false,
        unfenced: Incarnation(0),
    };
    state.nodes.insert(TARGET, node);
    for (name, plug, delay) in [("a", "", 2), ("b", "outlet 7", 4)] {
        let spec = FenceDeviceSpec {
            agent: "fence_dummy".to_owned(),
            observes: Observes::Power,
            targets: BTreeMap::from([(NodeName::from("n2"), plug.to_owned())]),
            host_argument: HostArgument::Unsaid,
            parameters: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            deadline: 10 * S,
            delay: delay * S,
            level: 1,
            domains: Domains::default(),
        };
        let device = Device {
            spec,
            generation: Generation(1),
            probed: None,
            distrusted: None,
        };
        state.devices.insert(DeviceName::from(name), device);
    }
    let order = FenceOrder {
        id: ORDER,
        node: TARGET,
        incarnation: LIFE,
        action: FenceAction::Off,
        cause: FenceCause::Orphans,
        phase: running(ATTEMPT, OWN),
        attempts: ATTEMPT,
        detail: String::new(),
        since_unix_ms: 0,
        level: 1,
        superseded: Vec::new(),
    };
    state.orders.insert(ORDER, order);
    state
}

fn called(attempt: &Attempt, state: &ClusterState, own: NodeId) -> Result<(), Stale> {
    attempt.target(state, own).map(drop)
}

fn running(attempt: u32, executor: NodeId) -> OrderPhase {
    OrderPhase::Running {
        attempt,
        executor,
        level: 1,
        deadline: 20 * S,
    }
}

#[test]
fn the_level_waits_once_and_every_device_for_itself_but_only_before_an_off() {
    let state = state();
    let mut off = Attempt::new(run(FenceAction::Off, &["a", "b"]));
    assert_eq!(off.delay(&state), 3 * S);
    off.found(Verdict::Confirmed, Some(Observes::Power));
    assert_eq!(off.delay(&state), 4 * S);
    let on = Attempt::new(run(FenceAction::On, &["a", "b"]));
    assert_eq!(on.delay(&state), Duration::ZERO);
}

#[test]
fn a_device_is_called_for_the_machine_that_it_targets_now() {
    let mut state = state();
    let mut attempt = Attempt::new(run(FenceAction::Off, &["a", "b"]));
    let target = attempt.target(&state, OWN).unwrap();
    assert_eq!((target.node.as_str(), target.plug.as_str()), ("n2", "n2"));
    attempt.found(Verdict::Confirmed, Some(Observes::Power));
    let target = attempt.target(&state, OWN).unwrap();
    assert_eq!(
        (target.node.as_str(), target.plug.as_str()),
        ("n2", "outlet 7")
    );

    assert_eq!(attempt.stands(&state, OWN, &target), Ok(()));

    let b = state.devices.get_mut(&DeviceName::from("b")).unwrap();
    b.spec.parameters = BTreeMap::from([("ip".to_owned(), "192.0.2.9".to_owned())]);
    assert_eq!(attempt.stands(&state, OWN, &target), Err(Stale::Edited));
    let b = state.devices.get_mut(&DeviceName::from("b")).unwrap();
    b.spec.targets = BTreeMap::from([(NodeName::from("n1"), "outlet 7".to_owned())]);
    assert_eq!(attempt.target(&state, OWN), Err(Stale::NotItsTarget));
    let stands = attempt.stands(&state, OWN, &target);
    assert_eq!(stands, Err(Stale::NotItsTarget));
    state.devices.clear();
    assert_eq!(attempt.target(&state, OWN), Err(Stale::NoDevice));
    let mut state = self::state();
    state.nodes.clear();
    assert_eq!(attempt.target(&state, OWN), Err(Stale::NoNode));
}

#[test]
fn a_call_needs_the_order_to_ask_for_this_very_try_by_this_coordinator() {
    let mut state = state();
    let attempt = Attempt::new(run(FenceAction::Off, &["a"]));
    assert_eq!(called(&attempt, &state, OWN), Ok(()));
    assert_eq!(called(&attempt, &state, NodeId(3)), Err(Stale::NotThisTry));
    for phase in [
        running(ATTEMPT + 1, OWN),
        running(ATTEMPT, NodeId(3)),
        OrderPhase::Intended,
        OrderPhase::Held(HoldReason::Quorum),
        OrderPhase::Waiting {
            last: Verdict::Unknown,
            level: 1,
        },
        OrderPhase::Confirmed,
        OrderPhase::Cancelled("by a person".to_owned()),
    ] {
        state.orders.get_mut(&ORDER).unwrap().phase = phase.clone();
        let answer = called(&attempt, &state, OWN);
        assert_eq!(answer, Err(Stale::NotThisTry), "{phase:?}");
    }
    state.orders.clear();
    assert_eq!(called(&attempt, &state, OWN), Err(Stale::OrderGone));
}

#[test]
fn a_machine_that_lives_again_is_not_switched_off_for_its_last_life() {
    let mut state = state();
    let newer = Incarnation(LIFE.0 + 1);
    state.nodes.get_mut(&TARGET).unwrap().session = Session::Open { incarnation: newer };
    let off = Attempt::new(run(FenceAction::Off, &["a"]));
    assert_eq!(called(&off, &state, OWN), Err(Stale::LivesAgain(newer)));
    // To switch on what runs harms nobody.
    let on = Attempt::new(run(FenceAction::On, &["a"]));
    assert_eq!(called(&on, &state, OWN), Ok(()));
    state.nodes.get_mut(&TARGET).unwrap().session = Session::Open { incarnation: LIFE };
    assert_eq!(called(&off, &state, OWN), Ok(()));
}
