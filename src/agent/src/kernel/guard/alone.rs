//! One guard in a network namespace at a time (R3b): a table of its own that is owned, and goes with its socket.
//!
//! The lock of the data directory tells two agents apart only where both see the same directory; two containers on
//! the host's network do not, and share every address. Owned tables alone would do from Linux 6.9 on; this one is
//! understood since 5.12. It holds nothing and blocks nothing.

use super::attest;
use super::batch::{Batch, Family, Verdict};
use super::ruleset;
use super::{Guard, OpenGuardError};
use std::io;

/// The kernel's answer was lost that often: something is wrong with it.
const ATTEMPTS: usize = 8;

/// Whether a table of that name is there that nobody owns: somebody has loaded a saved ruleset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stray {
    Absent,
    There,
}

impl Guard {
    /// From here on no other socket can have a guard in this network namespace.
    ///
    /// # Errors
    /// When one has; nothing of it was touched.
    pub(super) fn be_alone(&mut self) -> Result<(), OpenGuardError> {
        let mut stray = Stray::Absent;
        let mut last = OpenGuardError::Contested { attempts: ATTEMPTS };
        for _ in 0..ATTEMPTS {
            let mut batch = Batch::new();
            match stray {
                Stray::Absent => {}
                Stray::There => ruleset::delete_lock(&mut batch),
            }
            ruleset::create_lock(&mut batch);
            let sealed = batch.seal();
            let refusal = match sealed.send(&mut self.commands)? {
                Verdict::Committed => return Ok(()),
                Verdict::Unclear => continue,
                Verdict::Refused(refusals) => refusals[0],
            };
            let found = attest::tables(&mut self.commands, ruleset::LOCK)?;
            let there = found.iter().find(|table| table.family == Family::Inet);
            // An orphan's owner is told as 0.
            let owner = |table: &attest::Found| table.owner.filter(|port| *port != 0);
            match (there.map(owner), stray) {
                (Some(Some(port)), _) => return Err(OpenGuardError::OwnedElsewhere { port }),
                (Some(None), Stray::Absent) => stray = Stray::There,
                // It has gone meanwhile.
                (None, Stray::There) => stray = Stray::Absent,
                (Some(None), Stray::There) | (None, Stray::Absent) => {
                    last = OpenGuardError::Refused {
                        what: sealed.label(refusal),
                        source: io::Error::from_raw_os_error(refusal.errno),
                    };
                }
            }
        }
        Err(last)
    }
}
