//! Searching for secrets: in any bytes, in every form that a program may give them by accident.
//!
//! A secret is found plain, in hexadecimal, in base64 at each of its three alignments, as a list of numbers as
//! `Debug` prints bytes, as UTF-16, and with escapes, colons or line breaks between its bytes. It is not found when
//! it has been compressed or encrypted: who searches there must unpack first.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Shorter secrets would be found by chance.
const LENGTH_MIN: usize = 12;

/// What to search for.
pub struct Search {
    /// What it is and in which form, and its bytes.
    forms: Vec<(String, Vec<u8>)>,
    /// The forms that begin with two bytes, by these two.
    beginnings: Vec<Vec<usize>>,
}

impl Search {
    /// A search for these secrets, each with a name to be told in findings.
    ///
    /// # Panics
    /// When one is too short to be told from chance.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut search = Self {
            forms: Vec::new(),
            beginnings: vec![Vec::new(); 1 << 16],
        };
        for (name, secret) in secrets {
            assert!(secret.len() >= LENGTH_MIN, "{name} is too short");
            for (form, bytes) in forms(secret) {
                search.beginnings[beginning(&bytes)].push(search.forms.len());
                search.forms.push((format!("{name} ({form})"), bytes));
            }
        }
        search
    }

    /// What was found, by name and form.
    pub fn find(&self, bytes: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for variant in [bytes, &separated(bytes), &joined(bytes)] {
            let mut last = variant.first().map_or(0, |byte| usize::from(*byte));
            for (at, byte) in variant.iter().enumerate().skip(1) {
                last = (last << 8 | usize::from(*byte)) & 0xFFFF;
                for form in &self.beginnings[last] {
                    let (name, wanted) = &self.forms[*form];
                    if variant[at - 1..].starts_with(wanted) {
                        found.insert(name.clone());
                    }
                }
            }
        }
        found
    }

    /// What was found in the files below a folder, and in their names.
    ///
    /// # Panics
    /// When one cannot be read.
    pub fn find_below(&self, folder: &Path) -> BTreeMap<PathBuf, BTreeSet<String>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(self.find_below(&path));
            } else if path.is_file() {
                let mut here = self.find(&fs::read(&path).unwrap());
                here.extend(self.find(path.to_string_lossy().as_bytes()));
                if !here.is_empty() {
                    found.insert(path, here);
                }
            }
        }
        found
    }

    /// Looks at every process of this machine once: its arguments and its environment.
    pub fn find_in_processes(&self, sightings: &mut Sightings) {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let read = |what: &str| fs::read(entry.path().join(what)).unwrap_or_default();
            let (line, environment) = (read("cmdline"), read("environ"));
            let text = String::from_utf8_lossy(&line).replace('\0', " ");
            if let Some(limit) = core_limit(&entry.path()) {
                sightings.core_limits.insert(pid, (text.clone(), limit));
            }
            let texts = (line.clone(), environment.clone());
            if sightings.last.get(&pid) == Some(&texts) {
                continue;
            }
            sightings.last.insert(pid, texts);
            for (what, bytes) in [("arguments", &line), ("environment", &environment)] {
                for found in self.find(bytes) {
                    sightings
                        .leaks
                        .insert(format!("{found} in {what} of {pid}"));
                }
            }
            if !line.is_empty() && !environment.is_empty() {
                sightings.seen.insert(text);
            }
        }
    }
}

/// What the looks at processes gave.
#[derive(Default)]
pub struct Sightings {
    /// Command lines of processes of which both arguments and environment were read.
    pub seen: BTreeSet<String>,
    /// What was found, and where.
    pub leaks: BTreeSet<String>,
    /// What each process had when it was last looked at: the same is not searched again.
    last: BTreeMap<u32, (Vec<u8>, Vec<u8>)>,
    /// The command line of each process, and its limits on core files at the last look: a process that has just
    /// begun still has those of whoever started it.
    pub core_limits: BTreeMap<u32, (String, String)>,
}

/// The soft and hard limit on core files of a process, as the kernel prints them.
fn core_limit(process: &Path) -> Option<String> {
    let limits = fs::read_to_string(process.join("limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))?;
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    Some(words.join(" "))
}

fn beginning(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut hex = String::new();
    let mut numbers = String::new();
    for byte in secret {
        write!(hex, "{byte:02x}").expect("a String accepts every write");
        write!(numbers, "{byte},").expect("a String accepts every write");
    }
    numbers.pop();
    let mut forms = vec![
        ("plain", secret.to_vec()),
        ("hexadecimal", hex.clone().into_bytes()),
        ("hexadecimal", hex.to_uppercase().into_bytes()),
        ("numbers", numbers.into_bytes()),
        (
            "utf-16",
            secret.iter().flat_map(|byte| [*byte, 0]).collect(),
        ),
    ];
    for before in 0..3 {
        let shifted = [&vec![0; before][..], secret].concat();
        // Characters of the secret's bits alone: not those that it shares with a neighbour.
        let from = (before * 8).div_ceil(6);
        let to = shifted.len() * 8 / 6;
        for text in [
            STANDARD_NO_PAD.encode(&shifted),
            URL_SAFE_NO_PAD.encode(&shifted),
        ] {
            forms.push(("base64", text.as_bytes()[from..to].to_vec()));
        }
    }
    forms
}

/// With one comma for each run of blanks, line breaks and commas: lists of numbers in one form.
fn separated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                if out.last() != Some(&b',') {
                    out.push(b',');
                }
            }
            other => out.push(*other),
        }
    }
    out
}

/// Without blanks, separators and the marks of escapes: hexadecimal and base64 in one piece.
fn joined(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = matches!((byte, bytes.get(at + 1)), (b'\\' | b'0', Some(b'x')));
        match byte {
            _ if escape => at += 1,
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' | b'%' => {}
            other => out.push(*other),
        }
        at += 1;
    }
    out
}
