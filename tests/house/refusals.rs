//! Refusals: one code has one exit code and one gRPC status, and docs/refusals.md lists them all.
//!
//! Reads the calls that make refusals, and the matches that turn kinds into statuses and statuses into exit codes,
//! so that the page cannot say what the programs do not. What a code means in words is for a reviewer.

use crate::tree::{Source, none, root, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The page, below the root.
const PAGE: &str = "docs/refusals.md";
const ENGINE: &str = "src/engine/src/apply.rs";
const STATUS: &str = "src/api/src/status.rs";
const FAILURE: &str = "src/ctl/src/failure.rs";

/// A refusal as some call makes it.
struct Said {
    place: String,
    code: String,
    /// The shell's number.
    exit: String,
    /// As gRPC spells it, or `-` where haftctl refuses by itself.
    status: String,
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(root().join(path)).unwrap();
    uncommented(&text)
}

fn uncommented(text: &str) -> String {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The word after `prefix`, wherever it stands.
fn words<'t>(text: &'t str, prefix: &'static str) -> impl Iterator<Item = &'t str> {
    text.split(prefix).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

fn first<'t>(text: &'t str, prefix: &'static str) -> Option<&'t str> {
    words(text, prefix).next()
}

/// The body of a function.
fn body<'t>(text: &'t str, name: &str) -> &'t str {
    let begins = text.find(&format!("fn {name}(")).expect(name);
    let rest = &text[begins..];
    let ends = ["\n}\n", "\n    }\n"].map(|end| rest.find(end).unwrap_or(rest.len()));
    &rest[..ends[0].min(ends[1])]
}

/// The arms of a match: each word of the left side with the word of the right side.
fn arms(body: &str, left: &'static str, right: &'static str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for arm in body.split(',') {
        let Some((pattern, value)) = arm.split_once("=>") else {
            continue;
        };
        for word in words(pattern, left) {
            let value = match right {
                "" => value.trim(),
                _ => first(value, right).unwrap_or_default(),
            };
            found.insert(word.to_owned(), value.to_owned());
        }
    }
    found
}

fn shouted(camel: &str) -> String {
    let mut text = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

/// How the programs turn one into the other.
struct Rules {
    /// `invalid` to `Invalid`.
    kinds: BTreeMap<String, String>,
    /// `Invalid` to `InvalidArgument`.
    statuses: BTreeMap<String, String>,
    /// `InvalidArgument` to `Usage`.
    exits: BTreeMap<String, String>,
    /// `Usage` to `2`.
    numbers: BTreeMap<String, String>,
    /// `NO_QUORUM` to `NoQuorum`, where the code decides and not the status.
    special: BTreeMap<String, String>,
    /// `NO_QUORUM` to the code's own text.
    constants: BTreeMap<String, String>,
}

impl Rules {
    fn of_the_tree() -> Rules {
        let (engine, status, failure) = (read(ENGINE), read(STATUS), read(FAILURE));
        let makers = engine.split("fn ").filter_map(|function| {
            let name = function.split('(').next()?;
            let kind = first(function, "Refusal::new(RefusalKind::")?;
            Some((name.to_owned(), kind.to_owned()))
        });
        let constants = status.split("pub const ").skip(1).filter_map(|rest| {
            let (name, value) = rest.split_once(": &str = \"")?;
            Some((name.to_owned(), value.split('"').next()?.to_owned()))
        });
        let rules = Rules {
            kinds: makers.collect(),
            statuses: arms(body(&status, "refused"), "RefusalKind::", "Code::"),
            exits: arms(body(&failure, "exit_of"), "Code::", "Exit::"),
            numbers: arms(body(&failure, "code"), "Exit::", ""),
            special: arms(body(&failure, "refused"), "Some(status::", "Exit::"),
            constants: constants.collect(),
        };
        assert!(
            rules.kinds.len() >= 5 && rules.statuses.len() == rules.kinds.len(),
            "each kind has a constructor and a status: {:?} {:?}",
            rules.kinds,
            rules.statuses
        );
        assert!(rules.exits.len() >= 15 && rules.numbers.len() >= 10);
        assert!(rules.special.len() >= 2 && rules.constants.len() >= 3);
        rules
    }

    fn number(&self, exit: &str) -> String {
        self.numbers.get(exit).expect(exit).clone()
    }

    /// Exit code and status of a code that is sent under this gRPC status.
    fn sent(&self, status: &str, constant: Option<&str>) -> (String, String) {
        let special = constant.and_then(|name| self.special.get(name));
        let exit = special.unwrap_or_else(|| self.exits.get(status).expect(status));
        (self.number(exit), shouted(status))
    }
}

/// The code that a call names: a literal, or one of the constants of both sides.
fn code_of(argument: &str, rules: &Rules) -> Option<(String, Option<String>)> {
    if let Some(rest) = argument.strip_prefix('"') {
        return Some((rest.split('"').next()?.to_owned(), None));
    }
    let path = argument.split([',', ')']).next()?.trim();
    let name = path.rsplit("::").next()?;
    let code = rules.constants.get(name)?;
    Some((code.clone(), Some(name.to_owned())))
}

/// Every refusal of one file; what names no code is a finding.
fn refusals(source: &Source, rules: &Rules, wrong: &mut Vec<String>) -> Vec<Said> {
    let text = uncommented(&source.text);
    let mut found = Vec::new();
    let mut note = |argument: &str, made: &dyn Fn(Option<&str>) -> (String, String)| {
        let argument = argument.trim_start();
        match code_of(argument, rules) {
            None => wrong.push(format!("{}: {:.40}", source.path, argument)),
            Some((code, constant)) => {
                let (exit, status) = made(constant.as_deref());
                let place = source.path.clone();
                found.push(Said {
                    place,
                    code,
                    exit,
                    status,
                });
            }
        }
    };
    for (maker, kind) in &rules.kinds {
        for argument in text.split(&format!("Refusal::{maker}(")).skip(1) {
            note(argument, &|_| rules.sent(&rules.statuses[kind], None));
        }
    }
    for call in text.split("status(").skip(1) {
        if let Some(("", rest)) = call.trim_start().split_once("Code::")
            && let Some((status, argument)) = rest.split_once(',')
        {
            note(argument, &|constant| rules.sent(status, constant));
        }
    }
    for call in text.split("Failure::new(").skip(1) {
        if let Some(("", rest)) = call.trim_start().split_once("Exit::")
            && let Some((exit, argument)) = rest.split_once(',')
        {
            note(argument, &|_| (rules.number(exit), "-".to_owned()));
        }
    }
    found
}

/// Every refusal of the tree.
fn all() -> Vec<Said> {
    let rules = Rules::of_the_tree();
    let mut wrong = Vec::new();
    let mut found = Vec::new();
    for source in sources() {
        if source.path.starts_with("src/") && !source.is_test() {
            found.extend(refusals(&source, &rules, &mut wrong));
        }
    }
    none(wrong, "a refusal names its code where it is made");
    assert!(found.len() > 150, "only {} refusals are seen", found.len());
    found
}

/// The page's table: a code's exit code and status.
fn page() -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(root().join(PAGE)).unwrap();
    let mut table = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 4 && !cells[3].is_empty(), "{line}");
        let code = cells[0].trim_matches('`').to_owned();
        let said = (cells[1].to_owned(), cells[2].to_owned());
        assert!(table.insert(code, said).is_none(), "twice: {line}");
    }
    table
}

