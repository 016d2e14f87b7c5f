//! Entries: bounded in size, and matched with their answers by number.

use crate::world::{FAST, MS, T0, World, commands, proposals};
use haft_engine::command::{Command, Difficulty, Entry, RelinquishCause};
use haft_engine::ids::{LogIndex, NodeName, RequestId, ResourceId};
use haft_engine::leader::{EntryLimit, Fate, Input, Leader, Proposal, Report};
use haft_engine::spec::Isolation;
use haft_engine::text::WHY_MAX;
use std::time::Duration;

fn roughly(command: &Command) -> usize {
    let text = match command {
        Command::Troubled { why, .. } => why.len(),
        _ => 0,
    };
    100 + text
}

fn size(entry: &Entry) -> usize {
    entry.commands.iter().map(roughly).sum()
}

fn trouble(world: &World, id: &ResourceId, why: String) -> Input {
    let holding = world.holding(id).expect("it is held");
    Input::Reported(Box::new(Report::Troubled(Command::Troubled {
        resource: id.clone(),
        token: holding.token,
        incarnation: holding.incarnation,
        difficulty: Difficulty::Start,
        why,
    })))
}

fn closes(proposal: &Proposal) -> bool {
    let mut commands = proposal.entry.commands.iter();
    commands.any(|command| matches!(command, Command::Closing { .. }))
}

#[test]
fn somebody_elses_entry_is_not_taken_for_ours() {
    let mut world = World::new(3, 3);
    let mut leader = world.leader();
    world.vip(0, Isolation::Lease);
    let now = T0 + Duration::from_secs(3);
    let outputs = world.step(&mut leader, now, Input::Tick);
    let first = proposals(&outputs);
    assert!(matches!(
        first[0].entry.commands[..],
        [Command::Grant { .. }]
    ));
    // An administrator's entry with as many commands is applied first.
    world.ok(Command::MintJoinToken {
        sha256: [7; 32],
        node: NodeName("n9".into()),
        expires_unix_ms: u64::MAX,
        request: RequestId([1; 16]),
    });
    let index = LogIndex(world.index);
    let again = commands(&world.step(&mut leader, now + MS, Input::Applied { index }));
    assert!(again.is_empty(), "proposed again in flight: {again:?}");
    world.settle(&mut leader, now + MS * 2, outputs);
    let after = commands(&world.step(&mut leader, now + MS * 3, Input::Tick));
    assert!(after.is_empty(), "{after:?}");
}

#[test]
fn an_answer_to_one_proposal_says_nothing_of_another() {
    let mut world = World::new(3, 3);
    let mut leader = world.leader();
    world.vip(0, Isolation::Lease);
    let now = T0 + Duration::from_secs(3);
    let first = proposals(&world.step(&mut leader, now, Input::Tick)).remove(0);
    world.vip(1, Isolation::Lease);
    let second = proposals(&world.step(&mut leader, now, Input::Tick)).remove(0);
    assert_eq!(second.entry.commands.len(), 1, "{second:?}");
    // The first is lost; the second is still on its way.
    let (number, fate) = (first.number, Fate::Unknown);
    world.step(&mut leader, now, Input::Proposed { number, fate });
    let again = commands(&world.step(&mut leader, now + FAST.beat, Input::Tick));
    assert_eq!(again, first.entry.commands);
}

#[test]
fn a_megabyte_of_trouble_neither_grows_the_log_nor_holds_up_a_closing() {
    let mut world = World::new(3, 3);
    let vip = world.vip(0, Isolation::Lease);
    world.grant(&vip, world.ids[1]);
    let mut leader = world.leader();
    leader.set_entry_limit(EntryLimit {
        bytes: 2_000,
        measure: roughly,
    });
    let now = T0 + Duration::from_secs(10);
    let megabyte = "x".repeat(1 << 20);
    world.silent.insert(world.ids[2], Duration::from_secs(1));
    let report = trouble(&world, &vip, megabyte);
    let outputs = world.step(&mut leader, now, report);
    let proposed = proposals(&outputs);
    assert!(closes(&proposed[0]), "{proposed:?}");
    assert!(proposed.iter().all(|one| size(&one.entry) <= 2_000));
    world.settle(&mut leader, now, outputs);
    let kept = world.state.resources[&vip].trouble.as_ref();
    let why = &kept.expect("it is shown").why;
    assert!(why.len() <= WHY_MAX && why.ends_with(" [cut: 1048576 bytes]"));
    let again = commands(&world.step(&mut leader, now + MS, Input::Tick));
    assert!(again.is_empty(), "said once: {again:?}");
}

