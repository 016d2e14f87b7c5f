//! What cannot go on ends, with a reason that a supervisor can act upon: panics in any thread, a
//! leader that decides nothing, a step that hangs. And what goes on is held up by nobody:
//! coordinators that never start.
//!
//! The faults are planted (`HAFT_PLANT`) in programs built for that alone.

use haft_tests::built::planted;
use haft_tests::coordinators::{Coordinators, succeeded};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

/// What an abort looks like to whoever started the process.
const SIGABRT: i32 = 6;

/// A cluster of one whose haftd has this fault.
fn begun_with(plant: &'static str) -> Coordinators {
    let mut cluster = Coordinators::prepare();
    cluster.init();
    cluster.plant = Some(plant);
    cluster.start("n1");
    cluster
}

#[test]
fn a_panic_in_any_thread_or_task_of_haftd_ends_it() {
    for (plant, place) in [
        ("panic-step", "step"),
        ("panic-beats", "beats"),
        ("panic-apply", "apply"),
    ] {
        let mut cluster = begun_with(plant);
        let status = cluster.ended_as("n1");
        let log = cluster.log_text("n1");
        assert_eq!(status.signal(), Some(SIGABRT), "{place}: {status:?}\n{log}");
        let said = format!("planted: a panic in {place}");
        assert!(
            log.contains("the process aborts") && log.contains(&said),
            "{log}"
        );
    }
}

#[test]
fn a_leader_whose_step_hangs_ends() {
    let mut cluster = begun_with("hang-step");
    let status = cluster.ended_as("n1");
    let log = cluster.log_text("n1");
    assert_eq!(status.signal(), Some(SIGABRT), "{status:?}\n{log}");
    assert!(log.contains("the leader task hangs"), "{log}");
}

#[test]
fn a_leader_that_may_not_act_ends_and_another_leads() {
    let mut cluster = Coordinators::prepare();
    cluster.init();
    // What a transfer leaves behind that its caller has given up: on n1 alone, for n2 hands over
    // as well, and whoever is elected in the end has to be able to lead.
    cluster.plant = Some("handover");
    cluster.start("n1");
    cluster.plant = None;
    cluster.grow();
    cluster.wait_for("three voters", |status| {
        status["voters"]
            .as_array()
            .is_some_and(|voters| voters.len() == 3)
    });
    succeeded(&cluster.ctl(&["cluster", "transfer", "n2"]));
    cluster.wait_for("n2 to lead", |status| status["leader"] == "n2");
    // n1 takes over for Raft, and never acts.
    let _its_answer_is_the_old_leaders = cluster.ctl(&["cluster", "transfer", "n1"]);
    let status = cluster.ended_as("n1");
    let log = cluster.log_text("n1");
    assert_eq!(status.code(), Some(1), "{status:?}\n{log}");
    assert!(
        log.contains("this node led and could not act upon it"),
        "{log}"
    );
    cluster.wait_for("another leader", |status| {
        let leader = status["leader"].as_str().unwrap_or_default();
        status["quorum"] == true && !leader.is_empty() && leader != "n1"
    });
}

#[test]
fn a_panic_in_any_thread_of_the_agent_ends_it() {
    // It ends before it touches the machine.
    let cluster = Coordinators::prepare();
    cluster.init();
    for place in ["log", "lease", "sockets"] {
        let ended = Command::new(planted("haft-agent", "haft-agent"))
            .arg("--config")
            .arg(cluster.config("n1"))
            .args(["--node", "n1"])
            .env("HAFT_PLANT", format!("panic-{place}"))
            .env("HAFT_LOG", "debug")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.signal(), Some(SIGABRT), "{place}: {said}");
        assert!(
            said.contains(&format!("planted: a panic in {place}")),
            "{said}"
        );
    }
}

#[test]
fn a_coordinator_that_never_starts_keeps_nobody_from_voting_and_leaves_nothing_behind() {
    let mut cluster = Coordinators::prepare();
    cluster.init();
    cluster.found();
    let token = cluster.token("n2");
    cluster.join("n2", &token);
    let token = cluster.token("n3");
    cluster.join("n3", &token);
    cluster.start("n3");
    let names = |status: &serde_json::Value, key: &str| -> Vec<String> {
        let list = status[key].as_array().cloned().unwrap_or_default();
        list.iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    cluster.wait_for("n3 to vote", |status| {
        names(status, "voters") == ["n1", "n3"]
    });
    let status = cluster.wait_for("n2 to wait", |status| !names(status, "learners").is_empty());
    assert_eq!(names(&status, "learners"), ["n2"]);
    succeeded(&cluster.ctl(&["delete", "node/n2"]));
    cluster.wait_for("the learner to be gone", |status| {
        names(status, "learners").is_empty()
    });
}
