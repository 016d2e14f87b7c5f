//! Data on stdout: aligned columns, JSON, YAML or names.
//!
//! Knows no object; commands hand over rows and values. Talk goes to stderr through [`note`].

use crate::cli::Form;
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) form: Form,
    pub(crate) headers: Headers,
}

/// Whether tables begin with a line of headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Headers {
    Shown,
    Hidden,
}

/// Writes text to stdout; a closed pipe ends the program quietly, as `head` expects.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// Talk, on stderr. A closed stderr leaves nobody to tell.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Puts the severity in colour on a terminal that wants it; the word itself always says it.
pub(crate) fn note_severe(text: &str) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
        || !std::io::stderr().is_terminal();
    match text.split_once(':') {
        Some((head, rest)) if !plain => note(&format!("\x1b[1;31m{head}\x1b[0m:{rest}")),
        Some(_) | None => note(text),
    }
}

/// Aligned columns, two spaces apart; the last column is not padded.
pub(crate) fn columns(headers: &[&str], rows: &[Vec<String>], shown: Headers) -> String {
    let mut lines: Vec<Vec<&str>> = Vec::new();
    if shown == Headers::Shown {
        lines.push(headers.to_vec());
    }
    lines.extend(rows.iter().map(|row| {
        row.iter()
            .map(|cell| if cell.is_empty() { "-" } else { cell.as_str() })
            .collect()
    }));
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..headers.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// Pretty JSON with a line break at its end.
pub(crate) fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// YAML of one value.
pub(crate) fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("a JSON value has no form that YAML lacks")
}

/// One YAML document per value.
pub(crate) fn yaml_documents(values: &[Value]) -> String {
    let documents: Vec<String> = values.iter().map(yaml).collect();
    documents.join("---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_an_empty_cell_is_a_dash() {
        let rows = vec![
            vec!["web".to_owned(), String::new()],
            vec!["database".to_owned(), "n1".to_owned()],
        ];
        assert_eq!(
            columns(&["NAME", "OWNER"], &rows, Headers::Shown),
            "NAME      OWNER\nweb       -\ndatabase  n1\n"
        );
        assert_eq!(
            columns(&["NAME", "OWNER"], &rows, Headers::Hidden),
            "web       -\ndatabase  n1\n"
        );
    }

    #[test]
    fn text_that_yaml_would_read_as_something_else_is_quoted() {
        let value = serde_json::json!({"token": "0.34", "plug": "", "answer": "no", "labels": {}, "list": []});
        let text = yaml(&value);
        let again: std::collections::BTreeMap<String, Value> =
            serde_saphyr::from_str(&text).unwrap();
        assert_eq!(serde_json::to_value(again).unwrap(), value, "{text}");
    }
}
