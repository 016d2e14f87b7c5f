//! Running the machine's own tools (`ip`, `nft`, `nsenter`) and waiting for states.
//!
//! Arguments are never passed through a shell.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Pid;

/// Runs a program to its end and returns its stdout.
///
/// # Errors
/// It cannot be started, or exits with another code than 0; the message holds what it said.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = run_any(command, "")?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}: {}{}",
            output.status,
            text(&output.stderr),
            text(&output.stdout)
        );
    }
    Ok(text(&output.stdout))
}

/// Runs a program with `input` on its stdin and returns how it ended, well or badly.
///
/// # Errors
/// It cannot be started.
pub fn run_any(command: &mut Command, input: &str) -> anyhow::Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why by its exit code.
        let _unread = stdin.write_all(input.as_bytes());
    }
    Ok(child.wait_with_output()?)
}

/// Runs a program with `input` on its stdin.
///
/// # Errors
/// As [`run`].
pub fn feed(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let output = run_any(command, input)?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}: {}\non input:\n{input}",
            output.status,
            text(&output.stderr)
        );
    }
    Ok(text(&output.stdout))
}

/// Bytes as text, with replacement characters where they are none.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `ip -batch`, in this network namespace.
///
/// # Errors
/// As [`feed`].
pub fn ip(lines: &str) -> anyhow::Result<()> {
    feed(Command::new("ip").args(["-batch", "-"]), lines).map(drop)
}

/// Which of a process's namespaces a command is to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enter {
    /// All of them: the command runs on that machine.
    Machine,
    /// The network only: the command sees the lab's own files and processes.
    Network,
}

/// A command inside the namespaces of the process `pid`.
#[must_use]
pub fn inside(pid: Pid, enter: Enter, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--target={}", pid.as_raw_nonzero()));
    match enter {
        Enter::Machine => command.args(["--mount", "--uts", "--ipc", "--net", "--pid"]),
        Enter::Network => command.arg("--net"),
    };
    command.args(["--", program]);
    command
}

/// Asks until the answer is there or the time is over.
///
/// # Errors
/// The deadline passed; the message names what was waited for and the last error.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    let mut last = None;
    loop {
        match ask() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if Instant::now() >= end {
            let detail = last.map_or_else(String::new, |e| format!(": {e:#}"));
            bail!("waited {limit:?} in vain for {what}{detail}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The first of these directories on which a program of that name lies.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}
