//! An agent in a time namespace (time_namespaces(7)) that shifts the clock by which it counts its lease. The kernel's
//! clock in the gate knows no such namespace: an end told by the other clock would be late, or early, by the shift.
//!
//! A process gets into such a namespace by being started in it, so the test starts itself anew.

use crate::gate::FileSystem;
use crate::netns::Namespace;
use haft_agent::kernel::gate::{Footing, Gate, NoGate};
use std::process::Command;

/// What the test finds out when it is started anew, and what it is to say.
const INSIDE: &str = "HAFT_TIME_NAMESPACE";
const NAME: &str =
    "gate_clock::an_agent_that_reads_another_clock_than_the_gate_does_without_it_and_says_why";

fn opens() -> String {
    let (namespace, files) = (Namespace::new(), FileSystem::new());
    let opened = namespace.run(|| Gate::open_on(files.home(), Footing::of_this_kernel()));
    match opened {
        Ok(_) => "opened".to_owned(),
        Err(NoGate::OtherClock) => format!("refused: {}", NoGate::OtherClock),
        Err(other) => panic!("{other}"),
    }
}

/// What the same test finds with the clock shifted by this many seconds.
fn found_with(shift: &str) -> String {
    let inside = Command::new("unshare")
        .args(["--time", "--boottime", shift, "--fork"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout).into_owned();
    assert!(
        inside.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&inside.stderr)
    );
    let found = said.split_once("found: ").map(|(_, rest)| rest);
    found
        .and_then(|rest| rest.lines().next())
        .unwrap()
        .to_owned()
}

#[test]
fn an_agent_that_reads_another_clock_than_the_gate_does_without_it_and_says_why() {
    if std::env::var_os(INSIDE).is_some() {
        println!("\nfound: {}", opens());
        return;
    }
    for shift in ["3600", "-1", "1"] {
        let found = found_with(shift);
        assert!(
            found.starts_with("refused: ") && found.contains("time namespace"),
            "{shift} s: {found}"
        );
    }
    // It is the shift, and no namespace by itself.
    assert_eq!(found_with("0"), "opened");
}
