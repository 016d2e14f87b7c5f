//! An owner that its machine suspends beyond the end of its lease. The clock of the gate counts what a machine sleeps.
//!
//! Only in a guest that somebody outside wakes and listens to (`haft-vm sleep`, which judges the silence); elsewhere
//! this suspends nothing, and says that it was not run. The guest's one wire is eth0.

use crate::fixture::BOTH;
use crate::gate::{FileSystem, Owner};
use crate::netns::{Namespace, eventually};
use haft_agent::kernel::clock::boot_now;
use haft_agent::kernel::gate::Footing;
use haft_engine::clock::Moment;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// What is left of the lease when the machine lies down; it sleeps for longer.
const LEFT: Duration = Duration::from_secs(3);
/// Frames from outside that are to come in while the gate is closed, or open.
const FRAMES: u64 = 100;

/// Past the harness.
fn say(text: &str) {
    let line = format!("\nlab: {text}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

fn received(owner: &Namespace) -> u64 {
    let text = owner.command("cat", "/proc/net/dev");
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("own0:"));
    let packets = line.and_then(|line| line.split_whitespace().nth(1));
    packets.unwrap().parse().unwrap()
}

/// Waits until this many more frames have come in.
fn await_frames(owner: &Namespace, what: &str) {
    let before = received(owner);
    eventually(what, || received(owner) >= before + FRAMES);
}

/// The guest's wire as `own0` of a namespace.
fn outside_wire() -> Namespace {
    let owner = Namespace::new();
    let moved = std::process::Command::new("ip")
        .args(["link", "set", "eth0", "netns", &owner.path()])
        .status();
    assert!(moved.unwrap().success(), "the guest has a wire eth0");
    for set in [
        "link set eth0 name own0",
        "addr add 10.9.0.1/24 dev own0",
        "addr add fd09::1/64 dev own0 nodad",
        "link set own0 up",
        "neigh replace 10.9.0.2 lladdr 02:00:00:00:09:02 dev own0 nud permanent",
        "neigh replace fd09::2 lladdr 02:00:00:00:09:02 dev own0 nud permanent",
    ] {
        owner.ip(set);
    }
    // The judge asks from many addresses, which are all one client.
    for slot in 0..128 {
        owner.ip(&format!(
            "neigh replace fd09::6a75:6467:6500:{slot:x} lladdr 02:00:00:00:09:02 dev own0 nud permanent"
        ));
    }
    owner
}

#[test]
fn an_owner_that_slept_beyond_its_lease_is_silent_until_it_is_told_a_new_end() {
    let Some(state) = std::env::var_os("HAFT_SUSPEND") else {
        let _unread = writeln!(
            std::io::stderr(),
            "not run, nobody would wake this machine; scripts/test-gate suspends a guest"
        );
        return;
    };
    let (wire, files) = (outside_wire(), FileSystem::new());
    let mut owner = Owner::standing(&wire, &files, "own0", Footing::of_this_kernel());
    owner.open();
    say("open");
    await_frames(&wire, "frames come in while it is open");
    let (booted, counted) = (boot_now(), Instant::now());
    let end = booted + LEFT;
    assert!(owner.gate.renew(&BOTH, end));
    std::fs::write("/sys/power/state", state.as_encoded_bytes()).unwrap();
    let slept = boot_now().since(booted);
    say(&format!(
        "slept: {} ms by the clock of the gate, {} ms by the one that stands still meanwhile",
        slept.as_millis(),
        counted.elapsed().as_millis()
    ));
    assert!(boot_now() > end, "it slept for less than its lease");
    await_frames(&wire, "frames come in while it is closed");
    say("reopening");
    await_frames(&wire, "what was said has left the machine");
    assert!(owner.gate.renew(&BOTH, Moment(u64::MAX)));
    await_frames(&wire, "frames come in while it is open again");
}
