//! The executables of this workspace, built as the running test was built.
//!
//! Cargo builds a package's executables for its own tests only, so suites of other packages ask for
//! them here. Each is built at most once per test process; nothing is built when nothing changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// The path of an executable of a workspace package, fresh.
///
/// # Panics
/// When it does not build.
pub fn executable(package: &str, name: &str) -> PathBuf {
    fresh(package, name, &[])
}

/// The same with the feature `planted-bugs`, from a target directory of its own: what the other
/// suites run has no such switch.
///
/// # Panics
/// When it does not build.
pub fn planted(package: &str, name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/planted");
    let target = target.to_str().expect("a path in UTF-8");
    fresh(
        package,
        name,
        &["--features", "planted-bugs", "--target-dir", target],
    )
}

fn fresh(package: &str, name: &str, how: &[&str]) -> PathBuf {
    let mut built = BUILT.lock().unwrap();
    let key = format!("{name} {how:?}");
    if let Some(path) = built.get(&key) {
        return path.clone();
    }
    // The test itself is .../<profile>/deps/<suite>-<hash>; the executable may be elsewhere, cargo says where.
    let test = std::env::current_exe().unwrap();
    let released = test.components().any(|part| part.as_os_str() == "release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--quiet",
            "--message-format=json",
            "--package",
            package,
            "--bin",
            name,
        ])
        .args(how)
        .current_dir(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .expect("tests has a parent"),
        );
    if released {
        build.arg("--release");
    }
    let output = build.output().unwrap();
    assert!(
        output.status.success(),
        "cargo build of {package} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stdout);
    let path = said
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap_or_else(|| panic!("cargo named no executable {name}"));
    built.insert(key, path.clone());
    path
}
