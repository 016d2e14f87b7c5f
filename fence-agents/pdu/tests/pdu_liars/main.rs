//! Lying and failing PDUs: for each, `fence_haft_pdu` must give the right verdict and a readable reason.
//!
//! The PDU is `responder.rs`, a real UDP peer in this process that answers as its [`Lie`] says; the agent
//! is the real executable. A real SNMP agent of other makers is met in tests/agents. Nothing is timed; the
//! agent's own timeouts are set short so that the failing rows end soon. Every machine here has two supplies,
//! at outlets 3 and 7.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod responder;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use responder::{COMMUNITY, Lie, PASSWORD, Responder};

/// Runs the agent against a responder, parameters on stdin.
fn agent(responder: &Responder, lie: Lie, action: &str, more: &str) -> Output {
    let access = if lie.is_v3() {
        format!("snmp_version=3\nusername=fencer\nsnmp_auth_prot=SHA\npassword={PASSWORD}")
    } else {
        format!("snmp_version=2c\ncommunity={COMMUNITY}")
    };
    // Short only where it is waited for; deriving keys takes its time on a busy machine.
    let patience = match (lie.ends_in_silence(), lie.is_v3()) {
        (true, false) => 1,
        (true, true) => 5,
        (false, _) => 20,
    };
    let input = format!(
        "action={action}\nip=127.0.0.1\nipport={}\n{access}\nplug=3,7\n\
         timeout=50\nlogin_timeout={patience}\nshell_timeout={patience}\npower_timeout=0.5\n\
         retry_interval_ms=40\noff_read_interval_ms=10\n{more}\n",
        responder.port()
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_fence_haft_pdu"))
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
    /// How many off commands the PDU must have been given, at least and at most.
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
const STILL_ON: &str = "Timed out waiting to power OFF: outlet 3 is on, outlet 7 is on";

fn rows() -> Vec<Row> {
    [rows_of_v2c(), rows_of_v3()]
        .into_iter()
        .flatten()
        .collect()
}

fn rows_of_v2c() -> Vec<Row> {
    vec![
        succeeds(Lie::None, OFF, 2..=2),
        succeeds(Lie::AlreadyOff, "Success: Already OFF\n", 0..=0),
        succeeds(Lie::OffAfterReads(5), OFF, 2..=2),
        succeeds(Lie::AnswersOnlyRepetitions, OFF, 2..=9),
        succeeds(Lie::NoiseBeforeAnswers, OFF, 2..=2),
        succeeds(Lie::EveryAnswerTwice, OFF, 2..=2),
        succeeds(Lie::Slow, OFF, 2..=20),
        succeeds(Lie::ActsWithoutAnswer, OFF, 2..=40),
        fails(
            Lie::Silent,
            "unable to connect/login to fencing device: no answer to get",
            0..=0,
        ),
        fails(Lie::NeverActsNorAnswersOff, STILL_ON, 2..=40),
        fails(Lie::StaysOn, STILL_ON, 2..=2),
        fails(
            Lie::OneOutletStaysOn,
            "Timed out waiting to power OFF: outlet 3 is off, outlet 7 is on",
            2..=2,
        ),
        fails(Lie::Flaps, "Timed out waiting to power OFF", 2..=2),
        fails(Lie::SilentAfterOff, "no answer to get", 2..=2),
        fails(Lie::Garbage, "datagrams were dropped, the last one", 0..=0),
        fails(Lie::Truncated, "it is malformed", 0..=0),
        fails(Lie::WrongRequestId, "it has another request id", 0..=0),
        fails(Lie::ReplaysFirstAnswer, "it has another request id", 0..=0),
        fails(
            Lie::AnswersFromOtherPort,
            "a PDU is silent when it is unreachable",
            0..=0,
        ),
        fails(Lie::OtherCommunity, "it has another community", 0..=0),
        fails(Lie::OtherVersion, "it has another version", 0..=0),
        fails(Lie::TooSlow, "no answer to get", 0..=0),
        fails(Lie::OtherObject, "is about another object", 0..=0),
        fails(Lie::NoBindings, "is about another object", 0..=0),
        fails(
            Lie::TextForState,
            "outlet 3 reads the text '2', which is neither on nor off",
            2..=2,
        ),
        fails(
            Lie::NullForState,
            "outlet 3 reads nothing, which is neither on nor off",
            2..=2,
        ),
        fails(
            Lie::Pending,
            "outlet 3 is off, outlet 7 reads 3, which is neither on nor off",
            2..=2,
        ),
        fails(Lie::NoSuchInstance, "the PDU has no object", 0..=0),
        fails(Lie::ErrorForStatus(2), "the PDU has no object", 0..=0),
        fails(Lie::ErrorForStatus(5), "genErr", 0..=0),
        fails(Lie::ErrorForStatus(16), "authorizationError", 0..=0),
        fails(Lie::RefusesOff(17), "refused to set", 1..=1),
        fails(Lie::RefusesOff(16), "authorizationError", 1..=1),
    ]
}

fn rows_of_v3() -> Vec<Row> {
    vec![
        succeeds(Lie::V3, OFF, 2..=2),
        succeeds(Lie::V3Twice, OFF, 2..=2),
        succeeds(Lie::V3ClockJumps, OFF, 2..=2),
        fails(
            Lie::V3Report(1),
            "does not allow this user the security level",
            0..=0,
        ),
        fails(Lie::V3Report(2), "not in its time window", 0..=0),
        fails(Lie::V3Report(3), "does not know the user name", 0..=0),
        fails(Lie::V3Report(4), "reports a problem with SNMPv3", 0..=0),
        fails(Lie::V3Report(5), "wrong password or snmp_auth_prot", 0..=0),
        fails(Lie::V3Report(6), "cannot decrypt", 0..=0),
        fails(Lie::V3NeverInTime, "not in its time window", 0..=0),
        fails(Lie::V3Unprotected, "it is not protected as asked", 0..=0),
        fails(Lie::V3WrongDigest, "its digest is wrong", 0..=0),
        fails(Lie::V3OldBoots, "it is of the past", 0..=0),
    ]
}

#[test]
fn off_gets_the_right_verdict_and_reason_from_every_liar() {
    at_once(rows(), |row| {
        let responder = Responder::start(row.lie);
        let more = if row.exit == 0 {
            "power_timeout=20"
        } else {
            ""
        };
        let output = agent(&responder, row.lie, "off", more);
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
fn status_is_never_off_unless_the_pdu_says_so_of_every_outlet() {
    at_once(rows(), |row| {
        let responder = Responder::start(row.lie);
        let exit = agent(&responder, row.lie, "status", "").status.code();
        if row.lie == Lie::AlreadyOff {
            assert_eq!(exit, Some(2));
        } else {
            assert!(matches!(exit, Some(0 | 1)), "{:?}: {exit:?}", row.lie);
        }
        assert_eq!(responder.off_commands(), 0, "{:?}", row.lie);
    });
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
fn monitor_succeeds_with_a_machine_that_is_off_and_fails_with_a_pdu_that_is_gone() {
    for (lie, exit) in [(Lie::None, 0), (Lie::AlreadyOff, 0), (Lie::Silent, 1)] {
        let responder = Responder::start(lie);
        assert_eq!(
            agent(&responder, lie, "monitor", "").status.code(),
            Some(exit),
            "{lie:?}"
        );
    }
}

#[test]
fn reboot_is_off_proven_then_on_and_never_on_without_off() {
    let responder = Responder::start(Lie::None);
    let output = agent(&responder, Lie::None, "reboot", "power_timeout=20");
    assert_eq!(output.stdout, b"Success: Rebooted\n");
    assert_eq!((responder.off_commands(), responder.on_commands()), (2, 2));
    assert!(responder.is_on(3) && responder.is_on(7));

    let lie = Lie::OneOutletStaysOn;
    let responder = Responder::start(lie);
    let output = agent(&responder, lie, "reboot", "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(responder.on_commands(), 0);
}

#[test]
fn a_reboot_whose_on_fails_was_a_success_with_a_warning() {
    let responder = Responder::start(Lie::StaysOff);
    let output = agent(&responder, Lie::StaysOff, "reboot", "power_timeout=3");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"Success: Rebooted\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not powered on again"));
}

#[test]
fn on_fails_when_an_outlet_stays_off() {
    let responder = Responder::start(Lie::StaysOff);
    let off = agent(&responder, Lie::StaysOff, "off", "power_timeout=20");
    assert_eq!(off.status.code(), Some(0));
    let output = agent(&responder, Lie::StaysOff, "on", "retry_on=2");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("Timed out waiting to power ON: outlet 3 is off, outlet 7 is off"),
        "{stderr}"
    );
    assert_eq!(responder.on_commands(), 4);
}

#[test]
fn a_delay_longer_than_the_time_for_the_action_touches_nothing() {
    let responder = Responder::start(Lie::None);
    let output = agent(&responder, Lie::None, "off", "delay=60");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("timed out"));
    assert_eq!(responder.datagrams(), 0);
}

#[test]
fn without_an_action_or_an_outlet_nothing_is_sent() {
    for (action, more) in [
        ("", ""),
        (" off", ""),
        ("of", ""),
        ("off", "plug="),
        ("off", "plug=,"),
    ] {
        let responder = Responder::start(Lie::None);
        let output = agent(&responder, Lie::None, action, more);
        assert_eq!(output.status.code(), Some(1), "{action:?}");
        assert_eq!(responder.datagrams(), 0, "{action:?}");
    }
}
