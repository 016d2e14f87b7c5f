//! The one irreversible act: this machine ends itself, because a pill says so.
//!
//! Behind a trait, so that whoever tries the watch out brings something that only takes a note. The real
//! one can be made inside this crate alone and is made in one place, the daemon's start. It decides nothing.

use crate::chain;
use haft_fence_sbd::watcher::SelfFence;
use rustix::io::Errno;
use rustix::system::{RebootCommand, reboot};
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};

/// The kernel's own way out (Documentation/admin-guide/sysrq.rst): one letter, no user space involved.
const TRIGGER: &str = "/proc/sysrq-trigger";

/// Ends the machine.
pub trait EndMachine: Send + Debug {
    /// Does it. Returns only if it could not be done; the watchdog, which is petted no more, does it then.
    fn end(&mut self, how: SelfFence);
}

/// The machine that this process runs on.
#[derive(Debug)]
pub(crate) struct ThisMachine {
    /// Opened at the start: at the end nothing should have to be looked up, and who may not is told early.
    trigger: File,
}

impl ThisMachine {
    /// Opens the way out, without taking it.
    ///
    /// # Errors
    /// When this process may not write there. Always in this crate's own tests.
    pub(crate) fn open() -> io::Result<ThisMachine> {
        if cfg!(test) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let trigger = OpenOptions::new().write(true).open(TRIGGER)?;
        Ok(ThisMachine { trigger })
    }
}

/// The letter and the system call for each way to end.
const fn words(how: SelfFence) -> (&'static [u8], RebootCommand) {
    match how {
        SelfFence::Reset => (b"b", RebootCommand::Restart),
        SelfFence::PowerOff => (b"o", RebootCommand::PowerOff),
        // Without a crash kernel the panic may stay where it is: the watchdog ends that.
        SelfFence::CrashDump => (b"c", RebootCommand::Restart),
    }
}

impl EndMachine for ThisMachine {
    /// Nothing is written out before: where the storage hangs, sync(2) would hang, and with it this.
    fn end(&mut self, how: SelfFence) {
        let (letter, command) = words(how);
        if let Err(error) = self.trigger.write_all(letter) {
            tracing::error!(err = chain(&error), "the kernel takes no sysrq");
        }
        // Power-off by sysrq is queued, and a sysrq may be compiled out: the same by system call.
        let refused: Errno = match reboot(command) {
            Ok(()) => return,
            Err(error) => error,
        };
        tracing::error!(
            err = chain(&refused),
            "the kernel does not reboot; the watchdog will"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_test_can_have_the_real_end() {
        assert!(ThisMachine::open().is_err());
    }

    #[test]
    fn each_pill_has_the_letter_that_sysrq_rst_gives_it() {
        assert_eq!(words(SelfFence::Reset), (&b"b"[..], RebootCommand::Restart));
        assert_eq!(
            words(SelfFence::PowerOff),
            (&b"o"[..], RebootCommand::PowerOff)
        );
        assert_eq!(
            words(SelfFence::CrashDump),
            (&b"c"[..], RebootCommand::Restart)
        );
    }
}