#[test]
fn a_code_has_one_exit_code_and_one_status() {
    let mut by_code: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for said in all() {
        // haftctl may refuse by itself what the cluster would refuse, too.
        let meaning = match said.status.as_str() {
            "-" => format!("exit {}", said.exit),
            status => format!("exit {}, {status}", said.exit),
        };
        let places = by_code.entry(said.code).or_default();
        places.entry(meaning).or_default().insert(said.place);
    }
    by_code.retain(|_, meanings| {
        let short: Vec<&String> = meanings.keys().filter(|one| !one.contains(',')).collect();
        let longer = meanings.keys().filter(|one| one.contains(',')).count();
        let alike = short
            .iter()
            .all(|one| meanings.keys().all(|other| other.starts_with(*one)));
        longer > 1 || !alike
    });
    let wrong = by_code
        .iter()
        .map(|(code, meanings)| format!("{code}: {meanings:?}"));
    none(wrong.collect(), "one code, one exit code, one status");
}

#[test]
fn the_page_of_refusals_lists_every_code_with_its_exit_code_and_status() {
    let mut made: BTreeMap<String, (String, String)> = BTreeMap::new();
    for said in all() {
        let entry = made
            .entry(said.code)
            .or_insert_with(|| (said.exit.clone(), said.status.clone()));
        if said.status != "-" {
            *entry = (said.exit, said.status);
        }
    }
    let page = page();
    let mut wrong = Vec::new();
    for (code, (exit, status)) in &made {
        match page.get(code) {
            None => wrong.push(format!("missing: | `{code}` | {exit} | {status} |")),
            Some(told) if *told != (exit.clone(), status.clone()) => {
                wrong.push(format!("{code} is {exit} {status}, not {told:?}"));
            }
            Some(_) => {}
        }
    }
    let gone = page.keys().filter(|code| !made.contains_key(*code));
    wrong.extend(gone.map(|code| format!("nobody says {code}")));
    none(wrong, PAGE);
}

#[test]
fn codes_say_incarnation_and_never_life() {
    let wrong = all().into_iter().filter(|said| {
        let mut parts = said.code.split("Life").skip(1);
        parts.any(|rest| !rest.starts_with("time"))
    });
    let wrong = wrong.map(|said| format!("{}: {}", said.place, said.code));
    none(
        wrong.collect(),
        "a life of a node's agent is called an incarnation",
    );
}
