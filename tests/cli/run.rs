//! Runs haftctl, compares with golden texts.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs haftctl in `dir` with an environment that names no cluster and no home.
pub(crate) fn haftctl<I: AsRef<OsStr>>(dir: &Path, arguments: &[I], stdin: &str) -> Ran {
    let program = haft_tests::built::executable("haft-ctl", "haftctl");
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses early closes its stdin; that is its right.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder of this suite.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cli").join(name)
}

/// Compares with `golden/<name>.txt`, or rewrites it when asked to.
pub(crate) fn compare(name: &str, text: &str) {
    let path = folder("golden").join(format!("{name}.txt"));
    if std::env::var_os("HAFT_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        golden,
        "{} differs; HAFT_UPDATE_GOLDEN=1 rewrites it",
        path.display()
    );
}
