//! Rules on the text of source files.

use crate::tree::{Source, none, sources};

const LINES_MAX: usize = 600;

fn findings(rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    sources()
        .iter()
        .filter(|source| !source.path.starts_with("tests/house/"))
        .flat_map(rule)
        .collect()
}

/// Lines of code (no comments) that contain any of these words.
fn lines_with(source: &Source, words: &[&str]) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter_map(|(number, line)| {
            let word = words.iter().find(|word| line.contains(**word))?;
            Some(format!("{}:{}: {word}", source.path, number + 1))
        })
        .collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    let rule = |source: &Source| {
        let says = source.text.trim_start().starts_with("//!");
        if says {
            vec![]
        } else {
            vec![source.path.clone()]
        }
    };
    none(
        findings(rule),
        "a file opens with //! and what it does and does not do",
    );
}

#[test]
fn no_file_is_longer_than_a_room() {
    let rule = |source: &Source| {
        let lines = source.text.lines().count();
        if lines <= LINES_MAX {
            vec![]
        } else {
            vec![format!("{}: {lines} lines", source.path)]
        }
    };
    none(findings(rule), "at most 600 lines a file");
}

#[test]
fn modules_are_named_after_themselves() {
    let rule = |source: &Source| {
        let named = !source.path.ends_with("/mod.rs");
        if named {
            vec![]
        } else {
            vec![source.path.clone()]
        }
    };
    none(findings(rule), "foo.rs and foo/, no mod.rs");
}

#[test]
fn nothing_is_left_undone_in_the_text() {
    let words = ["FIXME", "XXX", "todo!(", "unimplemented!(", "dbg!("];
    none(
        findings(|source| lines_with(source, &words)),
        "no marks of unfinished work",
    );
}

#[test]
fn no_test_is_switched_off_or_expects_a_panic() {
    let words = ["#[ignore", "#[should_panic"];
    none(
        findings(|source| lines_with(source, &words)),
        "no ignored test, no expected panic",
    );
}

#[test]
fn tests_wait_for_a_state_and_never_sleep_blindly() {
    // A poll with a deadline sleeps inside a helper named for it; anything else in a test is a blind sleep.
    let rule = |source: &Source| {
        let polls = source.text.contains("deadline");
        if !source.is_test() || polls {
            return vec![];
        }
        lines_with(source, &["thread::sleep", "time::sleep"])
    };
    none(findings(rule), "wait for a state with a deadline");
}

#[test]
fn an_exception_to_a_lint_gives_its_reason() {
    let rule = |source: &Source| {
        let mut found = Vec::new();
        for mark in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
            for (at, _) in source.text.match_indices(mark) {
                let rest = &source.text[at..];
                let end = rest.find(")]").unwrap_or(rest.len());
                if !rest[..end].contains("reason") {
                    let line = source.text[..at].lines().count();
                    found.push(format!("{}:{line}", source.path));
                }
            }
        }
        found
    };
    none(findings(rule), "every lint exception has a reason");
}

#[test]
fn the_engine_is_pure() {
    let words = [
        "async ",
        ".await;",
        ".await?",
        ".await.",
        ".await)",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::process",
        "std::env",
        "std::thread",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "f32",
        "f64",
        "println!",
        "tracing::",
        "serde",
        "rand::",
    ];
    let rule = |source: &Source| {
        let engine = source.path.starts_with("src/engine/src/") && !source.is_test();
        if engine {
            lines_with(source, &words)
        } else {
            vec![]
        }
    };
    none(
        findings(rule),
        "no clock, randomness, I/O, threads, floats or hash maps in the engine",
    );
}

#[test]
fn decisions_do_not_read_clocks() {
    // The suspend-counting clock is read in one file of each daemon.
    let rule = |source: &Source| {
        let daemon =
            source.path.starts_with("src/coordinator") || source.path.starts_with("src/agent");
        if !daemon || source.path.ends_with("/clock.rs") || source.is_test() {
            return vec![];
        }
        lines_with(
            source,
            &["SystemTime::now", "ClockId::Realtime", "ClockId::Boottime"],
        )
    };
    none(findings(rule), "clocks are read in clock.rs");
}

/// A machine that slept must not act by a deadline that stood still meanwhile.
#[test]
fn no_deadline_is_kept_by_a_clock_that_a_suspend_stops() {
    let rule = |source: &Source| {
        let ours = source.path.starts_with("src/") || source.path.starts_with("fence-agents/");
        if !ours || source.is_test() {
            return vec![];
        }
        lines_with(source, &["Monotonic", "CLOCK_MONOTONIC_RAW"])
    };
    none(findings(rule), "CLOCK_BOOTTIME counts suspends");
}

#[test]
fn every_queue_is_bounded() {
    let words = ["unbounded_channel", "UnboundedSender", "mpsc::channel::<"];
    let rule = |source: &Source| {
        if source.is_test() {
            vec![]
        } else {
            lines_with(source, &words)
        }
    };
    none(findings(rule), "no unbounded queue");
}

#[test]
fn openraft_is_named_by_consensus_alone() {
    let rule = |source: &Source| {
        let allowed = source.path.starts_with("src/coordinator/src/consensus")
            || source.path.starts_with("src/coordinator/tests");
        if allowed {
            vec![]
        } else {
            lines_with(source, &["openraft::"])
        }
    };
    none(findings(rule), "openraft stays behind one module");
}

#[test]
fn rocksdb_is_named_by_the_store_alone() {
    let rule = |source: &Source| {
        let allowed = source.path.starts_with("src/store/");
        if allowed {
            vec![]
        } else {
            lines_with(source, &["rocksdb::"])
        }
    };
    none(findings(rule), "RocksDB stays behind the store");
}
