//! Real coordinators as users start them: init, join, reads and writes, crashes, and data directories that
//! are not theirs. On loopback, without agents and namespaces; `unfencing`, `addresses` and `timing` have one of each.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod addresses;
mod calls;
mod canary;
mod devices;
mod hostile;
mod never_stuck;
mod premises;
mod timing;
mod unfencing;

use haft_tests::coordinators::{Coordinators, succeeded};
use std::fs;
use std::path::Path;
use std::process::Command;

const VIP: &str = "apiVersion: haft/v1\nkind: VirtualIP\nmetadata: { name: web }\nspec: { address: 10.9.9.9, interface: eth0 }\n";

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn three_coordinators_form_a_cluster_and_survive_their_leader() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    let manifest = cluster.folder.path().join("vip.yaml");
    fs::write(&manifest, VIP).unwrap();
    succeeded(&cluster.ctl(&["apply", "-f", manifest.to_str().unwrap()]));
    let status = cluster.wait_for("three voters", |status| {
        status["voters"]
            .as_array()
            .is_some_and(|voters| voters.len() == 3)
            && status["quorum"] == true
    });
    let leader = status["leader"].as_str().unwrap().to_owned();
    cluster.kill(&leader);
    cluster.wait_for("another leader", |status| {
        status["quorum"] == true
            && status["leader"]
                .as_str()
                .is_some_and(|name| !name.is_empty() && name != leader)
    });
    let vip = cluster.json(&["get", "vip/web"]).unwrap();
    assert_eq!(vip["spec"]["address"], "10.9.9.9");
    cluster.start(&leader);
    let node = format!("node/{leader}");
    let found = cluster.json(&["get", &node]).unwrap();
    assert_eq!(found["status"]["voter"], true);
}

#[test]
fn a_join_token_admits_once_and_only_the_node_it_names() {
    let mut cluster = Coordinators::prepare();
    let config = cluster.config("n1");
    succeeded(&cluster.ctl(&[
        "cluster",
        "init",
        "--config",
        config.to_str().unwrap(),
        "--node",
        "n1",
    ]));
    cluster.start("n1");
    let token = cluster.token("n2");
    let other = cluster.try_join("n3", &token);
    assert!(!other.status.success(), "n3 joined with n2's token");
    cluster.join("n2", &token);
    fs::remove_dir_all(cluster.data("n2")).unwrap();
    let again = cluster.try_join("n2", &token);
    assert!(!again.status.success(), "a spent token admitted again");
    assert!(stderr(&again).contains("fix:"), "{}", stderr(&again));
}

#[test]
fn a_second_init_is_refused_with_what_to_do() {
    let cluster = Coordinators::prepare();
    let config = cluster.config("n1");
    let init = [
        "cluster",
        "init",
        "--config",
        config.to_str().unwrap(),
        "--node",
        "n1",
    ];
    succeeded(&cluster.ctl(&init));
    let again = cluster.ctl(&init);
    assert!(!again.status.success());
    assert!(stderr(&again).contains("fix:"), "{}", stderr(&again));
}

#[test]
fn the_log_of_another_cluster_is_refused_with_what_to_do() {
    let mut ours = Coordinators::prepare();
    let mut theirs = Coordinators::prepare();
    for cluster in [&mut ours, &mut theirs] {
        let config = cluster.config("n1");
        succeeded(&cluster.ctl(&[
            "cluster",
            "init",
            "--config",
            config.to_str().unwrap(),
            "--node",
            "n1",
        ]));
        cluster.start("n1");
        cluster.wait_for("a leader", |status| status["quorum"] == true);
        cluster.kill("n1");
    }
    fs::remove_dir_all(ours.data("n1").join("raft")).unwrap();
    copy(
        &theirs.data("n1").join("raft"),
        &ours.data("n1").join("raft"),
    );
    ours.start("n1");
    assert_ne!(ours.ended("n1"), Some(0));
    let log = ours.log_text("n1");
    assert!(log.contains("fix:") && log.contains("cluster"), "{log}");
}

#[test]
fn a_cloned_data_directory_is_refused() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    cluster.kill("n3");
    let clone = cluster.folder.path().join("n3.clone");
    copy(&cluster.data("n3"), &clone);
    // The original lives on and acknowledges more: with n2 gone nothing commits without it.
    cluster.start("n3");
    cluster.kill("n2");
    let manifest = cluster.folder.path().join("vip.yaml");
    fs::write(&manifest, VIP).unwrap();
    cluster.wait_for("n1 and n3 to lead", |status| status["quorum"] == true);
    succeeded(&cluster.ctl(&["apply", "-f", manifest.to_str().unwrap()]));
    cluster.start("n2");
    // Then the older copy takes its place.
    cluster.kill("n3");
    fs::remove_dir_all(cluster.data("n3")).unwrap();
    copy(&clone, &cluster.data("n3"));
    cluster.start("n3");
    assert_ne!(cluster.ended("n3"), Some(0), "{}", cluster.log_text("n3"));
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let mut cluster = Coordinators::prepare();
    let config = cluster.config("n1");
    succeeded(&cluster.ctl(&[
        "cluster",
        "init",
        "--config",
        config.to_str().unwrap(),
        "--node",
        "n1",
    ]));
    cluster.start("n1");
    cluster.wait_for("a leader", |status| status["quorum"] == true);
    let second = Command::new(haft_tests::built::executable("haft-coordinator", "haftd"))
        .args(["--config", config.to_str().unwrap(), "--node", "n1"])
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(stderr(&second).contains("fix:"), "{}", stderr(&second));
}

#[test]
fn secrets_are_in_no_command_line_environment_or_log() {
    let mut cluster = Coordinators::prepare();
    let config = cluster.config("n1");
    succeeded(&cluster.ctl(&[
        "cluster",
        "init",
        "--config",
        config.to_str().unwrap(),
        "--node",
        "n1",
    ]));
    let bootstrap = fs::read_to_string(cluster.data("n1").join("identity/bootstrap.json")).unwrap();
    let bootstrap: serde_json::Value = serde_json::from_str(&bootstrap).unwrap();
    let mut canaries = vec![bootstrap["heartbeat_key"].as_str().unwrap().to_owned()];
    cluster.start("n1");
    let token = fs::read_to_string(cluster.token("n2")).unwrap();
    canaries.push(token.trim().rsplit('.').next().unwrap().to_owned());
    for line in fs::read_to_string(cluster.data("n1").join("identity/node.key"))
        .unwrap()
        .lines()
    {
        if !line.starts_with("-----") {
            canaries.push(line.to_owned());
        }
    }
    let process = format!("/proc/{}", cluster.pid("n1"));
    let mut seen = cluster.log_text("n1");
    for file in ["cmdline", "environ"] {
        seen.push_str(&String::from_utf8_lossy(
            &fs::read(Path::new(&process).join(file)).unwrap(),
        ));
    }
    for canary in canaries {
        assert!(
            canary.len() > 10 && !seen.contains(&canary),
            "a secret shows"
        );
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}
