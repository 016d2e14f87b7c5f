//! `scripts/rocksdb` builds its archive once, whoever comes, and fails aloud.
//!
//! With a cargo that builds nothing, in a cache folder of its own.

use crate::tree::root;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Where the stand-in for cargo lies, and the cache.
struct Place(tempfile::TempDir);

impl Place {
    fn with_cargo(script: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let cargo = place.0.path().join("cargo");
        fs::write(&cargo, format!("#!/bin/sh\nset -eu\n{script}")).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn command(&self) -> Command {
        let mut command = Command::new(root().join("scripts/rocksdb"));
        let folder = self.0.path();
        command
            .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
            .env("XDG_CACHE_HOME", folder)
            .env("PLACE", folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

#[test]
fn two_checkouts_at_once_build_the_archive_once() {
    // It is at work until it is told to go on, half a minute at most.
    let place = Place::with_cargo(
        "echo called >>\"$PLACE/calls\"
        for i in $(seq 300); do [ ! -e \"$PLACE/go\" ] || break; sleep 0.1; done
        mkdir -p target/debug && : >target/debug/librocksdb.a\n",
    );
    let mut first = place.command().spawn().unwrap();
    let mut said = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(
        said.next()
            .unwrap()
            .unwrap()
            .starts_with("building RocksDB")
    );
    let mut second = place.command().spawn().unwrap();
    let mut waits = BufReader::new(second.stderr.take().unwrap()).lines();
    assert!(waits.next().unwrap().unwrap().contains("waiting for it"));
    fs::write(place.0.path().join("go"), "").unwrap();
    let first = first.wait_with_output().unwrap();
    let second = second.wait_with_output().unwrap();
    assert!(first.status.success() && second.status.success());
    assert_eq!(first.stdout, second.stdout, "both name the same folder");
    let folder = String::from_utf8(first.stdout).unwrap();
    assert!(fs::exists(format!("{}/librocksdb.a", folder.trim())).unwrap());
    let calls = fs::read_to_string(place.0.path().join("calls")).unwrap();
    assert_eq!(calls, "called\n");
}

#[test]
fn a_build_that_fails_is_said_and_stops_the_script() {
    let place = Place::with_cargo("echo 'error: no compiler' >&2; exit 101\n");
    let output = place.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: no compiler"), "{said}");
    assert!(
        said.contains("does not build") && said.contains("fix:"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}
