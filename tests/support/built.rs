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
    let mut built = BUILT.lock().unwrap();
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    // The test itself is <target>/<profile>/deps/<suite>-<hash>.
    let test = std::env::current_exe().unwrap();
    let profile_dir = test
        .parent()
        .and_then(Path::parent)
        .expect("tests run from target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet", "--package", package, "--bin", name])
        .current_dir(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .expect("tests has a parent"),
        );
    if profile_dir
        .file_name()
        .is_some_and(|profile| profile == "release")
    {
        build.arg("--release");
    }
    assert!(
        build.status().unwrap().success(),
        "cargo build of {package} failed"
    );
    let path = profile_dir.join(name);
    assert!(path.is_file(), "{} was not built", path.display());
    built.insert(name.to_owned(), path.clone());
    path
}
