//! How an agent ends: exit code, the line on stdout, the line on stderr.
//!
//! The words are those of the field's library (fence-agents lib/fencing.py), because people grep for
//! them and Pacemaker guesses the kind of an error from stderr ("timed out", "unrecognised action").

/// Exit code for success, and for `status` when the power is on.
pub const EXIT_DONE: u8 = 0;
/// Exit code for every failure, and for `status` when the state is not known.
pub const EXIT_FAILED: u8 = 1;
/// Exit code of `status` when the power is off.
pub const EXIT_OFF: u8 = 2;

/// The end of an agent's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Text for stdout, complete with newlines.
    pub stdout: String,
    /// Text for stderr, one line without newline; empty for none.
    pub stderr: String,
    /// The exit code.
    pub exit: u8,
}

/// The option that makes an agent of haft's say [`FIRST_OFF_READ`]; without it stdout is what the field expects.
pub const FIRST_OFF_READ_OPTION: &str = "say_first_off_read";

/// What it then says on stdout, as a line of its own and at once, when the first of the two reads that prove
/// off has said off; again if a read of "on" made it begin anew. The caller has the machine itself asked meanwhile.
pub const FIRST_OFF_READ: &str = "First read: OFF";

/// The action that has `fence_haft_ipmi` get ready for an off and then await the caller's word; the last line of the
/// parameters on stdin, which goes on after it. A name that no other agent has, nor an older one of haft's, and that
/// holds none of the contract's: those refuse it, where an option that they did not know would have them switch off at
/// once.
pub const AWAIT_WORD: &str = "await-word";

/// What it says on stdout, as a line of its own, as soon as it has understood that. Until the word it changes nothing.
pub const AWAITS_WORD: &str = "Awaiting the word";

/// The word, as a line of its own on stdin. The end of stdin, or anything else, means that there is nothing to be done.
pub const WORD: &str = "go";

impl Report {
    /// `Success: …` on stdout, exit 0.
    pub fn success(what: &str) -> Self {
        Self {
            stdout: format!("Success: {what}\n"),
            stderr: String::new(),
            exit: EXIT_DONE,
        }
    }

    /// Text on stdout as it is, exit 0.
    pub fn text(stdout: String) -> Self {
        Self {
            stdout,
            stderr: String::new(),
            exit: EXIT_DONE,
        }
    }

    /// `Status: ON`, exit 0.
    pub fn status_on() -> Self {
        Self::text("Status: ON\n".to_owned())
    }

    /// `Status: OFF`, exit 2.
    pub fn status_off() -> Self {
        Self {
            exit: EXIT_OFF,
            ..Self::text("Status: OFF\n".to_owned())
        }
    }

    /// `Failed: …` on stderr, exit 1.
    pub fn failed(reason: &str) -> Self {
        Self {
            stdout: String::new(),
            stderr: format!("Failed: {reason}"),
            exit: EXIT_FAILED,
        }
    }
}
