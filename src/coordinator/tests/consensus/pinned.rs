//! The version of openraft is chosen, not drifted into.

use std::fs;
use std::path::Path;

#[test]
fn openraft_is_pinned_to_the_alpha_whose_traps_are_handled() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .filter_map(|dir| fs::read_to_string(dir.join("Cargo.toml")).ok())
        .find(|text| text.contains("[workspace.dependencies]"))
        .expect("the package is in a workspace");
    let line = manifest
        .lines()
        .find(|line| line.starts_with("openraft "))
        .unwrap();
    assert!(
        line.contains("\"=0.10.0-alpha.37\""),
        "{line}: read docs/consensus-traps.md first"
    );
}
