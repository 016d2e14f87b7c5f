//! Reads trees into values and collects every problem on the way.
//!
//! Knows no schema: the callers name the keys. A reader that has found a problem still returns what could
//! be read, so that the next problem is found too; the caller asks [`Reader::finish`] at the end.

use crate::names::{NAME_RULE, fault_in_name, nearest};
use crate::problem::{Problem, Problems};
use crate::yaml::{At, Key, Source, Tree, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Most problems told of one file: a file of another kind has one at each of its thousands of lines, nobody reads
/// them, and each costs a walk to its line.
const PROBLEMS_MAX: usize = 100;

/// Collects problems while trees are read.
pub(crate) struct Reader<'a> {
    source: Source<'a>,
    found: Vec<Problem>,
}

/// A map whose keys have been checked.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'t> {
    /// Where the map begins.
    pub(crate) at: At,
    entries: &'t [(Key, Tree)],
}

impl<'t> Fields<'t> {
    /// The value under this key; a key without a value counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&'t Tree> {
        self.entries
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(_, value)| value)
            .filter(|tree| !matches!(tree.value, Value::Null))
    }

    /// Where this key stands, or where the map begins.
    pub(crate) fn place(&self, name: &str) -> At {
        self.entries
            .iter()
            .find(|(key, _)| key.text == name)
            .map_or(self.at, |(key, _)| key.at)
    }

    /// Every key with its value.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &'t (Key, Tree)> {
        self.entries.iter()
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            found: Vec::new(),
        }
    }

    /// Notes a problem; beyond [`PROBLEMS_MAX`] only that there are more.
    pub(crate) fn refuse(&mut self, at: At, reason: impl Into<String>, fix: impl Into<String>) {
        if self.is_full() {
            return;
        }
        if self.found.len() + 1 == PROBLEMS_MAX {
            let problem = self.source.problem(
                at,
                "more is wrong with this file than is told here".to_owned(),
                "correct what is told and check again; is it the file that you meant?".to_owned(),
            );
            self.found.push(problem);
            return;
        }
        let problem = self.source.problem(at, reason.into(), fix.into());
        self.found.push(problem);
    }

    fn is_full(&self) -> bool {
        self.found.len() >= PROBLEMS_MAX
    }

    /// The source that is read.
    pub(crate) fn source(&self) -> Source<'a> {
        self.source
    }

    /// `value` if nothing was refused and it could be built.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        Problems::or_ok(self.found)?;
        Ok(value.expect("a value that could not be built has left a problem"))
    }

    fn wrong_kind(&mut self, tree: &Tree, what: &str, wanted: &str, example: &str) {
        self.refuse(
            tree.at,
            format!("{what} must be {wanted}, but here is {}", tree.value.noun()),
            example.to_owned(),
        );
    }

    /// A map with no other keys than the known ones.
    pub(crate) fn map<'t>(
        &mut self,
        tree: &'t Tree,
        what: &str,
        known: &[&str],
    ) -> Option<Fields<'t>> {
        let fields = self.open_map(tree, what)?;
        for (key, _) in fields.entries {
            if known.contains(&key.text.as_str()) {
                continue;
            }
            if self.is_full() {
                break;
            }
            let fix = match nearest(&key.text, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("remove it; {what} knows {}", known.join(", ")),
            };
            self.refuse(key.at, format!("{what} has no key `{}`", key.text), fix);
        }
        Some(fields)
    }

    /// A map with free keys.
    pub(crate) fn open_map<'t>(&mut self, tree: &'t Tree, what: &str) -> Option<Fields<'t>> {
        match &tree.value {
            Value::Map(entries) => Some(Fields {
                at: tree.at,
                entries,
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                self.wrong_kind(
                    tree,
                    what,
                    "a map of keys to values",
                    "write `key: value` lines below it",
                );
                None
            }
        }
    }

    /// The value under a key that must be there.
    pub(crate) fn required<'t>(
        &mut self,
        fields: Fields<'t>,
        name: &str,
        what: &str,
        example: &str,
    ) -> Option<&'t Tree> {
        let value = fields.get(name);
        if value.is_some() || self.is_full() {
            return value;
        }
        // A key that was meant to be this one has been refused already.
        let misspelt = fields
            .entries()
            .any(|(key, _)| key.text != name && nearest(&key.text, [name]).is_some());
        if !misspelt {
            self.refuse(
                fields.place(name),
                format!("{what} needs `{name}`"),
                format!("add `{name}: {example}`"),
            );
        }
        value
    }

    /// A list.
    pub(crate) fn list<'t>(
        &mut self,
        tree: &'t Tree,
        what: &str,
        example: &str,
    ) -> Option<&'t [Tree]> {
        match &tree.value {
            Value::List(items) => Some(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
                self.wrong_kind(tree, what, "a list", &format!("write it as {example}"));
                None
            }
        }
    }

    /// Text; a number counts as the text it is written as.
    pub(crate) fn text<'t>(&mut self, tree: &'t Tree, what: &str) -> Option<&'t str> {
        match &tree.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                self.wrong_kind(
                    tree,
                    what,
                    "text",
                    "put the text here, in quotes if YAML reads it otherwise",
                );
                None
            }
        }
    }

    /// True or false.
    pub(crate) fn flag(&mut self, tree: &Tree, what: &str) -> Option<bool> {
        match &tree.value {
            Value::Bool(value) => Some(*value),
            Value::Null | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.wrong_kind(
                    tree,
                    what,
                    "true or false",
                    "write `true` or `false`, without quotes",
                );
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(
        &mut self,
        tree: &Tree,
        what: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let parsed = match &tree.value {
            Value::Number(text) => text.parse::<u64>().ok(),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
        };
        let accepted = parsed.filter(|value| range.contains(value));
        if accepted.is_none() {
            self.refuse(
                tree.at,
                format!(
                    "{what} must be a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
                "write a whole number within these bounds, without quotes or unit",
            );
        }
        accepted
    }

    /// A name by the rule of [`crate::names`].
    pub(crate) fn name(&mut self, tree: &Tree, what: &str) -> Option<String> {
        let text = self.text(tree, what)?;
        match fault_in_name(text) {
            None => Some(text.to_owned()),
            Some(fault) => {
                self.refuse(
                    tree.at,
                    format!("`{text}` is no name for {what}: {fault}"),
                    NAME_RULE,
                );
                None
            }
        }
    }

    /// An IPv4 or IPv6 address without a prefix length, of one machine.
    pub(crate) fn address(&mut self, tree: &Tree, what: &str) -> Option<IpAddr> {
        let text = self.text(tree, what)?;
        let address = match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => {
                let fix = match text.split_once('/') {
                    Some((bare, _)) if bare.parse::<IpAddr>().is_ok() => {
                        format!("leave the prefix length out: `{bare}`")
                    }
                    Some(_) | None => {
                        "write an IPv4 or IPv6 address, such as 10.77.1.1 or fd00::1; \
                                       names are not resolved, so that no failover waits for DNS"
                            .to_owned()
                    }
                };
                self.refuse(tree.at, format!("`{text}` is no address for {what}"), fix);
                return None;
            }
        };
        let fault = match address {
            IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("is an IPv4-mapped address"),
            IpAddr::V4(_) | IpAddr::V6(_) if address.is_unspecified() => {
                Some("is the unspecified address")
            }
            IpAddr::V4(_) | IpAddr::V6(_) if address.is_multicast() => {
                Some("is a multicast address")
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        if let Some(fault) = fault {
            self.refuse(
                tree.at,
                format!("`{text}` {fault}, which {what} cannot have"),
                "write the address of one machine",
            );
            return None;
        }
        Some(address)
    }

    /// One of the known words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        tree: &Tree,
        what: &str,
        known: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(tree, what)?;
        if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let fix = match nearest(text, words.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("write one of: {}", words.join(", ")),
        };
        self.refuse(tree.at, format!("{what} cannot be `{text}`"), fix);
        None
    }

    /// A span such as `800ms`, `2s`, `1.5s`, `5m` or `1h`.
    pub(crate) fn span(&mut self, tree: &Tree, what: &str) -> Option<Duration> {
        let parsed = match &tree.value {
            Value::Text(text) => parse_span(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                None
            }
        };
        if parsed.is_none() {
            self.refuse(
                tree.at,
                format!("{what} must be a span of time with its unit"),
                "write it as 800ms, 2s, 1.5s, 5m or 1h",
            );
        }
        parsed
    }

    /// A map of text to text.
    pub(crate) fn texts(
        &mut self,
        tree: &Tree,
        what: &str,
    ) -> Option<BTreeMap<String, (At, String)>> {
        let fields = self.open_map(tree, what)?;
        let mut out = BTreeMap::new();
        for (key, value) in fields.entries() {
            if let Some(text) = self.text(value, &format!("`{}` of {what}", key.text)) {
                out.insert(key.text.clone(), (key.at, text.to_owned()));
            }
        }
        Some(out)
    }
}

/// Reads a span as people write it: `800ms`, `2s`, `1.5s`, `5m`, `1h`. To the millisecond, at most a thousand
/// hours; `None` for anything else, also for a number without its unit.
pub fn parse_span(text: &str) -> Option<Duration> {
    let cut = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (digits, unit) = text.split_at(cut);
    let unit_ms: u64 = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > 3 || (digits.contains('.') && fraction.is_empty()) {
        return None;
    }
    let whole_ms = whole.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    let thousandths = format!("{fraction:0<3}").parse::<u64>().ok()?;
    let total = whole_ms.checked_add(thousandths.checked_mul(unit_ms)? / 1_000)?;
    (total <= 3_600_000_000).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_needs_its_unit_and_keeps_milliseconds() {
        let rows = [
            ("800ms", Some(800)),
            ("2s", Some(2_000)),
            ("1.5s", Some(1_500)),
            ("1.234s", Some(1_234)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("2", None),
            ("s", None),
            (".5s", None),
            ("1.s", None),
            ("-1s", None),
            ("1.2345s", None),
            ("99999999999999999999s", None),
            ("5 weeks", None),
        ];
        for (text, millis) in rows {
            assert_eq!(
                parse_span(text),
                millis.map(Duration::from_millis),
                "{text}"
            );
        }
    }
}
