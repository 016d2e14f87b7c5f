//! Pass phrases that are not sent as they are: from a file, or from a program's output.
//!
//! A file must be closed to others; a program is run without a shell and without arguments, and its time is
//! bounded. Nothing here prints, and nothing read is kept beyond the [`Secret`].

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Secret;
use crate::agent::Input;

/// Time for a program. The contract gives logins five seconds.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The options that a pass phrase may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The option that holds it.
    pub plain: &'static str,
    /// The option that names a file whose first line it is.
    pub file: &'static str,
    /// The option that names a program that prints it.
    pub script: &'static str,
}

/// Why there is no pass phrase. No message holds it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PasswordError {
    /// Several sources.
    #[error("give only one of {}, {} and {}", .0.plain, .0.file, .0.script)]
    Several(Sources),
    /// A file or program that cannot be used.
    #[error("{option} {path} cannot be used: {why}")]
    Unusable {
        /// The option.
        option: &'static str,
        /// The file or program.
        path: String,
        /// For people.
        why: String,
    },
}

/// The pass phrase, from whichever option holds or names it; none when none does.
///
/// # Errors
/// See [`PasswordError`].
pub fn read(input: &Input, sources: Sources) -> Result<Option<Secret>, PasswordError> {
    let given = (
        input.secret(sources.plain),
        input.text(sources.file),
        input.text(sources.script),
    );
    let unusable = |option, path: &str, why| PasswordError::Unusable {
        option,
        path: path.to_owned(),
        why,
    };
    match given {
        (None, None, None) => Ok(None),
        (Some(secret), None, None) => Ok(Some(secret)),
        (None, Some(path), None) => from_file(path)
            .map(Some)
            .map_err(|why| unusable(sources.file, path, why)),
        (None, None, Some(path)) => from_script(path)
            .map(Some)
            .map_err(|why| unusable(sources.script, path, why)),
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            Err(PasswordError::Several(sources))
        }
    }
}

fn from_file(path: &str) -> Result<Secret, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mode = file
        .metadata()
        .map_err(|error| error.to_string())?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "it is open to others (mode {:o}); chmod 600 it",
            mode & 0o7777
        ));
    }
    first_line(file)
}

/// When the program hangs, this process ends and leaves it to whoever killed or waited for us.
fn from_script(path: &str) -> Result<Secret, String> {
    let (tell, hear) = mpsc::sync_channel(1);
    let program = path.to_owned();
    std::thread::spawn(move || {
        let _ = tell.send(run_script(&program));
    });
    hear.recv_timeout(SCRIPT_TIMEOUT)
        .unwrap_or_else(|_| Err("it takes too long".to_owned()))
}

fn run_script(program: &str) -> Result<Secret, String> {
    let mut output = Command::new(program)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let answer = if output.status.success() {
        first_line(output.stdout.as_slice())
    } else {
        Err(format!("it ended with {}", output.status))
    };
    output.stdout.zeroize();
    answer
}

fn first_line(source: impl std::io::Read) -> Result<Secret, String> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    source
        .take(4096)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line.to_owned())),
        Some(_) | None => Err("its first line is empty".to_owned()),
    }
}
