//! Every bad configuration and manifest is refused with place, reason and fix, and changes nothing.

use crate::run::{compare, folder, haftctl};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn a_bad_configuration_is_refused_with_place_reason_and_fix() {
    let dir = folder("configs");
    let files = files(&dir);
    assert!(files.len() >= 15);
    for file in files {
        let state = tempfile::tempdir().unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let data = state.path().join("data");
        let context = state.path().join("context.yaml");
        let ran = haftctl(
            &dir,
            &[
                "cluster",
                "init",
                "--config",
                name,
                "--node",
                "n1",
                "--data-dir",
                data.to_str().unwrap(),
                "--context",
                context.to_str().unwrap(),
            ],
            "",
        );
        assert_eq!(ran.code, Some(2), "{name}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{name}");
        assert_eq!(
            std::fs::read_dir(state.path()).unwrap().count(),
            0,
            "{name} left something behind"
        );
        assert!(ran.stderr.contains("fix: "), "{name}");
        compare(
            &format!("config-{}", name.trim_end_matches(".yaml")),
            &ran.stderr,
        );
    }
}

#[test]
fn a_bad_manifest_is_refused_with_place_reason_and_fix() {
    let dir = folder("manifests");
    for file in files(&dir) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let ran = haftctl(&dir, &["apply", "-f", name], "");
        assert_eq!(ran.code, Some(2), "{name}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{name}");
        compare(
            &format!("manifest-{}", name.trim_end_matches(".yaml")),
            &ran.stderr,
        );
    }
}

#[test]
fn a_manifest_on_stdin_is_named_so() {
    let ran = haftctl(&folder("manifests"), &["apply", "-f", "-"], "kind: Pod\n");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("--> <stdin>:1:7"), "{}", ran.stderr);
}

#[test]
fn a_key_that_others_can_read_is_refused_by_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["ca.pem", "node.pem", "node.key"] {
        std::fs::write(
            dir.path().join(name),
            "-----BEGIN X-----\n-----END X-----\n",
        )
        .unwrap();
    }
    let config = format!(
        "cluster: {{ name: demo }}\nnodes:\n  - {{ name: n1, addresses: [10.77.1.1], coordinator: true }}\ntls:\n  ca: {}\n  certificate: {}\n  key: {}\n",
        path("ca.pem"),
        path("node.pem"),
        path("node.key")
    );
    std::fs::write(dir.path().join("haft.yaml"), config).unwrap();
    let init = [
        "cluster",
        "init",
        "--config",
        "haft.yaml",
        "--node",
        "n1",
        "--data-dir",
        "data",
        "--context",
        "context.yaml",
    ];
    let mode = |mode| {
        std::fs::set_permissions(
            dir.path().join("node.key"),
            std::fs::Permissions::from_mode(mode),
        )
        .unwrap()
    };
    for open in [0o644, 0o640, 0o604] {
        mode(open);
        let ran = haftctl(dir.path(), &init, "");
        assert_eq!(ran.code, Some(2), "{open:o}");
        assert!(ran.stderr.contains("haft.yaml:7:8"), "{}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("mode {open:04o}")) && ran.stderr.contains("chmod 0600"),
            "{}",
            ran.stderr
        );
    }
    mode(0o600);
    assert_eq!(haftctl(dir.path(), &init, "").code, Some(0));
}

#[test]
fn an_oversized_file_is_refused_before_it_is_parsed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("big.yaml"), "x".repeat(2 << 20)).unwrap();
    let ran = haftctl(dir.path(), &["apply", "-f", "big.yaml"], "");
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("at most 1048576 are read"),
        "{}",
        ran.stderr
    );
}
