//! YAML as a tree in which every node knows its place.
//!
//! Parsing is bounded (size, depth, nodes, aliases) so that a hostile file costs little. Knows no schema:
//! [`crate::fields`] reads trees into values.

use crate::problem::{Problem, Problems};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// Largest file read; a configuration of a thousand nodes is a tenth of it.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting; the schema needs five.
const MAX_DEPTH: usize = 24;
/// Most nodes, including those that aliases repeat.
const MAX_NODES: usize = 50_000;
/// Most aliases; enough to share a list of nodes, too few for a bomb.
const MAX_ALIASES: usize = 100;
/// Most documents in one file.
const MAX_DOCUMENTS: usize = 1_000;

/// A place in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct At {
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) width: u64,
}

/// A node of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// Any number, as it is written.
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(Key, Tree)>),
}

/// A key of a map.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: At,
    pub(crate) text: String,
}

impl Value {
    /// What to call it in a message.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// The text of a file beside its name, for excerpts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// A problem at a place in this file.
    pub(crate) fn problem(&self, at: At, reason: String, fix: String) -> Problem {
        let excerpt = usize::try_from(at.line.saturating_sub(1))
            .ok()
            .filter(|_| at.line > 0)
            .and_then(|index| line_of(self.text, index))
            .map(masked)
            .unwrap_or_default();
        Problem {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            width: at.width.max(1),
            excerpt,
            reason,
            fix,
        }
    }
}

/// A line as YAML counts them (YAML 1.2.2, section 5.4): a carriage return alone breaks a line, too.
fn line_of(text: &str, index: usize) -> Option<&str> {
    let mut rest = text;
    for _ in 0..index {
        let at = rest.find(['\n', '\r'])?;
        let width = if rest[at..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[at + width..];
    }
    rest.split(['\n', '\r']).next()
}

/// Parses every document of a text; empty documents are left out.
pub(crate) fn parse(source: Source<'_>) -> Result<Vec<Tree>, Problems> {
    if source.text.len() > MAX_BYTES {
        return Err(Problems::whole_file(
            source.file,
            format!(
                "the file has {} bytes; at most {MAX_BYTES} are read",
                source.text.len()
            ),
            "split it, or remove what does not belong in it",
        ));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_documents: MAX_DOCUMENTS,
            max_total_scalar_bytes: 4 * MAX_BYTES,
            flow_nesting_limit: MAX_DEPTH,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    let parsed: Vec<Spanned<Raw>> = serde_saphyr::from_multiple_with_options(source.text, options)
        .map_err(|error| syntax_problem(source, &error))?;
    Ok(parsed
        .into_iter()
        .map(|raw| raw.lift(source))
        .filter(|tree| !matches!(tree.value, Value::Null))
        .collect())
}

/// Keys whose values are hidden when a line is shown: files end up in terminals, logs and tickets.
const HIDDEN: [&str; 5] = ["password", "passwd", "secret", "token", "key"];

/// The line with the values of secret-looking keys starred out, each character by one star so that columns
/// stay. Paths are shown: they name where a secret is. What would steer a terminal is not shown as it is.
fn masked(line: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\t' {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    let mut out: Vec<char> = line.chars().map(shown).collect();
    for word in HIDDEN {
        let wanted: Vec<char> = word.chars().collect();
        for at in 0..out.len() {
            let ends = at + wanted.len();
            let starts_word = at == 0 || !out[at - 1].is_ascii_alphanumeric();
            if !starts_word || out.get(at..ends) != Some(wanted.as_slice()) {
                continue;
            }
            let rest = out[ends..]
                .iter()
                .position(|c| !matches!(c, '"' | '\'' | ' '));
            let Some(colon) = rest.map(|skip| ends + skip).filter(|at| out[*at] == ':') else {
                continue;
            };
            let value = out[colon + 1..]
                .iter()
                .position(|c| *c != ' ')
                .map(|skip| colon + 1 + skip);
            let Some(value) = value.filter(|value| out[*value] != '/') else {
                continue;
            };
            for c in out[value..]
                .iter_mut()
                .take_while(|c| !matches!(c, ',' | '}'))
            {
                *c = '*';
            }
        }
    }
    out.into_iter().collect()
}

/// The parser's words, less what only its own programmers can use.
fn syntax_problem(source: Source<'_>, error: &serde_saphyr::Error) -> Problems {
    let text = error.without_snippet().to_string();
    let plain = text.split(" at line ").next().unwrap_or_default();
    let plain = plain
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or_default();
    let (reason, fix) = if plain.contains("duplicate") {
        (
            format!("this is not valid YAML: {plain}"),
            "keep one of the two",
        )
    } else if plain.contains("budget") || plain.contains("limit") || plain.contains("alias") {
        (
            "the file exceeds a bound on depth, size or aliases".to_owned(),
            "write the values out without anchors, and nest less deeply",
        )
    } else {
        (
            format!("this is not valid YAML: {plain}"),
            "correct the YAML here: check indentation, quotes, and the colon followed by a space",
        )
    };
    let at = error.location().map(|at| place(&at)).unwrap_or_default();
    Problems::one(source.problem(at, reason, fix.to_owned()))
}

fn place(location: &Location) -> At {
    At {
        line: location.line(),
        column: location.column(),
        width: location.span().len().max(1),
    }
}

/// A node as the deserializer hands it over, before numbers get their written form back.
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

/// What is done with each node once its place is known.
trait Lift {
    fn lift(self, source: Source<'_>) -> Tree;
}

impl Lift for Spanned<Raw> {
    fn lift(self, source: Source<'_>) -> Tree {
        let at = place(&self.referenced);
        let value = match self.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value),
            Raw::Number(parsed) => {
                Value::Number(as_written(source, &self.defined).unwrap_or(parsed))
            }
            Raw::Text(text) => Value::Text(text),
            Raw::List(items) => {
                Value::List(items.into_iter().map(|item| item.lift(source)).collect())
            }
            Raw::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let key = Key {
                            at: place(&key.referenced),
                            text: key.value,
                        };
                        (key, value.lift(source))
                    })
                    .collect(),
            ),
        };
        Tree { at, value }
    }
}

