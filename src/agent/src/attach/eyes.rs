//! What the leader is told of this machine: the newest report of its kernel, with what the gate says.
//!
//! Two sources that change by themselves; what is told is always both as they are. Judges nothing.

use crate::census::Sight;
use crate::hindrances::Hindrances;
use haft_api::pb::v1;

/// Both, as they were last heard.
#[derive(Debug)]
pub(super) struct Eyes {
    sight: Sight,
    hindrances: Hindrances,
    /// Whether what the gate says has changed since the last report.
    unsaid: Unsaid,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unsaid {
    Something,
    Nothing,
}

impl Eyes {
    pub(super) fn new(sight: Sight) -> Eyes {
        Eyes {
            sight,
            hindrances: Hindrances::default(),
            unsaid: Unsaid::Nothing,
        }
    }

    /// What the gate says from here on.
    pub(super) fn heard(&mut self, hindrances: Hindrances) {
        self.hindrances = hindrances;
        self.unsaid = Unsaid::Something;
    }

    /// Waits until there is something that the last report did not say. Where nobody looks at the kernel any more, what
    /// was said of it stands.
    pub(super) async fn changed(&mut self) {
        match self.unsaid {
            Unsaid::Something => {}
            Unsaid::Nothing => {
                if self.sight.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// As it is now.
    pub(super) fn report(&mut self) -> v1::Machine {
        self.unsaid = Unsaid::Nothing;
        let report = self.sight.borrow_and_update().clone();
        self.hindrances.put_into(report)
    }
}
