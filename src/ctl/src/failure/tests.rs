//! Every failure has an exit code of its own and a fix, whoever refused.

use super::*;

const ALL: [Exit; 11] = [
    Exit::Failed,
    Exit::Usage,
    Exit::NotFound,
    Exit::Conflict,
    Exit::Denied,
    Exit::NoQuorum,
    Exit::Unsafe,
    Exit::Timeout,
    Exit::Unreachable,
    Exit::OutcomeUnknown,
    Exit::Interrupted,
];

#[test]
fn every_failure_has_a_fix_whoever_refused() {
    for exit in ALL {
        let failure = Failure::new(exit, "Some", "something", "");
        assert!(failure.to_string().contains("\n  fix: "), "{failure}");
        assert!(!failure.fix.trim().is_empty() && !failure.fix.ends_with('.'));
    }
    let codes: std::collections::BTreeSet<u8> = ALL.iter().map(|exit| exit.code()).collect();
    assert_eq!(codes.len(), ALL.len(), "each its own number");
}

#[test]
fn a_status_without_a_fix_gets_that_of_its_exit_code() {
    for code in 1..=16 {
        let code = Code::from_i32(code);
        let failure = Failure::refused(&Status::new(code, ""));
        assert_eq!(failure.fix, failure.exit.remedy(), "{code:?}");
        assert_eq!(failure.reason, format!("{code:?}"));
    }
    let said = haft_api::status::status(Code::Aborted, "Some", "what", "do this");
    assert_eq!(Failure::refused(&said).fix, "do this");
}