/// The scalar as it stands in the file: `0623` is not `623` to a fence agent.
fn as_written(source: Source<'_>, location: &Location) -> Option<String> {
    let span = location.span();
    let from = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    let text = source.text.get(from..from.checked_add(len)?)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }
    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }
    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }
    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_without_the_secrets_in_it() {
        let rows = [
            ("    password: hunter2", "    password: *******"),
            (
                "{ ip: 1, \"passwd\": \"x y\", port: 2 }",
                "{ ip: 1, \"passwd\": *****, port: 2 }",
            ),
            (
                "secretFiles: { password: /etc/x }",
                "secretFiles: { password: /etc/x }",
            ),
            ("monkey: business", "monkey: business"),
            ("a: \u{1b}[31m", "a: \u{fffd}[31m"),
            ("password", "password"),
        ];
        for (line, shown) in rows {
            assert_eq!(masked(line), shown);
        }
    }

    #[test]
    fn a_problem_shows_the_line_that_yaml_counts() {
        // A carriage return alone breaks a line in YAML (found by fuzzing).
        for breaks in ["\n", "\r", "\r\n"] {
            let text = ["a: 1", "", "b: 2", "c: [3", ""].join(breaks);
            let source = Source {
                file: "f",
                text: &text,
            };
            let shown = |line| {
                let at = At {
                    line,
                    column: 1,
                    width: 1,
                };
                source.problem(at, String::new(), String::new()).excerpt
            };
            assert_eq!(
                [1, 2, 3, 4, 5, 6].map(shown),
                ["a: 1", "", "b: 2", "c: [3", "", ""]
            );
        }
    }
}
