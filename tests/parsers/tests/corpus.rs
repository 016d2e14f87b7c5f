//! The committed inputs of `fuzz/corpus` and the seeds, tried again without libFuzzer.
//!
//! It searches nothing new: `make fuzz` does.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

use haft_parsers::{TARGETS, Target, seeds};
use std::fs;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn inputs(target: Target) -> Vec<PathBuf> {
    let folder = corpus().join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Tries an input and says which one it was when a property does not hold.
fn tried(target: Target, from: &str, bytes: &[u8]) {
    let outcome = std::panic::catch_unwind(|| (target.run)(bytes));
    assert!(outcome.is_ok(), "{} fails on {from}", target.name);
}

#[test]
fn every_committed_input_keeps_its_properties() {
    for target in TARGETS {
        let inputs = inputs(target);
        assert!(inputs.len() >= 5, "{} has a corpus", target.name);
        for path in inputs {
            let bytes = fs::read(&path).unwrap();
            assert!(bytes.len() <= target.longest, "{path:?} is too long");
            tried(target, &path.display().to_string(), &bytes);
        }
    }
}

#[test]
fn every_seed_and_every_beginning_of_it_keeps_its_properties() {
    for target in TARGETS {
        let seeds = seeds::of(target.name);
        assert!(!seeds.is_empty(), "{} has seeds", target.name);
        for (number, seed) in seeds.iter().enumerate() {
            // Each beginning is what a peer that stops talking leaves; long texts in larger steps.
            let step = (seed.len() / 16).max(1);
            for end in (0..seed.len()).step_by(step).chain([seed.len()]) {
                let from = format!("the first {end} bytes of seed {number}");
                tried(target, &from, &seed[..end]);
            }
        }
    }
}

#[test]
fn every_folder_of_the_corpus_belongs_to_a_target_and_all_of_it_is_small() {
    let mut total = 0;
    for entry in fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let target = haft_parsers::find(&name).unwrap_or_else(|| panic!("no target '{name}'"));
        let sizes = inputs(target)
            .into_iter()
            .map(|path| fs::metadata(path).unwrap().len());
        total += sizes.sum::<u64>();
    }
    assert!(total < 1 << 20, "the corpus has {total} bytes");
}
