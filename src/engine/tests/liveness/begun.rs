//! Rule R14, and the deadlines of `Granted` and `Releasing`: they open nothing by themselves.

use crate::world::{FAST, T0, World};
use haft_engine::apply::Outcome;
use haft_engine::command::{Command, Difficulty, RelinquishCause};
use haft_engine::ids::{NodeId, ResourceId, Token};
use haft_engine::leader::{Input, Report};
use haft_engine::spec::Isolation;
use haft_engine::state::{Ownership, Proof};
use std::time::Duration;

const OFTEN: Duration = Duration::from_secs(5);

fn begun(world: &World, id: &ResourceId, token: Token, node: NodeId) -> Command {
    Command::Begun {
        resource: id.clone(),
        token,
        incarnation: world.life(node),
    }
}

fn refused(world: &mut World, command: Command) -> String {
    match world.commit(vec![command]).pop() {
        Some(Outcome::Refused(refusal)) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

fn proof(world: &World, id: &ResourceId) -> Proof {
    let evidence = world.state.resources[id].evidence.as_ref();
    evidence.expect("it was opened").proof.clone()
}

fn covered(world: &mut World) {
    for place in 1..=3 {
        world.device(&format!("bmc{place}"), &format!("n{place}"));
    }
}

#[test]
fn a_grant_that_its_owner_never_acts_on_does_not_stand_for_ever() {
    for isolation in [Isolation::Lease, Isolation::Watchdog, Isolation::Stonith] {
        let mut world = World::new(3, 3);
        covered(&mut world);
        let second = world.ids[1];
        let vip = world.vip(0, isolation);
        world.grant(&vip, second);
        // It beats, and nothing reaches it.
        let mut leader = world.leader();
        world.stated.insert(second, Duration::ZERO);
        let patience = FAST.stop + FAST.ttl * 4 + FAST.election_max * 2;
        let all = world.run(&mut leader, T0, (patience + OFTEN, FAST.beat));
        assert!(!all.is_empty(), "{isolation:?}: nothing was done");
        let fenced = all
            .iter()
            .any(|command| matches!(command, Command::FenceIntent { .. }));
        assert!(!fenced, "{isolation:?}: {all:?}");
    }
}

#[test]
fn a_late_begin_is_refused_for_good_once_the_grant_is_withdrawn() {
    let mut world = World::new(3, 3);
    covered(&mut world);
    let second = world.ids[1];
    let vip = world.vip(0, Isolation::Stonith);
    let token = world.grant(&vip, second);
    let resource = vip.clone();
    world.ok(Command::Withdraw { resource, token });
    assert_eq!(proof(&world, &vip), Proof::NeverBegun);
    assert!(matches!(world.ownership(&vip), Ownership::Unowned));
    let late = begun(&world, &vip, token, second);
    assert_eq!(refused(&mut world, late.clone()), "OtherHolding");
    world.grant(&vip, second);
    assert_eq!(refused(&mut world, late), "OtherHolding");
}

#[test]
fn what_has_begun_is_never_withdrawn() {
    let mut world = World::new(3, 3);
    covered(&mut world);
    let second = world.ids[1];
    let vip = world.vip(0, Isolation::Stonith);
    let token = world.grant(&vip, second);
    let begins = begun(&world, &vip, token, second);
    world.ok(begins);
    let resource = vip.clone();
    let withdraw = Command::Withdraw { resource, token };
    assert_eq!(refused(&mut world, withdraw.clone()), "HasBegun");
    let resource = vip.clone();
    let cause = RelinquishCause::Drained;
    world.ok(Command::Relinquish {
        resource,
        token,
        cause,
    });
    assert_eq!(refused(&mut world, withdraw), "HasBegun");
}

#[test]
fn an_owner_that_has_been_asked_to_stop_begins_no_more() {
    let mut world = World::new(3, 3);
    covered(&mut world);
    let second = world.ids[1];
    let vip = world.vip(0, Isolation::Stonith);
    let token = world.grant(&vip, second);
    let resource = vip.clone();
    let cause = RelinquishCause::Moved;
    world.ok(Command::Relinquish {
        resource,
        token,
        cause,
    });
    let late = begun(&world, &vip, token, second);
    assert_eq!(refused(&mut world, late), "OtherHolding");
    let resource = vip.clone();
    world.ok(Command::Withdraw { resource, token });
    assert_eq!(proof(&world, &vip), Proof::NeverBegun);
}

#[test]
fn under_lease_nothing_is_withdrawn_its_end_is_the_proof() {
    let mut world = World::new(3, 3);
    let vip = world.vip(0, Isolation::Lease);
    let token = world.grant(&vip, world.ids[1]);
    let resource = vip.clone();
    let withdraw = Command::Withdraw { resource, token };
    assert_eq!(refused(&mut world, withdraw), "HasBegun");
}

#[test]
fn an_owner_that_says_that_it_acts_has_begun_whatever_else_was_said() {
    for stuck in [false, true] {
        let mut world = World::new(3, 3);
        covered(&mut world);
        let second = world.ids[1];
        let vip = world.vip(0, Isolation::Stonith);
        let token = world.grant(&vip, second);
        if stuck {
            let incarnation = world.life(second);
            world.ok(Command::Troubled {
                resource: vip.clone(),
                token,
                incarnation,
                difficulty: Difficulty::Stop,
                why: "device or resource busy".to_owned(),
            });
        } else {
            world.activate(&vip);
        }
        assert!(world.holding(&vip).expect("it is held").may_have_acted());
    }
}

#[test]
fn a_begin_is_reported_once_and_kept_until_the_log_has_it() {
    let mut world = World::new(3, 3);
    covered(&mut world);
    let second = world.ids[1];
    let vip = world.vip(0, Isolation::Stonith);
    let token = world.grant(&vip, second);
    let mut leader = world.leader();
    let report = Report::Begun(begun(&world, &vip, token, second));
    let outputs = world.step(&mut leader, T0, Input::Reported(Box::new(report.clone())));
    let all = world.settle(&mut leader, T0, outputs);
    let Report::Begun(command) = report.clone() else {
        unreachable!();
    };
    assert_eq!(all, [command]);
    let again = world.step(&mut leader, T0, Input::Reported(Box::new(report)));
    assert!(world.settle(&mut leader, T0, again).is_empty());
    assert!(world.holding(&vip).expect("it is held").may_have_acted());
}

#[test]
fn an_owner_that_beats_and_does_not_say_that_it_stopped_is_not_waited_for_all_day() {
    let mut world = World::new(3, 3);
    let second = world.ids[1];
    let vip = world.vip(0, Isolation::Lease);
    let token = world.grant(&vip, second);
    world.activate(&vip);
    let resource = vip.clone();
    let cause = RelinquishCause::Drained;
    world.ok(Command::Relinquish {
        resource,
        token,
        cause,
    });
    let mut leader = world.leader();
    let patience = FAST.stop * 4 + FAST.ttl * 2 + FAST.election_max * 2;
    world.run(&mut leader, T0, (patience, FAST.beat));
    assert!(matches!(world.ownership(&vip), Ownership::Releasing(..)));
    // Its beats go on, but once its session is closing nobody acknowledges them.
    world.seals = true;
    let from = T0 + patience;
    world.run(&mut leader, from, (Duration::from_secs(1), FAST.beat));
    assert!(matches!(proof(&world, &vip), Proof::LeaseExpired { .. }));
}
