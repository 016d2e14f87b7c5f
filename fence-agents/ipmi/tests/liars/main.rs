//! Lying and failing BMCs: for each, `fence_haft_ipmi` must give the right verdict and a readable reason.
//!
//! The BMC is `responder.rs`, a real UDP peer in this process that answers as its [`Lie`] says; the agent
//! is the real executable. A real BMC simulator of other makers is met in tests/agents. Nothing is timed;
//! the agent's own timeouts are set short so that the failing rows end soon.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod responder;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use responder::{Lie, Responder};

const PASSWORD: &str = "canary-9";

/// Runs the agent against a responder, parameters on stdin.
fn agent(responder: &Responder, action: &str, more: &str) -> Output {
    let input = format!(
        "action={action}\nip=127.0.0.1\nipport={}\nusername=admin\npassword={PASSWORD}\n\
         timeout=20\nlogin_timeout=4\nshell_timeout=2\npower_timeout=0.5\nretry_interval_ms=40\n\
         off_read_interval_ms=10\n{more}\n",
        responder.port()
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_fence_haft_ipmi"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let (tell, hear) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    hear.recv_timeout(Duration::from_secs(60))
        .expect("the agent ends by itself")
        .unwrap()
}

struct Row {
    lie: Lie,
    exit: i32,
    stdout: &'static str,
    stderr: &'static str,
    /// How many off commands the BMC must have been given, at least and at most.
    offs: std::ops::RangeInclusive<u32>,
}

const fn fails(lie: Lie, stderr: &'static str, offs: std::ops::RangeInclusive<u32>) -> Row {
    Row {
        lie,
        exit: 1,
        stdout: "",
        stderr,
        offs,
    }
}

const fn succeeds(lie: Lie, stdout: &'static str, offs: std::ops::RangeInclusive<u32>) -> Row {
    Row {
        lie,
        exit: 0,
        stdout,
        stderr: "",
        offs,
    }
}

const OFF: &str = "Success: Powered OFF\n";

fn rows() -> Vec<Row> {
    vec![
        succeeds(Lie::None, OFF, 1..=1),
        succeeds(Lie::AlreadyOff, "Success: Already OFF\n", 0..=0),
        succeeds(Lie::OffAfterReads(5), OFF, 1..=1),
        succeeds(Lie::AnswersOnlyRepetitions, OFF, 1..=2),
        succeeds(Lie::NoiseBeforeAnswers, OFF, 1..=1),
        succeeds(Lie::EveryAnswerTwice, OFF, 1..=1),
        succeeds(Lie::BusyAtFirst(2), OFF, 1..=1),
        succeeds(Lie::ForgetsSessionAfterOff, OFF, 1..=1),
        succeeds(Lie::ActsWithoutAnswer, OFF, 1..=9),
        succeeds(Lie::LosesEvery(5), OFF, 1..=9),
        succeeds(Lie::LosesEvery(3), OFF, 1..=9),
        succeeds(Lie::LosesEvery(7), OFF, 1..=9),
        succeeds(Lie::RestoresAlwaysStubbornly, OFF, 1..=1),
        fails(Lie::Silent, "no answer to", 0..=0),
        fails(
            Lie::NeverActsNorAnswersOff,
            "Timed out waiting to power OFF",
            1..=9,
        ),
        fails(Lie::StaysOn, "Timed out waiting to power OFF", 1..=1),
        fails(Lie::Flaps, "Timed out waiting to power OFF", 1..=1),
        fails(Lie::SilentAfterOff, "no answer to", 1..=9),
        fails(Lie::Garbage, "no answer to", 0..=0),
        fails(Lie::Truncated, "no answer to", 0..=0),
        fails(
            Lie::WrongMessageSequence,
            "no answer to set session privilege",
            0..=0,
        ),
        fails(Lie::ReplaysFirstStatus, "no answer to chassis", 0..=0),
        fails(
            Lie::Unprotected,
            "no answer to set session privilege",
            0..=0,
        ),
        fails(Lie::WrongCode, "no answer to set session privilege", 0..=0),
        fails(Lie::OtherPassword, "wrong password", 0..=0),
        fails(Lie::UnknownUser, "unauthorized name", 0..=0),
        fails(Lie::OtherBmcKey, "wrong BMC key", 0..=0),
        fails(Lie::Downgrades, "other algorithms", 0..=0),
        fails(Lie::OnlyIpmi15, "does not offer IPMI 2.0", 0..=0),
        fails(
            Lie::RefusesPrivilege,
            "not allowed the privilege level 'administrator'",
            0..=0,
        ),
        fails(
            Lie::RefusesOff,
            "does not suffice for chassis power off",
            1..=1,
        ),
        fails(Lie::ErrorForStatus, "completion code 0xff", 0..=0),
        fails(Lie::ShortStatus, "too short to hold a power state", 0..=0),
        fails(Lie::OneAnswerLate, "unable to connect/login", 0..=0),
        fails(Lie::OutOfSessions, "insufficient resources", 0..=0),
    ]
}

#[test]
fn off_gets_the_right_verdict_and_reason_from_every_liar() {
    at_once(rows(), |row| {
        let responder = Responder::start(row.lie, PASSWORD);
        let output = agent(&responder, "off", "");
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let seen = format!("{:?}: {:?}\n{stdout}{stderr}", row.lie, output.status);
        assert_eq!(output.status.code(), Some(row.exit), "{seen}");
        assert_eq!(stdout, row.stdout, "{seen}");
        assert!(stderr.contains(row.stderr), "{seen}");
        assert!(row.offs.contains(&responder.off_commands()), "{seen}");
        assert!(!seen.contains("canary"), "{seen}");
    });
}

#[test]
fn status_is_never_off_unless_the_bmc_says_so() {
    // The recording's first play is genuine: one read of off is what status reports.
    let lies = rows()
        .into_iter()
        .filter(|row| row.exit == 1 && row.lie != Lie::ReplaysFirstStatus);
    at_once(lies.collect(), |row| {
        let responder = Responder::start(row.lie, PASSWORD);
        let output = agent(&responder, "status", "");
        assert_ne!(output.status.code(), Some(2), "{:?}", row.lie);
    });
    let responder = Responder::start(Lie::AlreadyOff, PASSWORD);
    assert_eq!(agent(&responder, "status", "").status.code(), Some(2));
}

/// Rows mostly wait for timeouts of the agent, so they wait together.
fn at_once(rows: Vec<Row>, check: impl Fn(Row) + Sync) {
    std::thread::scope(|scope| {
        for row in rows {
            scope.spawn(|| check(row));
        }
    });
}

#[test]
fn monitor_succeeds_with_a_machine_that_is_off_and_fails_with_a_bmc_that_is_gone() {
    for (lie, exit) in [(Lie::None, 0), (Lie::AlreadyOff, 0), (Lie::Silent, 1)] {
        let responder = Responder::start(lie, PASSWORD);
        assert_eq!(
            agent(&responder, "monitor", "").status.code(),
            Some(exit),
            "{lie:?}"
        );
    }
}

#[test]
fn reboot_is_off_proven_then_on_and_never_on_without_off() {
    let responder = Responder::start(Lie::None, PASSWORD);
    let output = agent(&responder, "reboot", "");
    assert_eq!(output.stdout, b"Success: Rebooted\n");
    assert_eq!((responder.off_commands(), responder.on_commands()), (1, 1));
    assert!(responder.is_on());

    let responder = Responder::start(Lie::StaysOn, PASSWORD);
    let output = agent(&responder, "reboot", "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(responder.on_commands(), 0);
}

#[test]
fn a_reboot_whose_on_fails_was_a_success_with_a_warning() {
    let responder = Responder::start(Lie::StaysOff, PASSWORD);
    let output = agent(&responder, "reboot", "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"Success: Rebooted\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not powered on again"));
}

#[test]
fn on_fails_when_the_machine_stays_off() {
    let responder = Responder::start(Lie::StaysOff, PASSWORD);
    assert_eq!(agent(&responder, "off", "").status.code(), Some(0));
    let output = agent(&responder, "on", "retry_on=2");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Timed out waiting to power ON"));
    assert_eq!(responder.on_commands(), 2);
}

#[test]
fn suite_17_works_against_our_own_responder() {
    let responder = Responder::start(Lie::None, PASSWORD);
    let output = agent(&responder, "off", "cipher=17");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!responder.is_on());
}

#[test]
fn the_session_is_closed_at_the_end() {
    for action in ["off", "status", "monitor"] {
        let responder = Responder::start(Lie::None, PASSWORD);
        agent(&responder, action, "");
        assert_eq!(responder.closed_sessions(), 1, "{action}");
    }
}

#[test]
fn the_session_is_closed_after_a_failure_too() {
    for lie in [
        Lie::StaysOn,
        Lie::RefusesOff,
        Lie::ErrorForStatus,
        Lie::ShortStatus,
        Lie::RefusesPrivilege,
        Lie::WrongMessageSequence,
        Lie::SilentAfterOff,
    ] {
        let responder = Responder::start(lie, PASSWORD);
        let output = agent(&responder, "off", "");
        assert_eq!(output.status.code(), Some(1), "{lie:?}");
        assert!(responder.closed_sessions() >= 1, "{lie:?}");
    }
}

#[test]
fn a_policy_that_starts_the_machine_by_itself_is_warned_about_and_set_when_told() {
    let said = |responder: &Responder, action: &str, more: &str| {
        let output = agent(responder, action, more);
        assert_eq!(output.status.code(), Some(0), "{action} {more}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let responder = Responder::start(Lie::RestoresAlways, PASSWORD);
    assert!(said(&responder, "monitor", "").contains("policy is always-on"));
    assert_eq!(said(&responder, "off", ""), "");
    assert_eq!(responder.restore(), 2, "keep changes nothing");
    for (action, policy, bits) in [
        ("monitor", "previous", 1),
        ("off", "always-off", 0),
        ("monitor", "always-on", 2),
    ] {
        let told = said(&responder, action, &format!("power_restore={policy}"));
        assert_eq!((told.as_str(), responder.restore()), ("", bits), "{policy}");
    }
    let stubborn = Responder::start(Lie::RestoresAlwaysStubbornly, PASSWORD);
    let told = said(&stubborn, "off", "power_restore=previous");
    assert!(
        told.contains("was not set to previous") && told.contains("0xc1"),
        "{told}"
    );
    assert!(!stubborn.is_on(), "the verdict is another matter");
}

#[test]
fn a_bmc_with_an_ipv6_address_is_reached_with_and_without_brackets() {
    let responder = Responder::start_on("::1", Lie::None, PASSWORD);
    for address in ["::1", "[::1]", "0:0:0:0:0:0:0:1"] {
        let output = agent(&responder, "status", &format!("ip={address}"));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{address}: {stderr}");
    }
}

#[test]
fn a_delay_longer_than_the_time_for_the_action_touches_nothing() {
    let responder = Responder::start(Lie::None, PASSWORD);
    let output = agent(&responder, "off", "delay=30");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("timed out"));
    assert_eq!(responder.off_commands(), 0);
}

#[test]
fn without_an_action_nothing_is_sent() {
    for action in ["", " off", "of"] {
        let responder = Responder::start(Lie::None, PASSWORD);
        let output = agent(&responder, action, "");
        assert_eq!(output.status.code(), Some(1), "{action:?}");
        assert_eq!(responder.datagrams(), 0, "{action:?}");
    }
}