#[test]
fn what_does_not_fit_one_entry_goes_on_in_the_next() {
    let mut world = World::new(3, 3);
    for n in 0..50 {
        world.vip(n, Isolation::Lease);
    }
    let mut leader = world.leader();
    leader.set_entry_limit(EntryLimit {
        bytes: 1_000,
        measure: roughly,
    });
    let now = T0 + Duration::from_secs(3);
    let outputs = world.step(&mut leader, now, Input::Tick);
    let proposed = proposals(&outputs);
    assert_eq!(proposed.len(), 5);
    assert!(proposed.iter().all(|one| size(&one.entry) <= 1_000));
    let numbers = proposed.windows(2).all(|two| two[0].number < two[1].number);
    assert!(numbers, "in the order in which they are to be proposed");
    world.settle(&mut leader, now, outputs);
    assert!(
        world
            .state
            .resources
            .values()
            .all(|row| row.ownership.holding().is_some())
    );
}

#[test]
fn what_finds_no_room_waits_and_is_not_lost() {
    let mut world = World::new(3, 3);
    let ids: Vec<ResourceId> = (0..90).map(|n| world.vip(n, Isolation::Lease)).collect();
    for id in &ids {
        world.grant(id, world.ids[1]);
    }
    let mut leader = world.leader();
    leader.set_entry_limit(EntryLimit {
        bytes: 100 + WHY_MAX,
        measure: roughly,
    });
    let now = T0 + Duration::from_secs(10);
    // Paused: nothing is proposed while they come in.
    let number = Default::default();
    let fate = Fate::Unknown;
    world.step(&mut leader, now, Input::Proposed { number, fate });
    for id in &ids {
        let report = trouble(&world, id, "y".repeat(9_000));
        assert!(world.step(&mut leader, now, report).is_empty());
    }
    let later = now + FAST.beat;
    let outputs = world.step(&mut leader, later, Input::Tick);
    assert_eq!(proposals(&outputs).len(), 32, "as many as may be in flight");
    world.settle(&mut leader, later, outputs);
    let told = |id: &&ResourceId| world.state.resources[*id].trouble.is_some();
    assert_eq!(ids.iter().filter(told).count(), ids.len());
}

/// Whether the log refuses an entry of this size, which the machine has not been told.
fn refuses(proposal: &Proposal) -> bool {
    size(&proposal.entry) > 40_000
}

fn drive(world: &mut World, leader: &mut Leader, now: haft_engine::clock::Moment) -> usize {
    let mut refused = 0;
    let mut open = proposals(&world.step(leader, now, Input::Tick));
    while !open.is_empty() {
        let one = open.remove(0);
        let number = one.number;
        let fate = if refuses(&one) {
            refused += 1;
            Fate::TooLarge
        } else {
            world.commit(one.entry.commands);
            Fate::Committed(LogIndex(world.index))
        };
        open.extend(proposals(&world.step(
            leader,
            now,
            Input::Proposed { number, fate },
        )));
    }
    refused
}

#[test]
fn an_entry_that_the_log_calls_too_large_is_planned_smaller_and_stops_nothing() {
    let mut world = World::new(3, 3);
    let ids: Vec<ResourceId> = (0..200).map(|n| world.vip(n, Isolation::Lease)).collect();
    for id in &ids {
        world.grant(id, world.ids[1]);
    }
    for id in &ids {
        let token = world.holding(id).expect("it is held").token;
        let cause = RelinquishCause::Drained;
        let resource = id.clone();
        let asked = Command::Relinquish {
            resource,
            token,
            cause,
        };
        world.ok(asked);
    }
    let mut leader = world.leader();
    let bytes = 1 << 20;
    leader.set_entry_limit(EntryLimit {
        bytes,
        measure: roughly,
    });
    let now = T0 + Duration::from_secs(10);
    let number = Default::default();
    let fate = Fate::Unknown;
    world.step(&mut leader, now, Input::Proposed { number, fate });
    for id in &ids {
        let report = trouble(&world, id, "z".repeat(9_000));
        world.step(&mut leader, now, report);
    }
    world.silent.insert(world.ids[2], Duration::from_secs(1));
    let refused = drive(&mut world, &mut leader, now + FAST.beat);
    assert_eq!(refused, 3, "122,500 bytes, and then its two halves");
    assert!(
        ids.iter()
            .all(|id| world.state.resources[id].trouble.is_some())
    );
    let closing = world.state.nodes[&world.ids[2]].session;
    assert!(matches!(
        closing,
        haft_engine::state::Session::Closing { .. }
    ));
}

#[test]
fn an_answer_to_what_an_earlier_leader_proposed_is_not_taken_for_ours() {
    let mut world = World::new(3, 3);
    world.vip(0, Isolation::Lease);
    let now = T0 + Duration::from_secs(3);
    let mut earlier = world.leader();
    let old = proposals(&world.step(&mut earlier, now, Input::Tick)).remove(0);
    let later = now + Duration::from_secs(3);
    let mut leader = Leader::new(world.ids[0], FAST, later, &world.state);
    let ours = proposals(&world.step(&mut leader, later + FAST.ttl * 4, Input::Tick)).remove(0);
    assert_ne!(old.number, ours.number);
    let number = old.number;
    let fate = Fate::Committed(LogIndex(world.index));
    let answered = Input::Proposed { number, fate };
    let again = commands(&world.step(&mut leader, later + FAST.ttl * 4, answered));
    assert!(again.is_empty(), "{again:?}");
}
