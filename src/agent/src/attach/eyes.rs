//! What the leader is told of this machine: the newest report of its kernel, with what the gate says.
//!
//! Two sources that change by themselves; what is told is always both as they are. Judges nothing.

use crate::census::Sight;
use crate::hindrances::Hindrances;
use haft_api::pb::v1;
use tokio::sync::watch::error::RecvError;

/// Both, as they were last heard.
#[derive(Debug)]
pub(super) struct Eyes {
    sight: Sight,
    hindrances: Hindrances,
}

impl Eyes {
    pub(super) fn new(sight: Sight) -> Eyes {
        Eyes {
            sight,
            hindrances: Hindrances::default(),
        }
    }

    /// What the gate says from here on.
    pub(super) fn heard(&mut self, hindrances: Hindrances) {
        self.hindrances = hindrances;
    }

    /// Waits until the kernel has something new.
    ///
    /// # Errors
    /// When nobody looks any more.
    pub(super) async fn changed(&mut self) -> Result<(), RecvError> {
        self.sight.changed().await
    }

    /// As it is now.
    pub(super) fn report(&mut self) -> v1::Machine {
        let report = self.sight.borrow_and_update().clone();
        self.hindrances.put_into(report)
    }
}
