//! What every agent does the same way at its edges: read argv or stdin, answer what concerns no device, warn, print.
//!
//! Knows no device and no option but those of the contract.

use std::io::{BufRead, Read as _, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;

use super::input::STDIN_MAX;
use super::report::{AWAIT_WORD, AWAITS_WORD, FIRST_OFF_READ, WORD};
use super::{AgentSpec, Input, InputError, Report, metadata, read_argv, read_stdin};
use crate::Action;

/// How much goes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// Only the reason of a failure.
    Quiet,
    /// Warnings, too.
    Normal,
    /// Every step.
    Verbose,
}

/// How much the caller wants to hear; `verbose` wins over `quiet`.
///
/// # Errors
/// A flag that is no boolean.
pub fn talk(input: &Input) -> Result<Talk, InputError> {
    Ok(match (input.flag("verbose")?, input.flag("quiet")?) {
        (true, _) => Talk::Verbose,
        (false, true) => Talk::Quiet,
        (false, false) => Talk::Normal,
    })
}

/// The words on the command line, without the program's own name.
#[must_use]
pub fn arguments() -> Vec<String> {
    std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// Standard input to its end, or to the line that says that a word follows, if there are no arguments: then it holds the
/// parameters.
///
/// # Errors
/// It cannot be read.
pub fn parameters(arguments: &[String]) -> Result<Vec<u8>, InputError> {
    if arguments.is_empty() {
        read_parameters(&mut stdin().lock())
    } else {
        Ok(Vec::new())
    }
}

fn read_parameters(from: &mut impl BufRead) -> Result<Vec<u8>, InputError> {
    let last = format!("action={AWAIT_WORD}\n");
    let mut bytes = Vec::new();
    // One byte more than allowed, so that too much is noticed and not cut.
    while bytes.len() <= STDIN_MAX {
        let (before, room) = (bytes.len(), STDIN_MAX + 1 - bytes.len());
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let read = from.by_ref().take(room).read_until(b'\n', &mut bytes);
        let count = read.map_err(|_| InputError::NotText)?;
        if count == 0 || bytes[before..] == *last.as_bytes() {
            break;
        }
    }
    Ok(bytes)
}

/// The input, from the arguments if there are any, else from what standard input held.
///
/// # Errors
/// See [`InputError`].
pub fn input(
    agent: &'static AgentSpec,
    arguments: &[String],
    bytes: &[u8],
) -> Result<Input, InputError> {
    if arguments.is_empty() {
        read_stdin(agent, bytes)
    } else {
        read_argv(agent, arguments)
    }
}

/// The action that concerns the device; or the whole answer, where none does (help, version, metadata) or none is named.
///
/// # Errors
/// That answer.
pub fn action(agent: &AgentSpec, input: &Input) -> Result<Action, Report> {
    if input.flag("help") == Ok(true) {
        return Err(Report::text(metadata::help(agent)));
    }
    if input.flag("version") == Ok(true) {
        // All packages of the workspace have one version.
        let version = env!("CARGO_PKG_VERSION");
        return Err(Report::text(format!("{} {version}\n", agent.name)));
    }
    match input.action() {
        Ok(Action::Metadata) => Err(Report::text(metadata::xml(agent))),
        Ok(action) => Ok(action),
        Err(error) => Err(Report::failed(&error.to_string())),
    }
}

/// The report with the input's warnings before its own words, unless the caller wants quiet. Pacemaker sends
/// parameters of its own making and a hundred configurations carry stale ones.
#[must_use]
pub fn warned(input: &Input, mut report: Report) -> Report {
    if talk(input) == Ok(Talk::Quiet) {
        return report;
    }
    let warnings = input.warnings.iter().map(|line| format!("WARNING: {line}"));
    report.stderr = lines(warnings.collect(), std::mem::take(&mut report.stderr));
    report
}

/// Lines and, if there is one, a last one.
#[must_use]
pub fn lines(mut first: Vec<String>, last: String) -> String {
    if !last.is_empty() {
        first.push(last);
    }
    first.join("\n")
}

/// Says [`FIRST_OFF_READ`] now.
pub fn say_first_off_read() {
    // A closed pipe at the other end changes nothing about what was done to the machine.
    let _ = writeln!(stdout(), "{FIRST_OFF_READ}");
    let _ = stdout().flush();
}

/// Says [`AWAITS_WORD`] now.
pub fn say_awaits_word() {
    let _ = writeln!(stdout(), "{AWAITS_WORD}");
    let _ = stdout().flush();
}

/// Waits for [`WORD`]. Whoever gives it sees to it that this ends.
#[must_use]
pub fn await_word() -> Told {
    hear_word(&mut stdin().lock())
}

/// What has come instead of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The word.
    Go,
    /// Nothing, or something else.
    Nothing,
}

fn hear_word(from: &mut impl BufRead) -> Told {
    let mut line = Vec::new();
    // With its newline: a word that was cut is none.
    let room = u64::try_from(WORD.len() + 1).unwrap_or(u64::MAX);
    let read = from.take(room).read_until(b'\n', &mut line);
    match read {
        Ok(_) if line.strip_suffix(b"\n") == Some(WORD.as_bytes()) => Told::Go,
        Ok(_) | Err(_) => Told::Nothing,
    }
}

/// Prints a report; the process's exit code.
#[must_use]
pub fn finish(report: &Report) -> ExitCode {
    // A closed pipe at the other end changes nothing about what was done to the machine.
    let _ = stdout().write_all(report.stdout.as_bytes());
    let _ = stdout().flush();
    if !report.stderr.is_empty() {
        let _ = writeln!(stderr(), "{}", report.stderr);
    }
    ExitCode::from(report.exit)
}

/// A whole agent in one process: reads the input, runs it, prints the report.
pub fn serve(agent: &'static AgentSpec, run: impl FnOnce(&Input) -> Report) -> ExitCode {
    super::forbid_core_dumps();
    let arguments = arguments();
    let input = parameters(&arguments).and_then(|bytes| input(agent, &arguments, &bytes));
    finish(&match input {
        Ok(input) => run(&input),
        Err(error) => Report::failed(&error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_end_where_a_word_is_to_follow_and_nowhere_else() {
        let last = "ip=h\naction=await-word\n";
        let rows = [
            (last, "go\n", Told::Go),
            (last, "", Told::Nothing),
            (last, "go", Told::Nothing),
            (last, "gone\n", Told::Nothing),
            ("ip=h\naction=off\ngo\n", "", Told::Nothing),
            ("ip=h\nxaction=await-word\ngo\n", "", Told::Nothing),
            ("ip=h\naction=await-word", "", Told::Nothing),
        ];
        for (parameters, word, told) in rows {
            let sent = format!("{parameters}{word}");
            let mut from = sent.as_bytes();
            let read = read_parameters(&mut from);
            assert_eq!(read, Ok(parameters.as_bytes().to_vec()), "{sent}");
            assert_eq!(hear_word(&mut from), told, "{sent}");
        }
    }

    #[test]
    fn too_much_is_noticed_and_not_read_for_ever() {
        for endless in [vec![b'a'; 3 * STDIN_MAX], b"a=b\n".repeat(STDIN_MAX)] {
            let read = read_parameters(&mut endless.as_slice());
            assert_eq!(read.map(|bytes| bytes.len()), Ok(STDIN_MAX + 1));
        }
    }
}
