//! Where figures were taken: what every file in target/figures says beside them.
//!
//! Reads, and judges nothing; a clone without git gives empty words.

use std::process::Command;

use serde_json::{Value, json};

/// Commit, whether the tree differed from it, kernel, processors and the load at this moment.
#[must_use]
pub fn origin() -> Value {
    let changes = said_by("git", &["status", "--porcelain"]);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "commit": said_by("git", &["rev-parse", "HEAD"]),
        "dirty": !changes.is_empty(),
        "kernel": said_by("uname", &["-r"]),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "load": load.trim(),
    })
}

fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_where_they_were_taken() {
        let origin = origin();
        for name in ["commit", "dirty", "kernel", "processors", "load"] {
            assert!(origin.get(name).is_some(), "{name}");
        }
        assert!(!origin["kernel"].as_str().unwrap_or_default().is_empty());
    }
}
