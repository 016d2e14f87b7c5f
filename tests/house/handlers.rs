//! No state of ours changes across an await: whoever asked may be gone at any of them, and the
//! second half of the change then never comes. Nor does a panic leave half of one behind: it ends
//! the process.
//!
//! As far as text can tell. What a handler begins and must see ended belongs to a task of its own,
//! or to a value whose `Drop` ends it.

use crate::tree::{Source, none, sources};

/// What changes shared state.
const CHANGES: &[&str] = &[
    ".store(",
    ".swap(",
    ".fetch_add(",
    ".fetch_sub(",
    ".compare_exchange",
    ".send_replace(",
    ".send_modify(",
    ".send_if_modified(",
    ".lock()",
    ".write()",
];

/// Changes of a flag or counter that have a counterpart.
const HALVES: &[&str] = &[".store(", ".fetch_add(", ".fetch_sub(", ".swap("];

fn daemons() -> Vec<Source> {
    let ours = |source: &Source| {
        let folders = [
            "src/coordinator/src",
            "src/agent/src",
            "src/store/src",
            "fence-agents/protocol/src",
        ];
        folders.iter().any(|folder| source.path.starts_with(folder)) && !source.is_test()
    };
    sources().into_iter().filter(ours).collect()
}

/// The code of a file: neither comments nor the test module at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The bodies of all async functions.
fn async_bodies(code: &str) -> Vec<&str> {
    let mut bodies = Vec::new();
    for (at, _) in code.match_indices("async fn ") {
        let Some(open) = code[at..].find('{') else {
            continue;
        };
        let (mut depth, mut end) = (0, code.len());
        for (offset, letter) in code[at + open..].char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => continue,
            }
            if depth == 0 {
                end = at + open + offset;
                break;
            }
        }
        bodies.push(&code[at + open..end]);
    }
    bodies
}

/// What stands before a method call, back to the last blank or bracket.
fn receiver(before: &str) -> String {
    let flat: String = before.split_whitespace().collect();
    let start = flat
        .rfind([';', '{', '}', '=', '(', ',', '|'])
        .map_or(0, |at| at + 1);
    flat[start..].to_owned()
}

/// Receivers that an async body changes on both sides of an await.
fn split_changes(body: &str) -> Vec<String> {
    let mut seen: Vec<(usize, String)> = Vec::new();
    for half in HALVES {
        for (at, _) in body.match_indices(half) {
            // Brackets of calls in between would cut a receiver short: enough for telling two
            // apart.
            seen.push((at, receiver(&body[..at].replace("()", ""))));
        }
    }
    seen.sort();
    let mut found = Vec::new();
    for (place, (first, whose)) in seen.iter().enumerate() {
        for (second, other) in &seen[place + 1..] {
            if whose == other && body[*first..*second].contains(".await") {
                found.push(whose.clone());
            }
        }
    }
    found
}

#[test]
fn no_flag_is_set_before_an_await_and_taken_back_after_it() {
    let mut wrong = Vec::new();
    for source in daemons() {
        let code = code(&source.text);
        for body in async_bodies(&code) {
            let found = split_changes(body).into_iter();
            wrong.extend(found.map(|whose| format!("{}: {whose}", source.path)));
        }
    }
    none(
        wrong,
        "a value whose Drop takes it back, or a task of its own",
    );
}

#[test]
fn handlers_change_no_state_of_ours() {
    let mut wrong = Vec::new();
    for source in daemons() {
        if source.path.starts_with("src/coordinator/src/services") {
            let code = code(&source.text);
            let found = CHANGES.iter().filter(|change| code.contains(**change));
            wrong.extend(found.map(|change| format!("{}: {change}", source.path)));
        }
    }
    none(
        wrong,
        "a handler proposes, reads, tells and waits; state belongs to tasks",
    );
}

#[test]
fn the_daemons_tasks_are_watched() {
    let mut wrong = Vec::new();
    for source in daemons() {
        let daemon = source.path.starts_with("src/coordinator/src/daemon");
        if daemon && code(&source.text).contains("tokio::spawn(") {
            wrong.push(source.path);
        }
    }
    none(
        wrong,
        "tasks of haftd are started through daemon::tasks, which notices their end",
    );
}

#[test]
fn a_panic_is_never_survived() {
    let mut wrong = Vec::new();
    for source in daemons() {
        let code = code(&source.text);
        for word in ["PoisonError", "catch_unwind"] {
            if code.contains(word) {
                wrong.push(format!("{}: {word}", source.path));
            }
        }
    }
    for main in ["src/coordinator/src/main.rs", "src/agent/src/main.rs"] {
        let source = daemons().into_iter().find(|source| source.path == main);
        let installs =
            source.is_some_and(|source| source.text.contains("abort_on_panic::install()"));
        if !installs {
            wrong.push(format!(
                "{main} does not install haft_config::abort_on_panic"
            ));
        }
    }
    none(wrong, "a panic ends the process");
}

#[test]
fn the_shape_that_these_rules_are_about_is_seen() {
    let wrong = "
    async fn transfer(&self) {
        self.sight().handing_over.store(true, SeqCst);
        if self.raft().transfer().await.is_err() { return; }
        loop { self.sight().handing_over.store(false, SeqCst); }
    }
    async fn count(&self) {
        self.busy.fetch_add(1, SeqCst);
        self.work().await;
        self.busy.fetch_sub(1, SeqCst);
    }
    async fn harmless(&self) {
        self.seen.store(1, SeqCst);
        self.work().await;
        self.heard.store(2, SeqCst);
        self.heard.store(3, SeqCst);
    }
    fn not_async(&self) { self.seen.store(1, SeqCst); }";
    let bodies = async_bodies(wrong);
    assert_eq!(bodies.len(), 3);
    let found: Vec<usize> = bodies
        .iter()
        .map(|body| split_changes(body).len())
        .collect();
    assert_eq!(found, [1, 1, 0]);
}
