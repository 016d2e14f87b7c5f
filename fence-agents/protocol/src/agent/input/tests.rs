//! Parsing of stdin and argv: the contract's rules one by one, then noise of every kind.
//! It does not test what any real agent does with the values.

use proptest::prelude::*;

use super::*;
use crate::agent::options::{ActionSpec, Need};

const fn option(name: &'static str, letter: Option<char>, kind: Kind) -> OptionSpec {
    OptionSpec {
        name,
        old_name: None,
        letter,
        value_word: "value",
        kind,
        default: None,
        need: Need::Optional,
        summary: "An option",
    }
}

static OPTIONS: [OptionSpec; 5] = [
    option("action", Some('o'), Kind::Text),
    OptionSpec {
        old_name: Some("ipaddr"),
        ..option("ip", Some('a'), Kind::Text)
    },
    OptionSpec {
        old_name: Some("passwd"),
        ..option("password", Some('p'), Kind::Secret)
    },
    option("power_wait", None, Kind::Seconds),
    option("lanplus", Some('P'), Kind::Boolean),
];
static ACTIONS: [ActionSpec; 1] = [ActionSpec {
    name: "off",
    automatic: None,
}];
static SPEC: AgentSpec = AgentSpec {
    name: "fence_try",
    short: "",
    long: "",
    options: &OPTIONS,
    actions: &ACTIONS,
};

fn stdin(text: &str) -> Input {
    read_stdin(&SPEC, text.as_bytes()).ok().unwrap()
}

fn argv(words: &[&str]) -> Result<Input, InputError> {
    read_argv(
        &SPEC,
        &words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>(),
    )
}

#[test]
fn the_last_duplicate_wins_and_comments_are_skipped() {
    let input = stdin("# hello\n\naction=off\nip=1\nip=2\n");
    assert_eq!(input.text("ip"), Some("2"));
    assert_eq!(input.action(), Ok(Action::Off));
    assert!(input.warnings.is_empty());
}

#[test]
fn one_pair_of_quotes_is_stripped_and_no_more() {
    assert_eq!(
        stdin("password=\"\"a b\"\"").text("password"),
        Some("\"a b\"")
    );
    assert_eq!(stdin("password=\"half").text("password"), Some("\"half"));
    assert_eq!(stdin("password=a=b").text("password"), Some("a=b"));
}

#[test]
fn dash_and_underscore_and_old_names_are_the_same_option() {
    assert_eq!(stdin("power-wait=3").text("power_wait"), Some("3"));
    assert_eq!(stdin("ipaddr=x").text("ip"), Some("x"));
    assert_eq!(stdin("ipaddr=x\nip=y").text("ip"), Some("y"));
}

#[test]
fn an_action_line_with_spaces_around_it_is_refused_not_a_reboot() {
    let input = stdin("  action = off\n");
    assert_eq!(
        input.action(),
        Err(InputError::Action(ActionError::Missing))
    );
    assert_eq!(
        stdin("").action(),
        Err(InputError::Action(ActionError::Missing))
    );
    assert!(matches!(
        stdin("action=of").action(),
        Err(InputError::Action(_))
    ));
}

#[test]
fn a_warning_names_the_option_but_never_its_value() {
    let input = stdin("pasword=canary\ncanary\nnodename=n1\n");
    assert_eq!(input.warnings.len(), 2);
    assert!(
        input.warnings.iter().all(|line| !line.contains("canary")),
        "{:?}",
        input.warnings
    );
}

#[test]
fn booleans_take_eight_words_and_refuse_the_rest() {
    for word in ["1", "yes", "on", "TRUE"] {
        assert_eq!(stdin(&format!("lanplus={word}")).flag("lanplus"), Ok(true));
    }
    for word in ["0", "no", "off", "False"] {
        assert_eq!(stdin(&format!("lanplus={word}")).flag("lanplus"), Ok(false));
    }
    assert_eq!(stdin("").flag("lanplus"), Ok(false));
    assert!(stdin("lanplus=maybe").flag("lanplus").is_err());
}

#[test]
fn seconds_take_fractions_and_refuse_nonsense() {
    for (text, millis) in [
        ("0", 0),
        ("5", 5000),
        ("5s", 5000),
        ("0.25", 250),
        ("1.5", 1500),
    ] {
        assert_eq!(
            stdin(&format!("power_wait={text}")).seconds("power_wait", Duration::ZERO),
            Ok(Duration::from_millis(millis)),
            "{text}"
        );
    }
    for text in [
        "-1",
        "x",
        "1e3",
        "86401",
        "0.1234",
        ".",
        "1.-2",
        "+3",
        "99999999999999999999",
    ] {
        let answer = stdin(&format!("power_wait={text}")).seconds("power_wait", Duration::ZERO);
        assert!(answer.is_err(), "{text}");
    }
}

#[test]
fn argv_takes_the_forms_of_getopt() {
    for words in [
        &["-a", "h", "-o", "status", "-P"][..],
        &["-ah", "-ostatus", "-P"],
        &["--ip", "h", "--action=status", "--lanplus"],
        &["-Pah", "--action", "status"],
    ] {
        let input = argv(words).ok().unwrap();
        assert_eq!(input.text("ip"), Some("h"), "{words:?}");
        assert_eq!(input.action(), Ok(Action::Status), "{words:?}");
        assert_eq!(input.flag("lanplus"), Ok(true), "{words:?}");
    }
}

#[test]
fn argv_refuses_what_it_does_not_know() {
    assert!(
        matches!(argv(&["--what=canary"]), Err(InputError::UnknownOption { name }) if name == "--what")
    );
    assert!(matches!(
        argv(&["-z"]),
        Err(InputError::UnknownOption { .. })
    ));
    assert!(matches!(
        argv(&["-a"]),
        Err(InputError::MissingValue { .. })
    ));
    assert!(matches!(
        argv(&["off"]),
        Err(InputError::StrayWord { position: 1 })
    ));
}

#[test]
fn a_password_on_argv_is_accepted_with_a_warning_that_hides_it() {
    let input = argv(&["-p", "canary"]).ok().unwrap();
    assert_eq!(input.text("password"), Some("canary"));
    assert_eq!(input.warnings.len(), 1);
    assert!(!input.warnings[0].contains("canary"));
}

proptest! {
    #[test]
    fn no_stdin_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(input) = read_stdin(&SPEC, &bytes) {
            let _ = input.action();
            let _ = input.flag("lanplus");
            let _ = input.seconds("power_wait", Duration::ZERO);
            let _ = input.integer("power_wait", 0..=9, 0);
        }
    }

    #[test]
    fn no_argv_makes_the_parser_panic(words in proptest::collection::vec("(-{0,2}[a-zA-Zé=]{0,6})", 0..6)) {
        let _ = read_argv(&SPEC, &words);
    }

    #[test]
    fn a_clean_value_arrives_unchanged(value in "[!-~&&[^\"]][ -~&&[^\"]]{0,30}[!-~&&[^\"]]") {
        let input = stdin(&format!("password={value}\n"));
        prop_assert_eq!(input.text("password"), Some(value.as_str()));
    }
}
