//! A leader that is deaf to one node and goes on leading.

use crate::world::{FAST, T0, World};
use haft_engine::command::Command;
use std::time::Duration;

#[test]
fn a_leader_that_is_deaf_to_one_node_does_not_fill_the_log_and_tells_it_once() {
    let mut world = World::new(3, 3);
    let mut leader = world.leader();
    let deaf = world.ids[2];
    // The others hear it all the time.
    world.silent.insert(deaf, Duration::from_secs(3_600));
    let told = world.state.events.len();
    let span = Duration::from_secs(300);
    let all = world.run(&mut leader, T0 + FAST.ttl, (span, FAST.beat));
    let closings = all
        .iter()
        .filter(|command| matches!(command, Command::Closing { .. }))
        .count();
    assert!(
        (60..=80).contains(&closings),
        "{closings} closings in 300 s"
    );
    let events: Vec<&str> = world
        .state
        .events
        .iter()
        .skip(told)
        .map(|event| event.reason.as_str())
        .collect();
    assert_eq!(events, ["SessionClosing", "SessionReopened"]);
    assert!(world.state.live_incarnation(deaf).is_some());
}

#[test]
fn a_series_that_goes_on_is_told_again_after_ten_minutes_by_the_stamps() {
    let mut world = World::new(3, 3);
    let mut leader = world.leader();
    let deaf = world.ids[2];
    world.silent.insert(deaf, Duration::from_secs(3_600));
    let told = world.state.events.len();
    let from = T0 + FAST.ttl;
    world.run(&mut leader, from, (Duration::from_secs(60), FAST.beat));
    world.stamp += 600_000;
    let from = from + Duration::from_secs(60);
    world.run(&mut leader, from, (Duration::from_secs(60), FAST.beat));
    assert_eq!(world.state.events.len() - told, 4);
}
