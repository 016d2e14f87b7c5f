//! The observer of a log, with what only the store knows: which membership is in force after a truncation.
//!
//! Keeps the memberships that stand in the log since its ground, a handful between two purges. Does not judge
//! them, and reads nothing from the disk.

use crate::log_store::AppendObserver;
use crate::model::{LogPosition, MembershipAt, Payload};
use crate::snapshot::Snapshot;

/// Shows a log to an observer.
pub(crate) struct Observed {
    observer: Box<dyn AppendObserver>,
    /// Every membership in the log and the one that it stands on, oldest first.
    memberships: Vec<MembershipAt>,
}

impl Observed {
    pub(crate) fn new(observer: Box<dyn AppendObserver>) -> Self {
        Self {
            observer,
            memberships: Vec::new(),
        }
    }

    /// A snapshot is the new ground; entries above it that are in the log stay there.
    pub(crate) fn snapshot(&mut self, snapshot: &Snapshot) {
        let last = snapshot.last.map(|last| last.index);
        self.memberships
            .retain(|membership| membership.at.map(|at| at.index) > last);
        self.memberships.insert(0, snapshot.membership.clone());
        let in_force = self.memberships.last().cloned().unwrap_or_default();
        self.observer.on_snapshot(snapshot, &in_force);
    }

    /// An entry enters the log.
    pub(crate) fn entry(&mut self, at: LogPosition, payload: &Payload) {
        match payload {
            Payload::Blank => self.observer.on_blank(at),
            Payload::Normal(bytes) => self.observer.on_append(at, bytes),
            Payload::Membership(membership) => {
                self.memberships.push(MembershipAt {
                    at: Some(at),
                    membership: membership.clone(),
                });
                self.observer.on_membership(at, membership);
            }
        }
    }

    /// The log now ends with `kept`; what was above it has left.
    pub(crate) fn truncate(&mut self, kept: Option<LogPosition>) {
        let last = kept.map(|kept| kept.index);
        self.memberships
            .retain(|membership| membership.at.map(|at| at.index) <= last);
        let in_force = self.memberships.last().cloned().unwrap_or_default();
        self.observer.on_truncate(kept, &in_force);
    }

    /// Entries up to `through` have left the front. The last membership among them stays in force.
    pub(crate) fn purge(&mut self, through: LogPosition) {
        let purged = self
            .memberships
            .partition_point(|membership| membership.at.map(|at| at.index) <= Some(through.index));
        self.memberships.drain(..purged.saturating_sub(1));
    }
}
