//! What the lease thread tells the stream's task of its gate, so that a leader grants nothing that would come back.

use crate::gate::FileSystem;
use crate::lease::{World, beside_a_gated_lease};
use crate::netns::{Wire, eventually};
use haft_agent::hindrances::Hindrances;
use haft_agent::order::Notice;
use haft_engine::command::Probe;

fn await_told(world: &mut World, what: &str, enough: impl Fn(&Hindrances) -> bool) {
    eventually(
        what,
        || matches!(world.notices.try_recv(), Ok(Notice::Hindered(told)) if enough(&told)),
    );
}

#[test]
fn an_interface_that_shapes_is_told_before_anybody_asks_and_again_when_it_does_not() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let tc = |words: &str| wire.owner.command("tc", words);
    tc("qdisc add dev own0 root tbf rate 1mbit burst 10k latency 50ms");
    let home = wire.owner.run(|| files.home());
    beside_a_gated_lease(&wire, home, |world, _| {
        let shaped = |told: &Hindrances| {
            let why = told.links.get("own0");
            why.is_some_and(|why| why.contains("its queue (tbf)"))
        };
        let mut first = None;
        eventually("its first word", || {
            first = world.notices.try_recv().ok();
            first.is_some()
        });
        assert!(
            matches!(&first, Some(Notice::Hindered(told)) if shaped(told)),
            "{first:?}"
        );
        tc("qdisc del dev own0 root");
        await_told(world, "it carries addresses", |told| {
            !told.links.contains_key("own0")
        });
        tc("qdisc add dev own0 root tbf rate 1mbit burst 10k latency 50ms");
        await_told(world, "it shapes again", shaped);
        wire.owner.ip(
            "xfrm policy add src 10.9.0.0/24 dst 0.0.0.0/0 dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel",
        );
        await_told(world, "a tunnel", |told| {
            told.tunnels.iter().any(|one| one.bits == 24)
        });
    });
}

/// What is told goes by the name, what carries by the number: neither changes with the other.
#[test]
fn an_interface_that_shapes_from_the_start_is_told_and_again_under_its_next_name() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let home = wire.owner.run(|| files.home());
    beside_a_gated_lease(&wire, home, |world, _| {
        world.await_notice("the machine is clean", &Notice::Idle(Probe::Clean));
        let shaped = |name: &'static str, not: &'static str| {
            move |told: &Hindrances| told.links.contains_key(name) && !told.links.contains_key(not)
        };
        // With its queue before it is up: no program ever stood on it that could be missed.
        wire.owner.ip("link add late0 type veth peer name late1");
        wire.owner.command(
            "tc",
            "qdisc add dev late0 root tbf rate 1mbit burst 10k latency 50ms",
        );
        await_told(world, "it shapes", shaped("late0", "later0"));
        wire.owner.ip("link set late0 name later0");
        await_told(world, "under its new name", shaped("later0", "late0"));
    });
}

#[test]
fn a_gate_that_stays_broken_is_told() {
    let (wire, files) = (Wire::new(), FileSystem::new());
    let home = wire.owner.run(|| files.home());
    beside_a_gated_lease(&wire, home, |world, _| {
        eventually("it is ready", || {
            matches!(world.notices.try_recv(), Ok(Notice::Idle(_)))
        });
        // Its maps can be pinned nowhere any more.
        drop(files);
        await_told(world, "it cannot be attested", |told| told.broken.is_some());
    });
}
