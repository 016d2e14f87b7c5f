//! The lab's own check as a test: needs root, `openipmi`, `ipmitool`, `keepalived`, `nftables` and `iproute2`.
//!
//! What haft promises is not tested here; this is about the instruments.

use std::process::Command;

#[test]
fn bmcs_tell_the_truth_and_the_judge_sees_two_owners_where_there_are_two() {
    // From the workspace's root, under whose target directory the lab keeps its logs.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut lab = Command::new(env!("CARGO_BIN_EXE_haft-lab"));
    let output = lab.arg("check").current_dir(root).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{talk}");
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        findings["isolated_two_owners_ms"].as_f64().unwrap() >= 500.0,
        "{findings}"
    );
}
