//! libFuzzer's entry: hands each input to the target that HAFT_FUZZ_TARGET names.
//!
//! The properties are in haft-parsers, which the suite `corpus` tries without libFuzzer.

#![no_main]

use std::sync::OnceLock;

static TARGET: OnceLock<haft_parsers::Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("HAFT_FUZZ_TARGET").unwrap_or_default();
        let target = haft_parsers::find(&name).expect("HAFT_FUZZ_TARGET names a target");
        let _ = TARGET.set(target);
    },
    |bytes: &[u8]| {
        let target = TARGET.get().expect("set before the first input");
        (target.run)(bytes);
    }
);
