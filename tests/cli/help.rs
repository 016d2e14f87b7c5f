//! Help, completion and usage errors.

use crate::run::{compare, haftctl};

#[test]
fn the_help_of_every_command_is_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 23] = [
        &[],
        &["cluster"],
        &["cluster", "init"],
        &["cluster", "join"],
        &["cluster", "status"],
        &["cluster", "transfer"],
        &["cluster", "token", "create"],
        &["get"],
        &["describe"],
        &["apply"],
        &["delete"],
        &["move"],
        &["fence"],
        &["confirm-off"],
        &["events"],
        &["why"],
        &["explain"],
        &["explain", "timing"],
        &["wait"],
        &["completion"],
        &["cluster", "token"],
        &["cluster", "timing"],
        &["cluster", "timing", "set"],
    ];
    for command in commands {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let ran = haftctl(dir.path(), &arguments, "");
        assert_eq!(ran.code, Some(0), "{command:?}");
        let name = if command.is_empty() {
            "help".to_owned()
        } else {
            format!("help-{}", command.join("-"))
        };
        compare(&name, &ran.stdout);
    }
}

#[test]
fn a_command_that_is_mistyped_exits_2_and_says_what_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let rows: [(&[&str], &str); 6] = [
        (&["gett", "vip"], "get"),
        (
            &["get", "pod/x"],
            "write node, vip, fencedevice or fencetopology",
        ),
        (&["describe", "vip"], "write vip/NAME"),
        (
            &["get", "vip", "-o", "xml"],
            "table, wide, json, yaml, name",
        ),
        (&["wait", "vip/web", "--for", "colour=red"], "owner=n1"),
        (&["get", "vip", "--timeout", "5"], "800ms"),
    ];
    for (arguments, hint) in rows {
        let ran = haftctl(dir.path(), arguments, "");
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(hint), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn completion_is_a_script_that_knows_the_verbs() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = haftctl(dir.path(), &["completion", shell], "");
        assert_eq!(ran.code, Some(0), "{shell}");
        assert!(
            ran.stdout.contains("confirm-off") && ran.stdout.contains("token-file"),
            "{shell}"
        );
    }
}

#[test]
fn a_command_without_a_context_says_where_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    let ran = haftctl(dir.path(), &["get", "vip"], "");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.starts_with("error[NoContext]"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains(".config/haft/context.yaml"),
        "{}",
        ran.stderr
    );
}
