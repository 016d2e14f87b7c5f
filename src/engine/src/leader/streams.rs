//! Which agents have a stream to this leader. Beats are datagrams to every coordinator, what is to be done comes over
//! one stream to the leader: a node may well beat and hear nothing (a blocked port, a certificate that cannot be read).
//!
//! Such a node is granted nothing, since it would never learn of it. After a change of leader its agent needs a
//! moment to come; for an election time it counts as there. Ends no session and takes nothing away by itself.

use super::{View, Wake};
use crate::ids::NodeId;
use std::collections::BTreeSet;

/// What the driver has said of streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    /// `None` if it has said nothing.
    attached: Option<BTreeSet<NodeId>>,
}

impl Streams {
    pub(super) fn set(&mut self, attached: BTreeSet<NodeId>) {
        self.attached = Some(attached);
    }

    fn lacks(&self, node: NodeId) -> bool {
        self.attached
            .as_ref()
            .is_some_and(|attached| !attached.contains(&node))
    }
}

/// Whether a node can be told what to do, as far as this leader knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// By its stream, or it may still be on its way to a new leader.
    Told,
    /// It has no stream.
    Deaf,
}

/// Whether `node` can be told what to do.
pub(super) fn reach(view: &View<'_>, node: NodeId, wake: &mut Wake) -> Reach {
    if !view.streams.lacks(node) {
        return Reach::Told;
    }
    let until = view.started + view.timing.election_max;
    if view.now < until {
        wake.at(until);
        return Reach::Told;
    }
    Reach::Deaf
}
