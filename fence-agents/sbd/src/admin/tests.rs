//! The commands' own parsing. What they do to disks is in the suite tests/agents.

use super::*;

fn refused(verb: Verb, line: &str) -> String {
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let report = run(verb, &arguments);
    assert_eq!(report.exit, 1, "{line}");
    assert!(report.stdout.is_empty(), "{line}");
    report.stderr
}

#[test]
fn what_cannot_be_right_is_refused_before_any_disk_is_opened() {
    // The disk does not exist: had it been opened, the reason would say so.
    for (verb, line, reason) in [
        (Verb::Create, "-d /nonexistent -4 5 -1 5", "msgwait (-4)"),
        (Verb::Create, "-d /nonexistent -4 6 -1 5", "msgwait (-4)"),
        (Verb::Create, "-d /nonexistent -1 0", "-1"),
        (Verb::Create, "-d /nonexistent -1 soon", "-1"),
        (Verb::Create, "-d /nonexistent -1", "needs a value"),
        (Verb::Create, "-d /nonexistent word", "give exactly"),
        (
            Verb::Create,
            "-d /nonexistent --sector-size=520",
            "512 or 4096",
        ),
        (
            Verb::List,
            "-d /nonexistent --plain-files=maybe",
            "plain_files",
        ),
        (Verb::List, "-d nonexistent", "no absolute path"),
        (Verb::List, "-x", "unknown option '-x'"),
        (Verb::Dump, "-d /a -d /b -d /c -d /d", "1 to 3 are possible"),
        (Verb::Allocate, "-d /nonexistent", "-d DISK NODE"),
        (Verb::Message, "-d /nonexistent a", "crashdump"),
        (
            Verb::Message,
            "-d /nonexistent a kill",
            "'kill' is no message",
        ),
        (
            Verb::Message,
            "-d /nonexistent a OFF",
            "'OFF' is no message",
        ),
        (Verb::Clear, "-d /nonexistent a b", "give exactly"),
    ] {
        let said = refused(verb, line);
        assert!(said.contains(reason), "{line}: {said}");
        assert!(!said.contains("No such file"), "{line}: {said}");
    }
}

#[test]
fn a_disk_that_is_not_there_is_named() {
    for verb in [Verb::Create, Verb::List, Verb::Dump] {
        let said = refused(verb, "-d /nonexistent");
        assert!(
            said.contains("/nonexistent") && said.contains("No such file"),
            "{said}"
        );
    }
}

#[test]
fn verbs_are_exact_words_without_a_dash() {
    for (word, verb) in [
        ("create", Verb::Create),
        ("list", Verb::List),
        ("dump", Verb::Dump),
        ("allocate", Verb::Allocate),
        ("message", Verb::Message),
        ("clear", Verb::Clear),
    ] {
        assert_eq!(Verb::from_word(word), Some(verb));
    }
    for word in ["-o", "--action", "off", "watch", "Create", ""] {
        assert_eq!(Verb::from_word(word), None);
    }
}
