//! Who may take part: the judgement on each peer that presents itself, and what is kept of it.
//!
//! openraft cannot notice that two processes use one node id, that a node came back without its disk,
//! or that an address leads to the wrong cluster; each of these can lose a committed entry. So a
//! connection carries nothing before a greeting was accepted, and every call after it names the same
//! start of the same node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use haft_store::{Boot, Claim, ClusterId, LogPosition, LogStore, PeerId, PeerMemory, PeerRefusal};
use tokio::sync::watch;

use super::log::durable;
use super::tls::CertifiedNode;
use super::wire::Greeting;
use super::wire::pb::Refusal;

/// A greeting refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum GateRefusal {
    #[error("the caller belongs to cluster {found}, this node to {expected}")]
    ForeignCluster {
        found: ClusterId,
        expected: ClusterId,
    },
    #[error("the caller means node {meant}, this is node {here}: an address is wrong")]
    WrongAddress { meant: PeerId, here: PeerId },
    #[error("the certificate names {certified}, the greeting {claimed}")]
    WrongCertificate { certified: String, claimed: String },
    #[error(transparent)]
    Peer(#[from] PeerRefusal),
}

impl GateRefusal {
    pub(super) fn kind(&self) -> Refusal {
        match self {
            Self::ForeignCluster { .. } => Refusal::ForeignCluster,
            Self::WrongAddress { .. } => Refusal::WrongAddress,
            Self::WrongCertificate { .. } => Refusal::WrongCertificate,
            Self::Peer(PeerRefusal::NoBoot | PeerRefusal::Cloned { .. }) => {
                Refusal::ClonedDirectory
            }
            Self::Peer(PeerRefusal::RolledBack { .. }) => Refusal::RolledBack,
        }
    }
}

#[derive(Default)]
struct Inner {
    /// The start of each peer that was greeted since this process began.
    admitted: BTreeMap<PeerId, (Boot, String)>,
    memory: BTreeMap<PeerId, PeerMemory>,
    dirty: BTreeMap<PeerId, PeerMemory>,
}

/// What a peer said of us when it refused us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RefusedBy {
    pub(super) peer: PeerId,
    pub(super) kind: Refusal,
    pub(super) reason: String,
}

/// Judges peers and remembers them.
pub(super) struct Gate {
    store: Arc<dyn LogStore>,
    inner: Mutex<Inner>,
    refused_by: watch::Sender<Option<RefusedBy>>,
}

impl Gate {
    pub(super) fn new(store: Arc<dyn LogStore>) -> Self {
        Self {
            store,
            inner: Mutex::default(),
            refused_by: watch::Sender::new(None),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("no code that holds this lock panics")
    }

    pub(super) fn own_id(&self) -> PeerId {
        self.store.identity().node
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.store.identity().cluster
    }

    /// The present start of this node.
    pub(super) fn own_boot(&self) -> Boot {
        self.store.boots().last().copied().unwrap_or_default()
    }

    /// This node's greeting. It claims only what is durable: a peer would hold us to more.
    pub(super) async fn own_greeting(&self) -> std::io::Result<Greeting> {
        let identity = self.store.identity();
        let claim = Claim {
            boots: self.store.boots(),
            vote_term: self.store.vote().map_or(0, |vote| vote.term),
            last: self.store.bounds().last,
        };
        let (done, waited) = durable();
        self.store.after_sync(done);
        waited.await?;
        Ok(Greeting {
            cluster: identity.cluster,
            node: identity.node,
            name: identity.name.clone(),
            claim,
        })
    }

    /// Judges a peer, remembers it durably, and lets it in. `known_name` is the name under which the
    /// membership knows the peer's id.
    pub(super) async fn admit(
        &self,
        greeting: &Greeting,
        meant: PeerId,
        certified: &CertifiedNode,
        known_name: Option<String>,
    ) -> Result<(), GateRefusal> {
        self.judge(greeting, meant, certified, known_name)?;
        let start = (present(&greeting.claim), greeting.name.clone());
        if self.inner().admitted.get(&greeting.node) != Some(&start) {
            // A start that we met and forgot in a crash could be met a second time, by a copy. Only
            // what was let in is known to have been waited for: an earlier greeting may have been
            // given up in the middle of this.
            let (done, waited) = durable();
            self.store.after_sync(done);
            drop(waited.await);
        }
        self.inner().admitted.insert(greeting.node, start);
        Ok(())
    }

    /// Refuses, or remembers what the peer claims.
    fn judge(
        &self,
        greeting: &Greeting,
        meant: PeerId,
        certified: &CertifiedNode,
        known_name: Option<String>,
    ) -> Result<(), GateRefusal> {
        let (here, expected) = (self.own_id(), self.cluster());
        if greeting.cluster != expected {
            return Err(GateRefusal::ForeignCluster {
                found: greeting.cluster,
                expected,
            });
        }
        if meant != here {
            return Err(GateRefusal::WrongAddress { meant, here });
        }
        let known_otherwise = known_name.is_some_and(|known| known != certified.name);
        if certified.cluster != expected || certified.name != greeting.name || known_otherwise {
            return Err(GateRefusal::WrongCertificate {
                certified: certified.name.clone(),
                claimed: greeting.name.clone(),
            });
        }
        let mut inner = self.inner();
        let known = self.recall(&mut inner, greeting.node);
        let judged = PeerMemory::judge(known.as_ref(), &greeting.claim)?;
        inner.memory.insert(greeting.node, judged);
        self.store.save_peer_memory(greeting.node, &judged);
        Ok(())
    }

    fn recall(&self, inner: &mut Inner, peer: PeerId) -> Option<PeerMemory> {
        inner
            .memory
            .get(&peer)
            .copied()
            .or_else(|| self.store.peer_memory(peer))
    }

    /// Whether calls of this start of the peer, under this certified name, are let in.
    pub(super) fn is_admitted(&self, peer: PeerId, boot: Boot, name: &str) -> bool {
        let inner = self.inner();
        inner
            .admitted
            .get(&peer)
            .is_some_and(|(start, of)| *start == boot && of == name)
    }

    /// Notes a durable answer of a peer: from now on it may not come back behind it.
    pub(super) fn note(&self, peer: PeerId, vote_term: u64, last: Option<LogPosition>) {
        let mut inner = self.inner();
        let Some(memory) = inner.memory.get_mut(&peer) else {
            return;
        };
        if memory.note(vote_term, last) {
            let memory = *memory;
            inner.dirty.insert(peer, memory);
        }
    }

    /// Writes what was noted since the last call. Notes are many and need not be durable at once: what
    /// a crash forgets of them is the last moment, and the start counter is durable by itself.
    pub(super) fn save_notes(&self) {
        let dirty = std::mem::take(&mut self.inner().dirty);
        for (peer, memory) in dirty {
            self.store.save_peer_memory(peer, &memory);
        }
    }

    /// A peer refused us.
    pub(super) fn on_refused(&self, by: RefusedBy) {
        tracing::error!(
            peer = by.peer.0,
            reason = by.reason,
            "a peer refuses this node"
        );
        self.refused_by.send_replace(Some(by));
    }

    pub(super) fn refused_by(&self) -> watch::Receiver<Option<RefusedBy>> {
        self.refused_by.subscribe()
    }
}

fn present(claim: &Claim) -> Boot {
    claim.boots.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
