//! The unit files: that systemd accepts them, and that they do with each exit code what
//! docs/endings.md says.
//!
//! Starts nothing.

use crate::tree::{none, root};
use std::fs;
use std::process::Command;

const UNITS: [&str; 2] = ["haftd", "haft-agent"];

fn text(unit: &str) -> String {
    let path = root().join("packaging").join(format!("{unit}.service"));
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_supervisor_starts_again_what_may_work_and_leaves_refusals_to_a_human() {
    let mut wrong = Vec::new();
    for unit in UNITS {
        let text = text(unit);
        for line in [
            "Restart=on-failure",
            "RestartPreventExitStatus=2 3",
            "StartLimitIntervalSec=0",
        ] {
            if !text.lines().any(|found| found == line) {
                wrong.push(format!("{unit}.service lacks {line}"));
            }
        }
    }
    none(wrong, "units restart what ends by itself");
}

#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().unwrap();
    for unit in UNITS {
        // It wants the executables to exist, and ours are not installed.
        let text = text(unit).replace(&format!("/usr/bin/{unit}"), "/bin/true");
        let path = folder.path().join(format!("{unit}.service"));
        fs::write(&path, text).unwrap();
        let judged = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&path)
            .output()
            .expect("systemd-analyze, of the package systemd");
        let said = String::from_utf8_lossy(&judged.stderr);
        let ours: Vec<&str> = said.lines().filter(|line| line.contains(unit)).collect();
        assert!(judged.status.success() && ours.is_empty(), "{unit}: {said}");
    }
}
