//! The network as the tests want it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use haft_coordinator::consensus::{Fate, Links, PeerId, Purpose};

/// Cuts and mangles calls by rule; everything else passes.
#[derive(Default)]
pub(crate) struct TestLinks {
    rules: Mutex<BTreeMap<(PeerId, PeerId, Purpose), Fate>>,
    votes: Mutex<BTreeMap<PeerId, u64>>,
}

const ALL: [Purpose; 4] = [
    Purpose::Log,
    Purpose::Heartbeat,
    Purpose::Vote,
    Purpose::Snapshot,
];

impl TestLinks {
    /// Sets the fate of one kind of call in one direction.
    pub(crate) fn set(&self, from: PeerId, to: PeerId, purpose: Purpose, fate: Fate) {
        self.rules.lock().unwrap().insert((from, to, purpose), fate);
    }

    /// Cuts every call between two nodes.
    pub(crate) fn cut(&self, a: PeerId, b: PeerId) {
        for purpose in ALL {
            self.set(a, b, purpose, Fate::Cut);
            self.set(b, a, purpose, Fate::Cut);
        }
    }

    /// Cuts one node from all others.
    pub(crate) fn isolate(&self, node: PeerId, others: &[PeerId]) {
        others
            .iter()
            .filter(|other| **other != node)
            .for_each(|other| self.cut(node, *other));
    }

    /// Everything passes again.
    pub(crate) fn heal(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// Calls for votes and pre-votes by `from` so far.
    pub(crate) fn votes(&self, from: PeerId) -> u64 {
        self.votes.lock().unwrap().get(&from).copied().unwrap_or(0)
    }
}

impl Links for TestLinks {
    fn fate(&self, from: PeerId, to: PeerId, purpose: Purpose) -> Fate {
        if purpose == Purpose::Vote {
            *self.votes.lock().unwrap().entry(from).or_default() += 1;
        }
        self.rules
            .lock()
            .unwrap()
            .get(&(from, to, purpose))
            .copied()
            .unwrap_or(Fate::Pass)
    }
}
