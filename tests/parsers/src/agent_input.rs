//! What an agent of ours is told on stdin or argv, by Pacemaker, by haft or by a person.
//!
//! Beside the bytes a password is given that shows in no warning and no error; an action is never guessed.

use haft_fence_protocol::Action;
use haft_fence_protocol::agent::input::STDIN_MAX;
use haft_fence_protocol::agent::{AgentSpec, Input, InputError, read_argv, read_stdin};

use crate::script::keeps;

pub(crate) const CANARY: &str = "Zx9.stdin-canary.7q";

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    if String::from_utf8_lossy(bytes).contains(CANARY) {
        return;
    }
    for spec in [
        &haft_fence_ipmi::spec::AGENT,
        &haft_fence_pdu::spec::AGENT,
        &haft_fence_sbd::spec::AGENT,
    ] {
        stdin(spec, bytes);
        argv(spec, bytes);
    }
}

fn stdin(spec: &AgentSpec, bytes: &[u8]) {
    let told = [bytes, b"\npassword=", CANARY.as_bytes(), b"\n"].concat();
    match read_stdin(spec, &told) {
        Err(error) => {
            let text = std::str::from_utf8(bytes).is_ok();
            assert!(!text || told.len() > STDIN_MAX, "{error}");
        }
        Ok(input) => {
            judge(spec, &input);
            let named = told.split(|byte| *byte == b'\n').any(|line| {
                let line = String::from_utf8_lossy(line).trim().replace('-', "_");
                line.starts_with("action=") || line.starts_with("option=")
            });
            if !named && !told.contains(&b'\r') {
                assert!(input.action().is_err(), "an action was guessed");
            }
        }
    }
}

fn argv(spec: &AgentSpec, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut words: Vec<String> = text.split('\0').map(str::to_owned).collect();
    words.insert(0, format!("--password={CANARY}"));
    match read_argv(spec, &words) {
        Ok(input) => judge(spec, &input),
        Err(error) => keeps(CANARY, &[&error.to_string(), &format!("{error:?}")]),
    }
}

fn judge(spec: &AgentSpec, input: &Input) {
    assert!(input.warnings.len() <= 32);
    for warning in &input.warnings {
        keeps(CANARY, &[warning]);
        assert!(!warning.chars().any(char::is_control), "{warning:?}");
    }
    if let Ok(action) = input.action() {
        assert_eq!(Action::parse(action.name()), Ok(action));
    }
    if names_a_file(spec, input) {
        return;
    }
    let (ipmi, pdu, sbd) = (
        haft_fence_ipmi::settings::Settings::read(input),
        haft_fence_pdu::settings::Settings::read(input),
        haft_fence_sbd::settings::Settings::read(input, Action::Off),
    );
    let errors = [
        ipmi.err().map(|error| format!("{error} {error:?}")),
        pdu.err().map(|error| format!("{error} {error:?}")),
        sbd.err().map(|error| format!("{error} {error:?}")),
    ];
    for error in errors.into_iter().flatten() {
        keeps(CANARY, &[&error]);
    }
    let _: Result<bool, InputError> = input.flag("verbose");
}

/// Whether reading the settings would open a file or start a program.
pub(crate) fn names_a_file(spec: &AgentSpec, input: &Input) -> bool {
    spec.options.iter().any(|option| {
        let names = option.name.ends_with("_file") || option.name.ends_with("_script");
        names && input.text(option.name).is_some()
    })
}
