//! Which agents have a stream to this coordinator, for the leader's machine: it grants nothing to whom it cannot tell.
//!
//! Level-triggered: the machine is handed the whole set with each step, so no report of an end can be lost. A stream
//! is entered by its handler and leaves with it, however the handler ends. Judges nothing.

use haft_engine::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// Open streams, counted for each node: a new one may come before the old one is noticed to be dead.
#[derive(Clone, Debug)]
pub struct Streams {
    open: Arc<watch::Sender<BTreeMap<NodeId, usize>>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }
}

impl Streams {
    /// A stream of this node is open until the answer is dropped.
    #[must_use]
    pub fn enter(&self, node: NodeId) -> Attached {
        self.open
            .send_modify(|open| *open.entry(node).or_default() += 1);
        Attached {
            streams: self.clone(),
            node,
        }
    }

    /// Nodes with a stream.
    pub fn attached(&self) -> BTreeSet<NodeId> {
        self.open.borrow().keys().copied().collect()
    }

    /// Wakes with every change.
    pub fn changes(&self) -> watch::Receiver<BTreeMap<NodeId, usize>> {
        self.open.subscribe()
    }
}

/// An open stream.
#[derive(Debug)]
pub struct Attached {
    streams: Streams,
    node: NodeId,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.streams.open.send_modify(|open| {
            let left = open.get(&self.node).map_or(0, |count| count - 1);
            if left == 0 {
                open.remove(&self.node);
            } else {
                open.insert(self.node, left);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_node_is_attached_until_its_last_stream_has_ended() {
        let streams = Streams::default();
        let first = streams.enter(NodeId(7));
        let second = streams.enter(NodeId(7));
        drop(first);
        assert_eq!(streams.attached(), BTreeSet::from([NodeId(7)]));
        drop(second);
        assert!(streams.attached().is_empty());
    }

    #[tokio::test]
    async fn a_handler_that_is_cancelled_leaves_no_stream_behind() {
        let streams = Streams::default();
        let mut changes = streams.changes();
        let entered = streams.clone();
        let handler = tokio::spawn(async move {
            let _attached = entered.enter(NodeId(7));
            std::future::pending::<()>().await;
        });
        assert!(changes.wait_for(|open| !open.is_empty()).await.is_ok());
        handler.abort();
        let left = tokio::time::timeout(PATIENCE, changes.wait_for(BTreeMap::is_empty));
        assert!(left.await.is_ok_and(|left| left.is_ok()));
    }
}
